"""Patch embedding: an image cut into patches, each projected to one vector."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing, initializers
from keras_mlp.layers.configs import registered
from keras_mlp.layers.sizes import check_multiples


def sides(patch_size) -> tuple[int, int]:
    """Height and width of a patch: those of a pair, or the one number twice.

    Raises:
        ValueError: `patch_size` is neither a positive whole number nor a pair of them.
    """
    pair = tuple(patch_size) if isinstance(patch_size, tuple | list) else (patch_size, patch_size)
    if len(pair) != 2 or any(
        isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 1 for side in pair
    ):
        raise ValueError(
            f"`patch_size` must be a positive integer or a pair of them, (height, width). Received: {patch_size!r}"
        )
    return pair


@fusing.as_base
@registered
class PatchEmbedding(keras.layers.Conv2D):
    """Linear projection of the non-overlapping patches of an image.

    A convolution with `kernel_size == strides == patch_size` and no padding, which refuses sizes that the patch does
    not divide instead of cutting the border off.

    Args:
        dim: width of the embedding.
        patch_size: side of a patch in pixels, or `(height, width)`.
        **kwargs: of `keras.layers.Conv2D`, such as `kernel_initializer` or `use_bias`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height / patch_size, width / patch_size, dim)`.

    Raises:
        ValueError: the height or width is no multiple of the patch; names the sizes nearby that are. Or `patch_size` is
            neither a positive integer nor a pair of them, or `data_format` another than "channels_last".
    """

    def __init__(self, dim, patch_size, **kwargs):
        kwargs["kernel_initializer"] = initializers.own(kwargs.get("kernel_initializer", "glorot_uniform"))
        if (given := kwargs.setdefault("data_format", "channels_last")) != "channels_last":
            raise ValueError(f'`data_format` must be "channels_last". Received: data_format={given!r}')
        patch = sides(patch_size)
        super().__init__(dim, kernel_size=patch, strides=patch, padding="valid", **kwargs)
        self.patch_size = patch if isinstance(patch_size, tuple | list) else patch_size

    def compute_output_shape(self, input_shape):
        rule = f"The height and width of the input must be a multiple of the patch size {self.patch_size}"
        check_multiples(input_shape[1:3], sides(self.patch_size), rule)
        return super().compute_output_shape(input_shape)

    def build(self, input_shape):
        self.compute_output_shape(input_shape)
        super().build(input_shape)

    def get_config(self):
        config = super().get_config()
        config["dim"] = config.pop("filters")
        config["patch_size"] = self.patch_size
        for key in ("kernel_size", "strides", "padding"):
            del config[key]
        return config


@registered
class PadToPatches(keras.layers.Layer):
    """Zeros below and to the right of an image, as many as whole patches need.

    Where a size is unknown, as many as the most that can be needed; an embedding without padding, which comes next,
    leaves out what is too much.

    Args:
        patch_size: side of a patch in pixels, or `(height, width)`.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same, with height and width rounded up to multiples of `patch_size`.

    Raises:
        ValueError: `patch_size` is neither a positive integer nor a pair of them.
    """

    def __init__(self, patch_size, **kwargs):
        super().__init__(**kwargs)
        patch = sides(patch_size)
        self.patch_size = patch if isinstance(patch_size, tuple | list) else patch_size

    def call(self, x):
        both = zip(x.shape[1:3], sides(self.patch_size), strict=True)
        missing = [patch - 1 if size is None else -size % patch for size, patch in both]
        return ops.pad(x, ((0, 0), *((0, amount) for amount in missing), (0, 0))) if any(missing) else x

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        both = zip(sizes, sides(self.patch_size), strict=True)
        return (batch, *(size and size + -size % patch for size, patch in both), channels)


@fusing.carries.answer(PadToPatches)
def _padded(layer, scale, shift, shape):
    both = zip(shape[1:3], sides(layer.patch_size), strict=True)
    whole = all(size is not None and size % patch == 0 for size, patch in both)
    return (scale, shift) if whole or not np.any(shift) else None
