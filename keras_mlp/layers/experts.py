"""Mixtures of experts: every item goes through a few of many small networks, chosen for it by a router.

An item is a vector, such as a token. The items come in groups, `(groups, items, features)`; within a group they share
the room that each expert has, its capacity. In five steps, each a function here:

    gates = softmax(x W)                                    how much each item wants each expert
    routing = top_experts(gates, k, capacity)               who gets in where; or `top_items`, where the experts choose
    buffers = dispatch(x, routing)                          (experts, groups * capacity, features)
    answers = one MLP an expert, of its own buffer          one batched matrix product
    y = combine(answers, routing)                           each item's answers, weighted by its gates, in its place

Rows are moved by index, never by a product with a matrix of zeros and ones, so that the work is that of the slots: of
about `k` experts for each item, whatever their number (`python -m benchmarks.experts` measures it). All sizes are known
before anything runs: compilers for TPUs, XLA and TFLite want it so, and it is the reason for the capacity. An item that
an expert has no room for gets nothing from it; one that finds room nowhere becomes zero (of its block only the shortcut
is left).

Source: Riquelme et al. 2021 (V-MoE), https://arxiv.org/abs/2106.05974, and its code, google-research/vmoe (Apache-2.0).
"""

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_mlp.layers import activations, initializers
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.configs import registered
from keras_mlp.layers.normalization import at_least_float32
from keras_mlp.layers.products import stacked_product

ITEMS = ("tokens", "channels")


class Routing(NamedTuple):
    """Which experts each item goes to. `choices` is `k`, or the number of experts where they choose.

    Attributes:
        experts: number of the expert, `(groups, items, choices)`.
        slots: place in that expert's buffer, the same shape; `capacity` or more if there was no room.
        weights: what the expert's answer is multiplied by, the same shape; 0 if there was no room.
        num_experts: number of experts.
        capacity: slots that each expert has for each group.
    """

    experts: Any
    slots: Any
    weights: Any
    num_experts: int
    capacity: int


def expert_capacity(items: int, num_experts: int, k: int = 1, factor: float | None = 1.05, multiple_of: int = 1) -> int:
    """Slots of one expert for one group: its even share of all choices, times `factor`, rounded up.

    Args:
        items: items of a group.
        num_experts: number of experts.
        k: experts that each item chooses.
        factor: room above the even share; `None` for a slot for each item, so that nobody is left out (every expert
            then costs as much as if it were the only one).
        multiple_of: what the result is rounded up to a multiple of: 4 in V-MoE, whose groups are of eight images; in a
            group of one that could add a fifth.

    Returns:
        A positive integer.
    """
    if factor is None:
        return items
    share = items * k * factor / num_experts
    return math.ceil(math.ceil(share) / multiple_of) * multiple_of


def top_experts(gates, k: int, capacity: int, batch_priority: bool = False) -> Routing:
    """Every item chooses the `k` experts of its largest gates.

    Slots fill up with all first choices in the items' order, then with all second choices, and so on. Gates are not
    renormalised.

    Args:
        gates: `(groups, items, experts)`, positive.
        k: experts for each item.
        capacity: slots of each expert for each group.
        batch_priority: whether the items with the largest gates come first, instead of in their order.

    Source: Riquelme et al. 2021, sections 2 and 4 (batch prioritized routing).
    """
    items, num_experts = gates.shape[1:]
    weights, experts = ops.top_k(gates, k)
    choices = experts
    if batch_priority:
        order = ops.argsort(-weights[:, :, 0], axis=1)
        choices = _take_items(experts, order)
    ranked = ops.reshape(ops.swapaxes(choices, 1, 2), (-1, k * items, 1))
    chosen = ops.cast(ops.equal(ranked, ops.arange(num_experts, dtype=ranked.dtype)), "int32")
    earlier = ops.cumsum(chosen, axis=1) - chosen
    slots = ops.swapaxes(ops.reshape(ops.sum(earlier * chosen, axis=-1), (-1, k, items)), 1, 2)
    if batch_priority:
        slots = _take_items(slots, ops.argsort(order, axis=1))
    return Routing(experts, slots, _where_room(weights, slots, capacity), num_experts, capacity)


def top_items(gates, capacity: int) -> Routing:
    """Every expert chooses the `capacity` items of its largest gates: an item may get any number of experts, or none.

    Args:
        gates: `(groups, items, experts)`, positive.
        capacity: items that each expert takes of each group.

    Source: Zhou et al. 2022 (expert choice), https://arxiv.org/abs/2202.09368.
    """
    num_experts = gates.shape[-1]
    slots = ops.argsort(ops.argsort(-gates, axis=1), axis=1)
    experts = ops.zeros_like(slots) + ops.arange(num_experts, dtype=slots.dtype)
    return Routing(experts, slots, _where_room(gates, slots, capacity), num_experts, capacity)


def dispatch(x, routing: Routing):
    """Put the items into the buffers of their experts.

    Args:
        x: `(groups, items, features)`.
        routing: their routing.

    Returns:
        `(experts, groups * capacity, features)`. What stands in slots that nobody took is of no meaning and never read.
    """
    experts, slots, _, num_experts, capacity = routing
    groups, (items, features) = ops.shape(x)[0], x.shape[1:]
    group = ops.reshape(ops.arange(groups, dtype="int32"), (-1, 1, 1))
    count = groups * num_experts * capacity
    slot = (group * num_experts + ops.cast(experts, "int32")) * capacity + slots
    slot = ops.where(slots < capacity, slot, count)  # one slot more, for all that find no room
    item = ops.zeros_like(slot) + group * items + ops.reshape(ops.arange(items, dtype="int32"), (-1, 1))
    taken_by = ops.scatter(ops.reshape(slot, (-1, 1)), ops.reshape(item, (-1,)), (count + 1,))[:-1]
    taken_by = ops.transpose(ops.reshape(taken_by, (-1, num_experts, capacity)), (1, 0, 2))
    return ops.take(ops.reshape(x, (-1, features)), ops.reshape(taken_by, (num_experts, -1)), axis=0)


