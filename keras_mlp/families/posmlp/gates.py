"""PosMLP's gating units: by relative positions, and gMLP's in windows."""

import numpy as np
from keras import initializers, layers, ops

from keras_mlp.layers import (
    Composite,
    HeldProduct,
    LayerNormalization,
    fusing,
    relative_bias,
    showing,
    stacked_product,
)
from keras_mlp.layers.configs import registered

_NORMAL = initializers.TruncatedNormal(stddev=0.02)
_ALONG = "bwnc,mn->bwmc"
"""A product along the tokens of windows."""
_ENCODINGS = ("quadratic", "isotropic", "relative")


@registered
class PositionalSpatialGating(layers.Layer):
    """One half of the channels mixed across the tokens of a window by their relative positions, times the other half.

        u, v = the halves of x;    y[m] = (sum over n of P[m, n] u[n] + b[m]) * v[m]

    Channel c of u belongs to group `c mod groups`, each of which has its own P. With dx and dy the way from the target m
    to the source n (to the right and, the other way round, upwards), a centre d and a matrix A = S S^T:

    - "quadratic" (the paper's GQPE): P = softmax over n of (A d)·(dx, dy) - (dx, dy) A (dx, dy)^T / 2, where the linear
      part's second number takes A's second row the other way round, as in the code;
    - "isotropic" (QPE): P = softmax over n of s² d·(dx, dy) - (dx² + dy²) / 2;
    - "relative" (LRPE): P is a table's number for (dx, dy), as it is;
    - "matrices": P is there as it is, `(groups, tokens, tokens)`: what the others come to (`keras_mlp.fuse`).

    Source: Wang et al. 2022, section 3.2, and the authors' code.

    Args:
        window: side of the windows in positions.
        groups: number of groups; divides the number of mixed channels.
        encoding: one of them.
        halve: whether halves are taken; otherwise u and v are both x.
        symmetric: whether A is S S^T; otherwise it is S.
        softmax: whether the quadratic forms go through the softmax.
        use_bias: whether b is added to quadratic forms. The weight exists either way, as in the checkpoints.
        token_weight: add a matrix of all pairs of tokens to P, one for all groups; for "relative" only.

    Input shape: `(batch, windows, window * window, channels)`.
    Output shape: the same with half the channels, or with all of them without `halve`.

    Raises:
        ValueError: `encoding` is none of them, or `groups` does not divide the mixed channels.
    """

    def __init__(
        self,
        window,
        groups,
        encoding="quadratic",
        halve=True,
        symmetric=True,
        softmax=True,
        use_bias=True,
        token_weight=False,
        **kwargs,
    ):
        if encoding not in (known := (*_ENCODINGS, "matrices")):
            raise ValueError(f"`encoding` must be one of {known}. Received: encoding={encoding!r}")
        if token_weight and encoding != "relative":
            raise ValueError(f'`token_weight` needs encoding="relative". Received: encoding={encoding!r}')
        super().__init__(**kwargs)
        self.window, self.groups, self.encoding, self.halve = window, groups, encoding, halve
        self.symmetric, self.softmax, self.use_bias, self.token_weight = symmetric, softmax, use_bias, token_weight

    def build(self, input_shape):
        tokens, channels = self.window**2, self.compute_output_shape(input_shape)[-1]
        if channels % self.groups:
            raise ValueError(f"`groups` must divide the {channels} mixed channels. Received: groups={self.groups}")
        near = initializers.RandomNormal(0, 0.01)
        if self.encoding == "matrices":
            shape = (self.groups, tokens, tokens)
            self.matrices = self.add_weight(name="matrices", shape=shape, initializer=_NORMAL.clone(), autocast=False)
        elif self.encoding == "relative":
            table = ((2 * self.window - 1) ** 2, self.groups)
            self.table = self.add_weight(name="table", shape=table, initializer="zeros", autocast=False)
            if self.token_weight:
                self.pairs = self.add_weight(
                    name="pairs", shape=(tokens, tokens), initializer=_NORMAL.clone(), autocast=False
                )
        else:
            centers = (self.groups, 2)
            self.centers = self.add_weight(name="centers", shape=centers, initializer=near, autocast=False)
            one = np.eye(2) if self.encoding == "quadratic" else np.ones(())
            self.spreads = self.add_weight(
                name="spreads",
                shape=(self.groups, *one.shape),
                initializer=lambda shape, dtype: ops.cast(one, dtype) + near.clone()(shape, dtype),
                autocast=False,
            )
        self.bias = self.add_weight(name="bias", shape=(tokens,), initializer="zeros")
        super().build(input_shape)

    def _mixing(self):
        """P, as `(group, target, source)`; in full precision, as it depends on the weights alone."""
        if self.encoding == "matrices":
            return self.matrices
        if self.encoding == "relative":
            mixing = relative_bias(self.table, (self.window, self.window), self.table.dtype)
            return mixing + self.pairs if self.token_weight else mixing
        row, column = (side.ravel() for side in np.indices((self.window, self.window)))
        right, up = column[None] - column[:, None], row[:, None] - row[None]
        tokens = self.window**2
        dx, dy = self.centers[:, 0], self.centers[:, 1]
        if self.encoding == "isotropic":
            features = [right, up, right**2 + up**2]
            a = ops.square(self.spreads)
            factors = [a * dx, a * dy, -0.5 * ops.ones_like(a)]
        else:
            features = [right, up, right**2, up**2, right * up]
            s = self.spreads
            if self.symmetric:
                s = ops.matmul(s, ops.swapaxes(s, 1, 2))
            a, b, d, c = s[:, 0, 0], s[:, 0, 1], s[:, 1, 0], s[:, 1, 1]
            factors = [a * dx + b * dy, c * dy + d * dx, -0.5 * a, -0.5 * c, -0.5 * (b + d)]
        features = ops.cast(np.stack(features).reshape(-1, tokens**2), factors[0].dtype)
        scores = ops.reshape(ops.matmul(ops.stack(factors, axis=1), features), (-1, tokens, tokens))
        return ops.softmax(scores) if self.softmax else scores

    def call(self, x):
        u, v = ops.split(x, 2, axis=-1) if self.halve else (x, x)
        mixing = ops.cast(self._mixing(), u.dtype)
        count, channels = ops.shape(u)[1], u.shape[-1]
        tokens, width = self.window**2, channels // self.groups
        # A product for each group, with all windows and channels for its rows: einsum takes twice as long on TensorFlow.
        rows = ops.transpose(ops.reshape(u, (-1, tokens, width, self.groups)), (3, 0, 2, 1))
        mixed = stacked_product(ops.reshape(rows, (self.groups, -1, tokens)), ops.swapaxes(mixing, 1, 2))
        mixed = ops.transpose(ops.reshape(mixed, (self.groups, -1, width, tokens)), (1, 3, 2, 0))
        mixed = ops.reshape(mixed, (-1, count, tokens, channels))
        if self.use_bias or self.encoding in ("relative", "matrices"):
            mixed = mixed + ops.cast(self.bias, u.dtype)[:, None]
        return mixed * v

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // (2 if self.halve else 1))


