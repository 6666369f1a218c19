"""The layer of experts: a router and as many small networks as there are experts, on all items of a group."""

import keras
from keras import ops

from keras_mlp.families.sparse_mlp.routing import (
    Routing,
    combine,
    dispatch,
    expert_capacity,
    importance_loss,
    load_loss,
    top_experts,
)
from keras_mlp.layers import activations, initializers, showing
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.configs import registered
from keras_mlp.layers.held_product import HeldProduct
from keras_mlp.layers.normalization import at_least_float32
from keras_mlp.layers.products import stacked_product

ITEMS = ("tokens", "channels")


@registered
class MixtureOfExperts(Composite):
    """Experts, which are MLPs of two layers, and the router that chooses `k` of them for every item.

        p = softmax(W x + noise);    y = sum of p_i expert_i(x) over the k experts of the largest p_i

    with noise in training only, normal of standard deviation `noise / num_experts`. The `p_i` are not renormalised.
    The router computes in float32 at least.

    In training it adds `auxiliary_loss / 2` times the sum of `importance_loss` and `load_loss`, over the whole batch.
    They keep the experts in like use.

    Source: Lou et al. 2021 (Sparse-MLP), section 3; Riquelme et al. 2021 (V-MoE) for capacity, order and losses.

    Args:
        hidden_dim: width of each expert's hidden layer.
        num_experts: number of experts.
        k: experts for each item.
        items: what is routed: "tokens", where the experts mix the channels of a token, or "channels", where they mix
            the tokens of a channel.
        capacity_factor: room of each expert above the even share; `None` for no limit, at the cost of all experts for
            each item. See `expert_capacity`. The same in training and at inference, so that what was trained is what
            outputs; no weight depends on it, so that a model with more room can be built for the weights of another.
        batch_priority: whether items with the largest gates get their slots first.
        images_per_group: images that share the experts' room. With 1, an image's output depends on this image alone.
            With more, no item is refused while another image leaves the room, but whether an expert has it depends on
            which images are together, at inference, too; the batch must be a multiple.
        noise: standard deviation of the router's noise in training, times the number of experts.
        auxiliary_loss: weight of the losses that are added in training; 0 for none.
        activation: of the hidden layers, e.g. "gelu" (exact) or "gelu_tanh".
        dropout_rate: dropout after the activation and after the second linear layer.
        kernel_initializer, bias_initializer: of the experts, each of which draws its own, and (kernel) of the router.

    Input shape: `(batch, tokens, channels)`, all but the batch known.
    Output shape: the same.

    Raises:
        ValueError: `items` is neither, `k` is not in 1 … `num_experts`, or the input's sizes are unknown.
    """

    def __init__(
        self,
        hidden_dim,
        num_experts,
        k=1,
        items="tokens",
        capacity_factor=1.05,
        batch_priority=True,
        images_per_group=1,
        noise=1.0,
        auxiliary_loss=0.01,
        activation="gelu",
        dropout_rate=0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        if items not in ITEMS:
            raise ValueError(f"`items` must be {' or '.join(map(repr, ITEMS))}. Received: items={items!r}")
        if not 1 <= k <= num_experts:
            raise ValueError(f"`k` must be in 1 … `num_experts`. Received: k={k}, num_experts={num_experts}")
        if capacity_factor is not None and capacity_factor <= 0:
            raise ValueError(f"`capacity_factor` must be positive or None. Received: capacity_factor={capacity_factor}")
        if images_per_group < 1:
            raise ValueError(f"`images_per_group` must be at least 1. Received: images_per_group={images_per_group}")
        super().__init__(**kwargs)
        self.hidden_dim, self.num_experts, self.k, self.items = hidden_dim, num_experts, k, items
        self.capacity_factor, self.batch_priority = capacity_factor, batch_priority
        self.images_per_group = images_per_group
        self.noise, self.auxiliary_loss = noise, auxiliary_loss
        self.activation = activations.get(activation)
        self.dropout_rate = dropout_rate
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        if len(input_shape) != 3 or None in input_shape[1:]:
            raise ValueError(
                "Experts have room for a known number of items, so their input must be (batch, tokens, channels) of "
                f"known tokens and channels. Received: {tuple(input_shape)}. Give the model a static `input_shape`."
            )
        count, features = input_shape[1:] if self.items == "tokens" else input_shape[:0:-1]
        self.capacity = expert_capacity(self.images_per_group * count, self.num_experts, self.k, self.capacity_factor)
        # In the variable's own precision: rounded weights would send items that are nearly undecided elsewhere.
        self.router_kernel = self.add_weight(
            name="router_kernel",
            shape=(features, self.num_experts),
            initializer=initializers.own(self.kernel_initializer),
            autocast=False,
        )
        kernel, bias = map(_stacked, (self.kernel_initializer, self.bias_initializer))
        e, h = self.num_experts, self.hidden_dim
        self.fc1 = self._product("experts_fc1", features, h, kernel)
        self.fc1_bias = self.add_weight(name="experts_fc1_bias", shape=(e, h), initializer=bias)
        self.fc2 = self._product("experts_fc2", h, features, kernel)
        self.fc2_bias = self.add_weight(name="experts_fc2_bias", shape=(e, features), initializer=bias)
        self.dropout = self.sublayer(keras.layers.Dropout, self.dropout_rate, name="dropout")
        self.seed_generator = keras.random.SeedGenerator()

    def _product(self, name, inputs, units, initializer):
        """The product of each expert's items, `(experts, items, inputs)`, with its kernel."""
        e = self.num_experts
        product = self.sublayer(
            HeldProduct, equation="esi,eio->eso", output_shape=(None, units), holds=f"{name}_kernel", name=name
        )
        product.begin(self, (e, inputs, units), initializer, input_shape=(e, None, inputs))
        return product

    def call(self, x, training=None):
        x = self._as_items(x)
        logits = self._logits(x)
        if training:
            logits = self._disturbed(logits)
        routing = self._choose(logits)
        y = self._experts(dispatch(self._in_groups(x), routing), training)
        y = ops.reshape(combine(y, routing), (-1, *x.shape[1:]))
        return self._as_items(self.dropout(y, training=training))

    def route(self, x) -> Routing:
        """The routing of `x` at inference."""
        return self._choose(self._logits(self._as_items(x)))

    def _as_items(self, x):
        """`(batch, tokens, channels)` as `(batch, items, features)`, and back."""
        return x if self.items == "tokens" else ops.swapaxes(x, 1, 2)

    def _in_groups(self, x):
        if self.images_per_group == 1:
            return x
        if (x.shape[0] or 0) % self.images_per_group:
            raise ValueError(
                f"Layer {self.name!r} needs a batch that is a multiple of `images_per_group`={self.images_per_group}. "
                f"Received: a batch of {x.shape[0]}"
            )
        return ops.reshape(x, (-1, self.images_per_group * x.shape[1], x.shape[2]))

    def _logits(self, x):
        dtype = at_least_float32(x.dtype)
        return ops.matmul(ops.cast(x, dtype), ops.cast(self.router_kernel, dtype))

    def _choose(self, logits):
        gates = ops.softmax(self._in_groups(logits), axis=-1)
        return top_experts(gates, self.k, self.capacity, self.batch_priority)

    def _disturbed(self, logits):
        """The logits with noise; adds the losses, which need both."""
        std = self.noise / self.num_experts
        noisy = logits + std * keras.random.normal(ops.shape(logits), dtype=logits.dtype, seed=self.seed_generator)
        if self.auxiliary_loss:
            batch, noisy_batch = (ops.reshape(x, (1, -1, self.num_experts)) for x in (logits, noisy))
            loss = importance_loss(ops.softmax(batch, axis=-1))
            if std:
                loss = loss + load_loss(batch, noisy_batch, self.k, std)
            self.add_loss(self.auxiliary_loss / 2 * ops.sum(loss))
        return noisy

    def _experts(self, x, training):
        y = self.fc1.product(x, stacked_product) + ops.expand_dims(self.fc1_bias, 1)
        y = self.dropout(activations.applied(self.activation, y, training), training=training)
        return self.fc2.product(y, stacked_product) + ops.expand_dims(self.fc2_bias, 1)

    def compute_output_shape(self, input_shape):
        return input_shape


def _stacked(initializer):
    """An initializer for equal weights of several networks in one array, `(networks, …)`, each with draws of its own.

    Keras would take the first axis for a part of the window of a convolution and draw too small.

    Args:
        initializer: of one network's weight; anything `keras.initializers.get` takes.

    Returns:
        A function `(shape, dtype) -> tensor`.
    """

    def initialize(shape, dtype=None):
        return ops.stack([initializers.own(initializer)(shape[1:], dtype) for _ in range(shape[0])])

    return initialize


@showing.made.answer(MixtureOfExperts)
def _routes(layer, x):
    routing = layer.route(x)
    to = keras.ops.one_hot(routing.experts, routing.num_experts) * keras.ops.expand_dims(routing.weights, -1)
    shares = showing.array(keras.ops.sum(to, axis=2))[0]
    caption = f"how much an expert, from top to bottom, gives to each of the {layer.items}"
    return showing.Pictures(caption, shares.T[None])


def layout_map(device_mesh, axis: str = "model"):
    """How `keras.distribution.ModelParallel` shards the experts: each device keeps some of them whole.

    Everything else, the routers included, is on all devices. Outputs are those of one device.

    Args:
        device_mesh: a `keras.distribution.DeviceMesh`.
        axis: name of its axis to spread the experts over; its size must divide the number of experts of every layer.

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        ValueError: the mesh has no such axis.

    Example (on the JAX backend, where Keras has it):

    ```python
    mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), keras.distribution.list_devices())
    layout = keras_mlp.families.sparse_mlp.experts.layout_map(mesh)
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
    model = keras_mlp.SparseMLPB(weights=None)
    ```
    """
    if axis not in device_mesh.axis_names:
        raise ValueError(f"`axis` must be one of the mesh's, {device_mesh.axis_names}. Received: axis={axis!r}")
    layouts = keras.distribution.LayoutMap(device_mesh)
    layouts[".*/experts_fc._kernel"] = (axis, None, None)
    layouts[".*/experts_fc._bias"] = (axis, None)
    return layouts