def combine(answers, routing: Routing):
    """Bring the experts' answers back to the items, multiplied by their weights and summed.

    Args:
        answers: `(experts, groups * capacity, features)`.
        routing: as for `dispatch`.

    Returns:
        `(groups, items, features)`.
    """
    experts, slots, weights, _, capacity = routing
    groups = ops.shape(slots)[0]
    group = ops.reshape(ops.arange(groups, dtype="int32"), (-1, 1, 1))
    slot = (ops.cast(experts, "int32") * groups + group) * capacity + ops.minimum(slots, capacity - 1)
    weights = ops.expand_dims(ops.cast(weights, answers.dtype), -1)
    answers = ops.reshape(answers, (-1, answers.shape[-1]))
    terms = [ops.take(answers, slot[:, :, i], axis=0) * weights[:, :, i] for i in range(slots.shape[-1])]
    return sum(terms[1:], terms[0])


def importance_loss(gates):
    """Squared coefficient of variation, over the experts, of the sum of their gates; 0 if all count alike.

    Args:
        gates: `(groups, items, experts)`, without noise.

    Returns:
        `(groups,)`.

    Source: Riquelme et al. 2021, appendix A.1; Sparse-MLP adds it with the weight `lambda / 2`.
    """
    return _squared_variation(ops.mean(gates, axis=1))


def load_loss(logits, noisy_logits, k: int, noise_std: float):
    """Squared coefficient of variation, over the experts, of how many items may be expected to choose them.

    An item's probability of choosing expert `i` were the noise drawn anew for it alone, with the standard normal
    distribution `Phi`: `1 - Phi((threshold - logits_i) / noise_std)`, the threshold its `k`-th largest noisy logit.

    Args:
        logits, noisy_logits: `(groups, items, experts)`, before the softmax, without and with the noise.
        k: experts for each item.
        noise_std: standard deviation of the noise, above 0.

    Returns:
        `(groups,)`.

    Source: Riquelme et al. 2021, appendix A.2.
    """
    threshold = ops.top_k(noisy_logits, k)[0][:, :, -1:]
    chances = 0.5 * (1.0 + ops.erf((logits - threshold) / (noise_std * math.sqrt(2.0))))
    return _squared_variation(ops.mean(chances, axis=1))


def gshard_loss(gates):
    """`experts ** 2` times the mean, over the experts, of share of first choices times mean gate; 1 if all are alike.

    Args:
        gates: `(groups, items, experts)`.

    Returns:
        `(groups,)`.

    Source: Lepikhin et al. 2020 (GShard), https://arxiv.org/abs/2006.16668, algorithm 1.
    """
    num_experts = gates.shape[-1]
    first = ops.one_hot(ops.argmax(gates, axis=-1), num_experts, dtype=gates.dtype)
    return num_experts**2 * ops.mean(ops.mean(first, axis=1) * ops.mean(gates, axis=1), axis=-1)


def _squared_variation(x):
    return ops.var(x, axis=-1) / ops.square(ops.mean(x, axis=-1))


def _where_room(weights, slots, capacity):
    return ops.where(slots < capacity, weights, ops.zeros_like(weights))


def _take_items(x, order):
    """`x` `(groups, items, choices)` with the items of each group in `order` `(groups, items)`."""
    groups, (items, choices) = ops.shape(x)[0], x.shape[1:]
    order = ops.cast(order, "int32") + ops.expand_dims(ops.arange(groups, dtype="int32"), -1) * items
    return ops.take(ops.reshape(x, (-1, choices)), order, axis=0)


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
            answers; no weight depends on it, so that a model with more room can be built for the weights of another.
        batch_priority: whether items with the largest gates get their slots first.
        images_per_group: images that share the experts' room. With 1, an image's answer depends on this image alone.
            With more, no answer is refused while another image leaves the room, but whether an expert has it depends on
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
        kernel, bias = map(initializers.stacked, (self.kernel_initializer, self.bias_initializer))
        e, h = self.num_experts, self.hidden_dim
        self.fc1_kernel = self.add_weight(name="experts_fc1_kernel", shape=(e, features, h), initializer=kernel)
        self.fc1_bias = self.add_weight(name="experts_fc1_bias", shape=(e, h), initializer=bias)
        self.fc2_kernel = self.add_weight(name="experts_fc2_kernel", shape=(e, h, features), initializer=kernel)
        self.fc2_bias = self.add_weight(name="experts_fc2_bias", shape=(e, features), initializer=bias)
        self.dropout = self.sublayer(keras.layers.Dropout, self.dropout_rate, name="dropout")
        self.seed_generator = keras.random.SeedGenerator()

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
        y = stacked_product(x, self.fc1_kernel) + ops.expand_dims(self.fc1_bias, 1)
        y = self.dropout(activations.applied(self.activation, y, training), training=training)
        return stacked_product(y, self.fc2_kernel) + ops.expand_dims(self.fc2_bias, 1)

    def compute_output_shape(self, input_shape):
        return input_shape


def layout_map(device_mesh, axis: str = "model"):
    """How `keras.distribution.ModelParallel` shards the experts: each device keeps some of them whole.

    Everything else, the routers included, is on all devices. Answers are those of one device.

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
    layout = keras_mlp.layers.experts.layout_map(mesh)
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
