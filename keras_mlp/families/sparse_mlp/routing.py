"""Mixtures of experts: every item goes through a few of many small networks, chosen for it by a router.

An item is a vector, such as a token. The items come in groups, `(groups, items, features)`; within a group they share
the room that each expert has, its capacity. In five steps, each a function here:

    gates = softmax(x W)                                    how much each item wants each expert
    routing = top_experts(gates, k, capacity)               who gets in where; or `top_items`, where the experts choose
    buffers = dispatch(x, routing)                          (experts, groups * capacity, features)
    outputs = one MLP an expert, of its own buffer          one batched matrix product
    y = combine(outputs, routing)                           each item's outputs, weighted by its gates, in its place

Rows are moved by index, never by a product with a matrix of zeros and ones, so that the work is that of the slots: of
about `k` experts for each item, whatever their number (`python -m benchmarks.experts` measures it). All sizes are known
before anything runs: compilers for TPUs, XLA and TFLite want it so, and it is the reason for the capacity. An item that
an expert has no room for gets nothing from it; one that finds room nowhere becomes zero (of its block only the shortcut
is left).

Source: Riquelme et al. 2021 (V-MoE), https://arxiv.org/abs/2106.05974, and its code, google-research/vmoe (Apache-2.0).
"""

import math
from typing import Any, NamedTuple

from keras import ops


class Routing(NamedTuple):
    """Which experts each item goes to. `choices` is `k`, or the number of experts where they choose.

    Attributes:
        experts: number of the expert, `(groups, items, choices)`.
        slots: place in that expert's buffer, the same shape; `capacity` or more if there was no room.
        weights: what the expert's output is multiplied by, the same shape; 0 if there was no room.
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


def combine(outputs, routing: Routing):
    """Bring the experts' outputs back to the items, multiplied by their weights and summed.

    Args:
        outputs: `(experts, groups * capacity, features)`.
        routing: as for `dispatch`.

    Returns:
        `(groups, items, features)`.
    """
    experts, slots, weights, _, capacity = routing
    groups = ops.shape(slots)[0]
    group = ops.reshape(ops.arange(groups, dtype="int32"), (-1, 1, 1))
    slot = (ops.cast(experts, "int32") * groups + group) * capacity + ops.minimum(slots, capacity - 1)
    weights = ops.expand_dims(ops.cast(weights, outputs.dtype), -1)
    outputs = ops.reshape(outputs, (-1, outputs.shape[-1]))
    terms = [ops.take(outputs, slot[:, :, i], axis=0) * weights[:, :, i] for i in range(slots.shape[-1])]
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
