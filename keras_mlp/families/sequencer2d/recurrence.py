"""Recurrent layers of a map, with PyTorch's two biases."""

import functools

import keras
from keras import initializers, ops

from keras_mlp.layers import Composite, fusing, products
from keras_mlp.layers.configs import registered
from keras_mlp.layers.sizes import check_side


class _TwoBiases:
    """Mixin of Keras' recurrent cells: one bias of the input's linear map and one of the state's, as PyTorch has them.

    All weights begin uniform in ±1 / sqrt(units).
    """

    def __init__(self, units, **kwargs):
        start = functools.partial(initializers.RandomUniform, -(units**-0.5), units**-0.5)
        super().__init__(units, kernel_initializer=start(), recurrent_initializer=start(), **kwargs)
        self.start = start

    def build(self, input_shape):
        self.use_bias = False  # else Keras adds its own
        super().build(input_shape)
        self.use_bias = True
        biases = dict(shape=self.recurrent_kernel.shape[1:])
        self.input_bias = self.add_weight(name="input_bias", initializer=self.start(), **biases)
        self.recurrent_bias = self.add_weight(name="recurrent_bias", initializer=self.start(), **biases)

    @property
    def bias(self):
        """What Keras computes with."""
        return ops.add(self.input_bias, self.recurrent_bias)

    @bias.setter
    def bias(self, nothing):
        """Keras sets it in `build`."""


class _LSTMCell(_TwoBiases, keras.layers.LSTMCell):
    """Gates in the order of PyTorch and Keras: input, forget, cell, output."""


class _GRUCell(_TwoBiases, keras.layers.GRUCell):
    """Gates in the order of Keras: update, reset, new."""

    @property
    def bias(self):
        return ops.concatenate([ops.reshape(bias, (1, -1)) for bias in (self.input_bias, self.recurrent_bias)])

    @bias.setter
    def bias(self, nothing): ...


class _SimpleRNNCell(_TwoBiases, keras.layers.SimpleRNNCell):
    """One tanh."""


class _Sequences:
    """Mixin of Keras' recurrent layers: with a cell of two biases, and an output for each step."""

    def __init__(self, units, go_backwards=False, dtype=None, trainable=True, **kwargs):
        options = dict(dtype=dtype, trainable=trainable)
        cell = self.cell_class(units, **options, name=self.cell_name)
        # Not the constructor of Keras' layer, which would make its own cell.
        keras.layers.RNN.__init__(self, cell, return_sequences=True, go_backwards=go_backwards, **options, **kwargs)
        self.use_cudnn = "auto"

    def inner_loop(self, sequences, *arguments, **options):
        # LiteRT's converter refuses the loop for batches of any size, and Core ML's cannot read it.
        self.unroll = products.without_loops() and sequences.shape[1] is not None
        return super().inner_loop(sequences, *arguments, **options)


class _LSTM(_Sequences, keras.layers.LSTM):
    cell_class, cell_name = _LSTMCell, "lstm_cell"


class _GRU(_Sequences, keras.layers.GRU):
    cell_class, cell_name = _GRUCell, "gru_cell"


class _SimpleRNN(_Sequences, keras.layers.SimpleRNN):
    cell_class, cell_name = _SimpleRNNCell, "simple_rnn_cell"


RECURRENCES = {"lstm": _LSTM, "gru": _GRU, "rnn": _SimpleRNN}


@registered
class AxialRecurrence(Composite):
    """A recurrent layer that runs along every row or down every column of a map.

        forward: h[i] = cell(x[i], h[i - 1]);    backward: h[i] = cell(x[i], h[i + 1])

    The outputs of the two directions follow each other in the channels. Each direction begins with a state of zeros.

    Source: Tatsunami and Taki 2022, https://arxiv.org/abs/2205.01972.

    Args:
        units: width of the state, and of the output of one direction.
        side: "height" to run down the columns, "width" to run along the rows.
        kind: "lstm", "gru" or "rnn" (with tanh).
        bidirectional: whether there is a backward direction.

    Input shape: `(batch, height, width, channels)`; height and width may be unknown.
    Output shape: `(batch, height, width, 2 * units)`, or `units` channels of one direction.

    Raises:
        ValueError: `side` or `kind` is none of these.
    """

    def __init__(self, units, side, kind="lstm", bidirectional=True, **kwargs):
        check_side(side)
        if kind not in RECURRENCES:
            raise ValueError(f"`kind` must be one of {sorted(RECURRENCES)}. Received: kind={kind!r}")
        super().__init__(**kwargs)
        self.units, self.side, self.kind, self.bidirectional = units, side, kind, bidirectional

    def build(self, input_shape):
        # The length is left open: one layer serves maps of all sizes.
        options = dict(input_shape=(None, None, input_shape[-1]))
        kind = RECURRENCES[self.kind]
        self.ahead = self.sublayer(kind, self.units, name="forward", **options)
        self.back = None
        if self.bidirectional:
            self.back = self.sublayer(kind, self.units, go_backwards=True, name="backward", **options)
        super().build(input_shape)

    def call(self, x):
        down = self.side == "height"
        if down:
            x = ops.transpose(x, (0, 2, 1, 3))
        _, lines, length, channels = ops.shape(x)
        x = ops.reshape(x, (-1, length, channels))
        y = self.ahead(x)
        if self.back is not None:
            y = ops.concatenate([y, ops.flip(self.back(x), axis=1)], axis=-1)
        y = ops.reshape(y, (-1, lines, length, y.shape[-1]))
        return ops.transpose(y, (0, 2, 1, 3)) if down else y

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], (1 + self.bidirectional) * self.units)


@fusing.reads.answer(AxialRecurrence)
def _first(layer):
    cell = RECURRENCES[layer.kind].cell_name
    directions = ("forward", "backward") if layer.bidirectional else ("forward",)
    return tuple(
        fusing.Linear(f"{name}/{cell}/kernel", "io", "i", "o", bias=f"{name}/{cell}/input_bias") for name in directions
    )
