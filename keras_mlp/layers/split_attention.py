"""Split attention: branches summed with weights that the image itself decides on, channel by channel."""

from keras import ops

from keras_mlp.layers import activations, initializers
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.configs import registered
from keras_mlp.layers.dense import Dense


@registered
class SplitAttention(Composite):
    """The weighted sum of maps, with weights from an MLP on the average of their sum.

        a = mean over the positions of (x_1 + … + x_n)
        w = softmax over the n branches of W2 activation(W1 a + b1) + b2
        y = w_1 * x_1 + … + w_n * x_n,   each w_i one number a channel

    Source: Hou et al. 2021 (Vision Permutator), section 3.2, after Zhang et al. 2020 (ResNeSt),
    https://arxiv.org/abs/2004.08955.

    Args:
        activation: of the MLP, e.g. "gelu" (exact).
        reduction: the MLP's hidden width is `channels // reduction`.
        kernel_initializer: of both linear layers.
        use_bias: whether they have a bias.
        pooling: "mean" over the positions, or their "sum".
        branch_major: whether the second layer gives all channels of the first branch, then those of the next, and not
            all branches of the first channel, then those of the next, as in the weights that ViP's authors published.

    Input shape: a list of maps `(batch, height, width, channels)`, or of videos `(batch, frames, height, …)`.
    Output shape: that of one of them.

    Raises:
        ValueError: `pooling` is neither.
    """

    def __init__(
        self,
        activation="gelu",
        reduction=4,
        kernel_initializer="glorot_uniform",
        use_bias=True,
        pooling="mean",
        branch_major=False,
        **kwargs,
    ):
        if pooling not in ("mean", "sum"):
            raise ValueError(f'`pooling` must be "mean" or "sum". Received: pooling={pooling!r}')
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
        self.reduction = reduction
        self.kernel_initializer = initializers.own(kernel_initializer)
        self.use_bias, self.pooling, self.branch_major = use_bias, pooling, branch_major

    def build(self, input_shape):
        branches, channels = len(input_shape), input_shape[0][-1]
        hidden = channels // self.reduction
        dense = dict(use_bias=self.use_bias, kernel_initializer=self.kernel_initializer)
        self.fc1 = self.sublayer(
            Dense, hidden, activation=self.activation, **dense, name="fc1", input_shape=(None, channels)
        )
        self.fc2 = self.sublayer(Dense, branches * channels, **dense, name="fc2", input_shape=(None, hidden))
        super().build(input_shape)

    def call(self, maps):
        # The mean of a sum is the sum of means, which are small.
        channels, axes = maps[0].shape[-1], tuple(range(1, len(maps[0].shape) - 1))
        pool = ops.mean if self.pooling == "mean" else ops.sum
        scores = self.fc2(self.fc1(sum(pool(x, axis=axes) for x in maps)))
        if self.branch_major:
            weights = ops.softmax(ops.reshape(scores, (-1, len(maps), channels)), axis=1)
            of_branch = [weights[:, i] for i in range(len(maps))]
        else:
            weights = ops.softmax(ops.reshape(scores, (-1, channels, len(maps))), axis=-1)
            of_branch = [weights[..., i] for i in range(len(maps))]
        # Axes are added last: TFLite slices no more than five.
        return sum(x * ops.expand_dims(w, axes) for x, w in zip(maps, of_branch, strict=True))

    def compute_output_shape(self, input_shape):
        return input_shape[0]


def axial_branches(x, along_width, along_height, use_bias, activation, kernel_initializer, name):
    """Linear layers of a map and of what comes of it along either axis, joined by split attention and projected.

    They are the layers NAME_width, NAME_height and NAME_channels, NAME_reweight and NAME_proj.

    Source: Chen et al. 2021 (CycleMLP), section 3.3.

    Args:
        x: map `(batch, height, width, channels)`.
        along_width, along_height: tensors of its shape.
        use_bias: whether the linear layer of the map itself has a bias; those along the axes do.
        activation: of split attention.
        kernel_initializer: of all linear layers.
        name: prefix of the layers' names.

    Returns:
        A map of the same shape.
    """
    linear, dim = dict(kernel_initializer=kernel_initializer), x.shape[-1]
    branches = [
        Dense(dim, **linear, name=f"{name}_width")(along_width),
        Dense(dim, **linear, name=f"{name}_height")(along_height),
        Dense(dim, use_bias=use_bias, **linear, name=f"{name}_channels")(x),
    ]
    y = SplitAttention(activation, **linear, name=f"{name}_reweight")(branches)
    return Dense(dim, **linear, name=f"{name}_proj")(y)
