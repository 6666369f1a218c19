"""MorphMLP's linear layers, over chunks of neighbouring positions."""

import math

from keras import ops

from keras_mlp.layers import Composite, Dense, showing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.initializers import own
from keras_mlp.layers.token_mixing import matrix


@registered
class ChunkDense(Composite):
    """One linear layer shared by all chunks of positions and all groups of channels.

    The channels are cut into groups of `S` neighbours. The `length * S` numbers that a chunk of positions has in one
    group make a vector `v`, the position slow and the channel fast, which becomes `W v + b` in the same places. What a
    chunk is:

    - along "width": `length` positions one after the other, in row-major order, on into the next row if need be;
    - along "height": the same in column-major order;
    - along "image": `length` positions as far apart as there are chunks. One chunk of all is the same as along "width";
    - along "frames": the frames of one place.

    There are as many groups as a chunk has positions, so that `W` is square in the channels; along "frames" as many or,
    where that does not divide the channels, the most below that do.

    Source: Zhang et al. 2021, section 3 (MorphFC_s and MorphFC_t), and the authors' code.

    Args:
        along: "width", "height", "image" or "frames".
        length: positions of a chunk; left out for "frames", where it is the number of frames.
        use_bias: whether there is a bias.
        kernel_initializer: of the linear layer.

    Input shape: `(batch, height, width, channels)`, or of videos `(batch, frames, height, width, channels)`; height and
        width may be unknown.
    Output shape: the same.

    Raises:
        ValueError: `along` is none of these, `length` does not divide the channels or the positions, or the number of
            frames is not known.
    """

    def __init__(self, along, length=None, use_bias=True, kernel_initializer="glorot_uniform", **kwargs):
        if along not in ("width", "height", "image", "frames"):
            raise ValueError(f'`along` must be "width", "height", "image" or "frames". Received: along={along!r}')
        super().__init__(**kwargs)
        self.along, self.length, self.use_bias = along, length, use_bias
        self.kernel_initializer = own(kernel_initializer)

    def _cut(self, shape):
        """Length of a chunk and number of groups for an input of this shape."""
        *_, height, width, channels = shape
        if self.along == "frames":
            frames = shape[1]
            if len(shape) != 5 or frames is None:
                raise ValueError(
                    "Frames are mixed in videos (batch, frames, height, width, channels) of a known number of frames. "
                    f"Received: {tuple(shape)}"
                )
            return frames, max(groups for groups in range(1, frames + 1) if channels % groups == 0)
        if channels % self.length or (None not in (height, width) and height * width % self.length):
            raise ValueError(
                "The length of a chunk must divide the channels and the positions. Received: "
                f"length={self.length}, {channels} channels, {height} x {width} positions"
            )
        return self.length, self.length

    def build(self, input_shape):
        length, groups = self._cut(input_shape)
        units = length * input_shape[-1] // groups
        self.fc = self.sublayer(
            Dense,
            units,
            use_bias=self.use_bias,
            kernel_initializer=self.kernel_initializer,
            name="fc",
            input_shape=(None, units),
        )
        super().build(input_shape)

    def call(self, x):
        if self.along == "height":
            return ops.swapaxes(self._mix(ops.swapaxes(x, -3, -2)), -3, -2)
        return self._mix(x)

    def _mix(self, x):
        length, groups = self._cut(x.shape)
        _, *frames, height, width, channels = x.shape
        inner, known = channels // groups, None not in (height, width)
        if self.along == "frames":  # the frames below each other are one image, and a chunk has a position of each
            frames, height = (), height and height * length
        # With sizes unknown, the images are counted, so that no chunk can run on into the next one unnoticed.
        images = -1 if known else ops.shape(x)[0] * math.prod(frames)
        chunks = height * width // length if known else -1
        if self.along in ("width", "height"):
            cut = (images, chunks, length, groups, inner)
        else:
            cut = (images, 1, length, chunks * groups if known else -1, inner)
        y = ops.swapaxes(ops.reshape(x, cut), 2, 3)
        y = self.fc(ops.reshape(y, (-1, length * inner)))
        y = ops.swapaxes(ops.reshape(y, (*cut[:2], cut[3], length, inner)), 2, 3)
        return ops.reshape(y, (-1, *x.shape[1:]) if known else ops.shape(x))

    def compute_output_shape(self, input_shape):
        return input_shape


showing.weights.answer(ChunkDense)(matrix)
