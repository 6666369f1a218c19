"""The perceptrons of a RepMLP block, on tiles of a map: linear across a tile's positions, and local."""

import math

import keras
import numpy as np
from keras import ops

from keras_mlp.layers import Composite, HeldProduct, fusing, showing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.products import stacked_product
from keras_mlp.layers.sizes import check_multiples


class _Tiles(keras.layers.Layer):
    """Base of the layers that cut a map into tiles and back.

    Args:
        tile: `(height, width)` of a tile in positions, or one number for both.
    """

    def __init__(self, tile, **kwargs):
        super().__init__(**kwargs)
        self.tile = (tile, tile) if isinstance(tile, int) else tuple(tile)

    def _check(self, shape):
        """Refuse a map of a known height or width that is not whole tiles."""
        check_multiples(
            shape[1:3], self.tile, f"The height and width of the map must be multiples of the tile's, {self.tile}"
        )

    def _count(self, shape) -> tuple:
        """Rows and columns of tiles in a map of a shape; `None` where it is unknown."""
        return tuple(side if side is None else side // n for side, n in zip(shape[1:3], self.tile, strict=True))

    def _grid(self, x) -> tuple:
        """Batch, rows and columns of tiles of the map `x`, for a reshape."""
        self._check(x.shape)
        static = self._count(x.shape)
        if None not in static:
            return (-1, *static)
        # The batch by its number: -1 would let a map of another size run on into the next image.
        batch, height, width, _ = ops.shape(x)
        return batch, height // self.tile[0], width // self.tile[1]


@registered
class TilePartition(_Tiles):
    """A map cut into tiles that do not overlap, each an item of a larger batch.

    Channel `c` is number `c // share_sets` of the share-set `c % share_sets`: the share-sets run fastest.

    Args:
        tile: `(height, width)` of a tile in positions, or one number for both.
        share_sets: number of share-sets; divides the channels.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown, and are multiples of the tile's.
    Output shape: `(batch * tiles, tile height, tile width, groups, share_sets)` with `groups = channels / share_sets`,
    the tiles of an image in row-major order.

    Raises:
        ValueError: a known height or width is no multiple of the tile's, or `share_sets` does not divide the channels.
    """

    def __init__(self, tile, share_sets, **kwargs):
        super().__init__(tile, **kwargs)
        self.share_sets = share_sets

    def build(self, input_shape):
        self._check(input_shape)
        if input_shape[-1] % self.share_sets:
            raise ValueError(
                f"`share_sets` must divide the {input_shape[-1]} channels. Received: share_sets={self.share_sets}"
            )
        super().build(input_shape)

    def call(self, x):
        (batch, rows, columns), (height, width), channels = self._grid(x), self.tile, x.shape[-1]
        if self._count(x.shape) != (1, 1):
            x = ops.reshape(x, (batch, rows, height, columns, width, channels))
            x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height, width, channels // self.share_sets, self.share_sets))

    def compute_output_shape(self, input_shape):
        batch, *_, channels = input_shape
        count = self._count(input_shape)
        batch = None if None in (batch, *count) else batch * count[0] * count[1]
        return (batch, *self.tile, channels // self.share_sets, self.share_sets)


@registered
class TileMerge(_Tiles):
    """The way back from tiles to a map.

    The authors' code takes an image's tiles apart as (tile, group of channels) and reads them back as (group, tile), so
    that with several tiles *and* several groups what was computed for one tile lands in another, in other channels.
    Their checkpoints were trained with one tile, where it makes no difference.

    Args:
        tile: `(height, width)` of a tile in positions, or one number for both.
        in_place: put every tile back where it came from, instead of where the authors' code does.

    Input shape: tiles, as they are the output of `TilePartition`, and the map that they came from.
    Output shape: that of the map.
    """

    def __init__(self, tile, in_place=False, **kwargs):
        super().__init__(tile, **kwargs)
        self.in_place = in_place

    def call(self, inputs):
        tiles, like = inputs
        (batch, rows, columns), (height, width), channels = self._grid(like), self.tile, like.shape[-1]
        if self._count(like.shape) != (1, 1):
            if not self.in_place:
                *_, groups, share_sets = tiles.shape
                tiles = ops.transpose(tiles, (0, 3, 1, 2, 4))
                tiles = ops.reshape(tiles, (batch, groups, rows * columns, height, width, share_sets))
                tiles = ops.transpose(tiles, (0, 2, 3, 4, 1, 5))
            tiles = ops.reshape(tiles, (batch, rows, columns, height, width, channels))
            tiles = ops.transpose(tiles, (0, 1, 3, 2, 4, 5))
        return ops.reshape(tiles, (batch, rows * height, columns * width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape[1]


@registered
class ChannelPerceptron(Composite):
    """One linear layer across the positions of a tile for each share-set, the same for all groups.

    With the tile read as `X` of shape `(positions, groups, share_sets)`, positions in row-major order,

        Y[o, g, s] = sum over i of K[s, i, o] X[i, g, s] + b[s, o]

    Source: Ding et al. 2021 (RepMLPNet), https://arxiv.org/abs/2112.11081, "Channel Perceptron" with set-sharing.

    Args:
        use_bias: whether there is a bias: in deploy form.

    Input shape: `(batch, height, width, groups, share_sets)`, all but the batch known.
    Output shape: the same.
    """

    def __init__(self, use_bias=False, **kwargs):
        super().__init__(**kwargs)
        self.use_bias = use_bias

    def build(self, input_shape):
        _, *self.tile, _, share_sets = input_shape
        positions = math.prod(self.tile)
        limit = positions**-0.5  # PyTorch's default, which the authors keep
        self.mix = self.sublayer(
            HeldProduct, equation="sni,sio->sno", output_shape=(None, positions), holds="kernel", name="mix"
        )
        start = keras.initializers.RandomUniform(-limit, limit)
        shape = share_sets, positions, positions
        self.mix.begin(self, shape, start, input_shape=(share_sets, None, positions))
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(share_sets, positions), initializer="zeros")
        super().build(input_shape)

    def call(self, x):
        _, *tile, groups, share_sets = x.shape
        positions = math.prod(tile)
        rows = ops.transpose(ops.reshape(x, (-1, positions, groups, share_sets)), (3, 0, 2, 1))
        # One large product for each share-set: the batch beside the groups, the kernel read once.
        mixed = self.mix.product(ops.reshape(rows, (share_sets, -1, positions)), stacked_product)
        if self.use_bias:
            mixed = mixed + self.bias[:, None]
        mixed = ops.transpose(ops.reshape(mixed, (share_sets, -1, groups, positions)), (1, 3, 2, 0))
        return ops.reshape(mixed, (-1, *tile, groups, share_sets))

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class LocalPerceptron(keras.layers.Layer):
    """A depthwise convolution on each tile, zeros around it: a kernel for each share-set, the same for all groups.

    Source: Ding et al. 2021 (RepMLPNet), https://arxiv.org/abs/2112.11081, "Local Perceptron".

    Args:
        kernel_size: side of the kernel in positions, odd.
        use_bias: whether there is a bias: where `keras_mlp.fuse` has put a batch norm in.

    Input shape: `(batch, height, width, groups, share_sets)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: `kernel_size` is even or below 1.
    """

    def __init__(self, kernel_size, use_bias=False, **kwargs):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd and positive. Received: kernel_size={kernel_size}")
        super().__init__(**kwargs)
        self.kernel_size, self.use_bias = kernel_size, use_bias

    def build(self, input_shape):
        limit = 1 / self.kernel_size  # PyTorch's default, which the authors keep
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], 1),
            initializer=keras.initializers.RandomUniform(-limit, limit),
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=input_shape[-1:], initializer="zeros")
        super().build(input_shape)

    def call(self, x):
        _, height, width, groups, share_sets = x.shape
        kernel = ops.tile(self.kernel, (1, 1, groups, 1))
        tiles = ops.reshape(x, (-1, height, width, groups * share_sets))
        tiles = ops.depthwise_conv(tiles, kernel, padding="same", data_format="channels_last")
        tiles = ops.reshape(tiles, (-1, height, width, groups, share_sets))
        return tiles + self.bias if self.use_bias else tiles

    def compute_output_shape(self, input_shape):
        return input_shape


