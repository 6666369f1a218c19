"""Token mixing: the same small network for every channel, applied along the positions of the grid."""

import keras
from keras import ops

from keras_mlp.layers import activations, initializers, showing
from keras_mlp.layers.configs import registered
from keras_mlp.layers.dense import Dense
from keras_mlp.layers.grid import GridLayer
from keras_mlp.layers.products import across_tokens
from keras_mlp.layers.sizes import check_side


def _tokens_last(x):
    """`(batch, height, width, channels)` as `(batch, channels, tokens)`."""
    height, width, channels = x.shape[1:]
    return ops.swapaxes(ops.reshape(x, (-1, height * width, channels)), 1, 2)


def _tokens_back(y, x):
    """`(batch, channels, tokens)` in the shape of the map `x`."""
    return ops.reshape(ops.swapaxes(y, 1, 2), (-1, *x.shape[1:]))


class AlongTokens(GridLayer):
    """Base of the layers that apply dense layers to the tokens of each channel.

    Args:
        kernel_initializer, bias_initializer: of the dense layers.
        use_bias: whether they have a bias.
    """

    def __init__(self, kernel_initializer, bias_initializer, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def _dense(self, name, inputs, units, activation=None, gated=False):
        """A dense layer from `inputs` to `units` numbers a channel, built."""
        starts = self.kernel_initializer, self.bias_initializer
        kernel_initializer, bias_initializer = initializers.gated(*starts) if gated else starts
        return self.sublayer(
            Dense,
            units,
            activation=activation,
            use_bias=self.use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            name=name,
            input_shape=(None, None, inputs),
        )

    def compute_output_shape(self, input_shape):
        return input_shape


@registered
class TokenMLP(AlongTokens):
    """MLP along the tokens, shared by all channels.

    With the map `x` read as tokens `X` of shape `(S, C)`, `S = height * width` in row-major order, channel by channel

        Y[:, c] = W2 activation(W1 X[:, c] + b1) + b2,    W1: (hidden_dim, S), W2: (S, hidden_dim).

    Gated, the second half of W1 X + b1 goes through the activation and multiplies the first half; W2 is then
    (S, hidden_dim / 2).

    Source: Tolstikhin et al. 2021, equation 1; timm, `GluMlp`, for the gate.

    Args:
        hidden_dim: width of the hidden layer; if gated, before it is halved: even.
        activation: its activation, e.g. "gelu" (exact) or "gelu_tanh".
        dropout_rate: dropout after the activation and after the second linear layer.
        kernel_initializer, bias_initializer: of both linear layers; a gate begins the same for all inputs.
        gated: whether the hidden layer is a gated linear unit.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: it is gated and `hidden_dim` is odd.
    """

    grid_axes = {"fc1/kernel": ("in", None), "fc2/kernel": (None, "out"), "fc2/bias": ("out",)}

    def __init__(
        self,
        hidden_dim,
        activation="gelu",
        dropout_rate=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        gated=False,
        **kwargs,
    ):
        super().__init__(kernel_initializer, bias_initializer, **kwargs)
        if gated and hidden_dim % 2:
            raise ValueError(f"`hidden_dim` of a gated MLP must be even. Received: hidden_dim={hidden_dim}")
        self.hidden_dim, self.gated = hidden_dim, gated
        self.activation = activations.get(activation)
        self.dropout_rate = dropout_rate

    def build(self, input_shape):
        super().build(input_shape)
        tokens = self.grid[0] * self.grid[1]
        self.fc1 = self._dense("fc1", tokens, self.hidden_dim, None if self.gated else self.activation, self.gated)
        if self.gated:
            self.gate = self.sublayer(activations.GatedLinearUnit, self.activation, name="gate")
        self.fc2 = self._dense("fc2", self.hidden_dim // (2 if self.gated else 1), tokens)
        self.dropout = self.sublayer(keras.layers.Dropout, self.dropout_rate, name="dropout")

    def call(self, x, training=None):
        y = self.fc1(_tokens_last(x))
        y = self.dropout(self.gate(y, training=training) if self.gated else y, training=training)
        return _tokens_back(self.dropout(self.fc2(y), training=training), x)


@registered
class TokenDense(AlongTokens):
    """One linear layer along the tokens, shared by all channels.

    With the map `x` read as tokens `X` of shape `(S, C)`, `S = height * width` in row-major order: `Y = W X + b`, where
    `W` is `(S, S)` and `b` a number for each token.

    Source: Touvron et al. 2021 (ResMLP), equation 2; Liu et al. 2021 (gMLP), equation 2.

    Args:
        kernel_initializer, bias_initializer: of the linear layer.
        use_bias: whether there is a bias.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: the same.
    """

    grid_axes = {"fc/kernel": ("in", "out"), "fc/bias": ("out",)}

    def __init__(self, kernel_initializer="glorot_uniform", bias_initializer="zeros", use_bias=True, **kwargs):
        super().__init__(kernel_initializer, bias_initializer, use_bias, **kwargs)

    def build(self, input_shape):
        super().build(input_shape)
        tokens = self.grid[0] * self.grid[1]
        self.fc = self._dense("fc", tokens, tokens)

    def call(self, x):
        tokens = ops.reshape(x, (-1, self.grid[0] * self.grid[1], x.shape[-1]))
        return ops.reshape(across_tokens(self.fc, tokens), (-1, *x.shape[1:]))


@registered
class AxisDense(AlongTokens):
    """One linear layer along the height or the width, shared by all columns or rows and all segments of the channels.

    The channels are cut into `segments` of `S = channels / segments` neighbours. For `side="width"`, each row of each
    segment is one vector of `W S` numbers, the position slow and the channel fast, and becomes `A v + b` with `A` of
    `(W S, W S)`; for `side="height"` the same along each column. With a segment for every channel (the default), only
    positions are mixed.

    Source: Hou et al. 2021 (Vision Permutator), section 3.1; Tang et al. 2021 (sMLPNet) for `segments=None`.

    Args:
        side: "height" or "width".
        segments: number of segments. `None` for one for each channel.
        use_bias: whether there is a bias.
        kernel_initializer, bias_initializer: of the linear layer.

    Input shape: `(batch, height, width, channels)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: `side` is neither, or `segments` does not divide the channels.
    """

    def __init__(
        self,
        side,
        segments=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        check_side(side)
        super().__init__(kernel_initializer, bias_initializer, use_bias, **kwargs)
        self.side = side
        self.segments = segments
        self.grid_axes = {"fc/kernel": (f"{side} in", f"{side} out"), "fc/bias": (f"{side} out",)}

    def build(self, input_shape):
        super().build(input_shape)
        channels = input_shape[-1]
        if channels % (self.segments or channels):
            raise ValueError(
                f"`segments` must divide the channels. Received: segments={self.segments}, {channels} channels"
            )
        units = self.grid[0 if self.side == "height" else 1] * channels // (self.segments or channels)
        self.fc = self._dense("fc", units, units)

    def call(self, x):
        height, width, channels = x.shape[1:]
        segments = self.segments or channels
        inner = channels // segments
        # All that the positions of the side are not mixed with stands between them and the segment's channels.
        length, others = (height, width * segments) if self.side == "height" else (width, segments)
        y = ops.swapaxes(ops.reshape(x, (-1, length, others, inner)), 1, 2)
        y = self.fc(ops.reshape(y, (-1, others, length * inner)))
        y = ops.swapaxes(ops.reshape(y, (-1, others, length, inner)), 1, 2)
        return ops.reshape(y, (-1, height, width, channels))


@showing.weights.answer(TokenMLP)
def hidden_units(layer):
    """The weights of an MLP's hidden units for the positions of its map; those for tokens in front are left out."""
    units = showing.array(layer.fc1.kernel)[layer.in_front :].T.reshape(-1, *layer.grid)
    return showing.largest_first("the weight of every position for a hidden unit", units)


@showing.weights.answer(TokenDense)
def _positions(layer):
    caption = "the weight of every position for one position"
    return showing.Pictures(caption, showing.array(layer.fc.kernel).T.reshape(-1, *layer.grid))


@showing.weights.answer(AxisDense)
def matrix(layer):
    """The matrix of a linear layer whose vectors have several positions, and perhaps several channels of each."""
    caption = (
        "the matrix along a line of positions: what is read from left to right, what is written from top to bottom"
    )
    return showing.Pictures(caption, showing.array(layer.fc.kernel).T[None])
