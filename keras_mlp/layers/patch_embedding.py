"""Patch embedding: an image cut into patches, each projected to one vector."""

import keras
import numpy as np

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