@fusing.reads.answer(ChannelPerceptron)
def _across_positions(layer):
    return (fusing.Linear("kernel", "sio", "s", "s", bias_axes="so", switch="use_bias"),)


@fusing.reads.answer(LocalPerceptron)
def _local(layer):
    return (fusing.Linear("kernel", "hwsm", "s", "s", switch="use_bias", padded=layer.kernel_size > 1),)


@fusing.writes.answer(ChannelPerceptron, LocalPerceptron)
def _nothing_else(layer):
    return fusing.reads(layer)[0]


@fusing.plus.answer(ChannelPerceptron)
def _locality_injection(layer, weights, other, other_weights, shape):
    """A convolution on a tile is a linear layer across its positions, whose kernel is added.

    Source: Ding et al. 2021 (RepMLPNet), https://arxiv.org/abs/2112.11081, "Locality Injection".
    """
    if type(other) is not LocalPerceptron:
        return None
    height, width = shape[1:3]
    kernel, window = weights["kernel"].copy(), other_weights["kernel"]
    by_place = kernel.reshape(-1, height, width, height, width)  # share-set, source's place, target's place
    for dy, dx in np.ndindex(window.shape[:2]):
        down, right = dy - window.shape[0] // 2, dx - window.shape[1] // 2
        # Targets whose source is inside the tile.
        row = np.arange(max(-down, 0), min(height - down, height))[:, None]
        column = np.arange(max(-right, 0), min(width - right, width))
        by_place[:, row + down, column + right, row, column] += window[dy, dx, :, 0][:, None, None]
    bias = {"bias": np.repeat(other_weights["bias"][:, None], height * width, 1)} if "bias" in other_weights else {}
    return fusing.added(weights | {"kernel": kernel}, bias)


@showing.weights.answer(ChannelPerceptron)
def _for_the_centre(layer):
    kernel = showing.array(layer.mix.kernel)
    height, width = layer.tile
    centre = height // 2 * width + width // 2
    return showing.Pictures(
        "the weight of every position for the centre of a tile", kernel[..., centre].reshape(-1, height, width)
    )
