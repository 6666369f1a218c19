"""Patch embedding: an image cut into patches, each projected to one vector."""

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import fusing, initializers
from keras_mlp.layers.sizes import check_multiples


@fusing.as_base
@keras.saving.register_keras_serializable(package="keras_mlp")
class PatchEmbedding(keras.layers.Conv2D):
    """Linear projection of the non-overlapping patches of an image.

    A convolution with `kernel_size == strides == patch_size` and no padding, which refuses sizes that the patch does
    not divide instead of cutting the border off.

    Args:
        dim: width of the embedding.
        patch_size: side of a patch in pixels.
        **kwargs: of `keras.layers.Conv2D`, such as `kernel_initializer` or `use_bias`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height / patch_size, width / patch_size, dim)`.

    Raises:
        ValueError: the height or width is no multiple of the patch; names the sizes nearby that are. Or `data_format`
            is another than "channels_last".
    """

    def __init__(self, dim, patch_size, **kwargs):
        kwargs["kernel_initializer"] = initializers.own(kwargs.get("kernel_initializer", "glorot_uniform"))
        if (given := kwargs.setdefault("data_format", "channels_last")) != "channels_last":
            raise ValueError(f'`data_format` must be "channels_last". Received: data_format={given!r}')
        super().__init__(dim, kernel_size=patch_size, strides=patch_size, padding="valid", **kwargs)
        self.patch_size = patch_size

    def compute_output_shape(self, input_shape):
        rule = f"The height and width of the input must be a multiple of the patch size {self.patch_size}"
        check_multiples(input_shape[1:3], self.patch_size, rule)
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


@keras.saving.register_keras_serializable(package="keras_mlp")
class PadToPatches(keras.layers.Layer):
    """Zeros below and to the right of an image, as many as whole patches need.

    Where a size is unknown, as many as the most that can be needed; an embedding without padding, which comes next,
    leaves out what is too much.

    Args:
        patch_size: side of a patch in pixels.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: the same, with height and width rounded up to multiples of `patch_size`.
    """

    def __init__(self, patch_size, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, x):
        missing = [self.patch_size - 1 if size is None else -size % self.patch_size for size in x.shape[1:3]]
        return ops.pad(x, ((0, 0), *((0, amount) for amount in missing), (0, 0))) if any(missing) else x

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        return (batch, *(size and size + -size % self.patch_size for size in sizes), channels)

    def get_config(self):
        return super().get_config() | {"patch_size": self.patch_size}


@fusing.carries.answer(PadToPatches)
def _padded(layer, scale, shift, shape):
    whole = all(size is not None and size % layer.patch_size == 0 for size in shape[1:3])
    return (scale, shift) if whole or not np.any(shift) else None