@fusing.simpler.answer(PositionalSpatialGating)
def _with_matrices(layer, weights, shape):
    """P depends on the weights alone, so that it need not be made again for every batch."""
    if layer.encoding == "matrices":
        return None
    exact = PositionalSpatialGating.from_config(layer.get_config() | {"dtype": "float64"})
    exact.build((None, *shape[1:]))
    for variable in exact.weights:
        variable.assign(weights[variable.name])
    config = layer.get_config() | {"encoding": "matrices", "token_weight": False}
    bias = weights["bias"] if layer.use_bias or layer.encoding == "relative" else 0 * weights["bias"]
    matrices = ops.convert_to_numpy(exact._mixing())
    return [(PositionalSpatialGating.from_config(config), {"matrices": matrices, "bias": bias})]


@showing.weights.answer(PositionalSpatialGating)
def _for_the_centre(layer):
    side = layer.window
    of_centre = showing.array(layer._mixing())[:, side // 2 * side + side // 2]
    caption = "what a group of channels reads of a window for its centre, by the relative positions"
    return showing.Pictures(caption, of_centre.reshape(-1, side, side))


@registered
class ChunkedSpatialGating(Composite):
    """gMLP's gating unit in windows, in as many steps as there are further chunks of the channels.

        y = chunk 0;    y = (W_i norm_i(y) + b_i) * chunk i   for each further chunk, W_i across the tokens

    Source: the ablation of Wang et al. 2022, and Liu et al. 2021 (gMLP).

    Args:
        chunks: number of chunks, which divides the channels; 1 for no gate.
        use_bias: whether the linear layers have a bias.
        epsilon: of the norms.

    Input shape: `(batch, windows, tokens, channels)`.
    Output shape: `(batch, windows, tokens, channels / chunks)`.

    Raises:
        ValueError: `chunks` is below 1 or does not divide the channels.
    """

    def __init__(self, chunks=2, use_bias=True, epsilon=1e-6, **kwargs):
        if chunks < 1:
            raise ValueError(f"`chunks` must be at least 1. Received: chunks={chunks}")
        super().__init__(**kwargs)
        self.chunks, self.use_bias, self.epsilon = chunks, use_bias, epsilon

    def build(self, input_shape):
        *_, tokens, channels = input_shape
        if channels % self.chunks:
            raise ValueError(f"`chunks` must divide the {channels} channels. Received: chunks={self.chunks}")
        self.norms, self.products, self.biases = [], [], []
        for i in range(self.chunks - 1):
            chunk = (*input_shape[:-1], channels // self.chunks)
            self.norms.append(
                self.sublayer(LayerNormalization, epsilon=self.epsilon, name=f"norm{i}", input_shape=chunk)
            )
            product = self.sublayer(
                HeldProduct, equation=_ALONG, output_shape=chunk[1:], holds=f"kernel{i}", name=f"mix{i}"
            )
            product.begin(self, (tokens, tokens), _NORMAL.clone(), input_shape=chunk)
            self.products.append(product)
            if self.use_bias:
                self.biases.append(self.add_weight(name=f"bias{i}", shape=(tokens,), initializer="zeros"))
        super().build(input_shape)

    def call(self, x):
        y, *chunks = ops.split(x, self.chunks, axis=-1)
        for i, (norm, product, chunk) in enumerate(zip(self.norms, self.products, chunks, strict=True)):
            mixed = product.product(norm(y), lambda x, kernel: ops.einsum(_ALONG, x, kernel))
            y = (mixed + self.biases[i][:, None] if self.use_bias else mixed) * chunk
        return y

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.chunks)
