"""Losses of boxes and their classes, with mmdetection's divisors."""

import keras
from keras import ops

from keras_mlp.tasks.detection import boxes

_EPSILON = 1.1920929e-07
"""What mmdetection adds to every divisor: the float32 epsilon."""
_SMALLEST_AREA = 1e-7
"""Square pixels that areas in `giou` are taken to be at least."""


def focal(logits, targets, alpha: float = 0.25, gamma: float = 2.0):
    """Cross entropy of one sigmoid a class, in which what is told well already weighs little.

    Args:
        logits: of any shape.
        targets: of the same shape, 1 for the class that is there and 0 else.
        alpha: weight of the ones; zeros weigh `1 - alpha`.
        gamma: power of how wrong a probability is.

    Returns:
        Losses of the same shape.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 5.
    """
    wrong = ops.abs(targets - ops.sigmoid(logits))
    weights = alpha * targets + (1 - alpha) * (1 - targets)
    return sigmoid_cross_entropy(logits, targets) * weights * ops.power(wrong, gamma)


def sigmoid_cross_entropy(logits, targets):
    """Cross entropy of a sigmoid for each logit, and a target 0–1 of it, in any one shape."""
    return ops.binary_crossentropy(targets, logits, from_logits=True)


def giou(found, wanted):
    """One minus the generalised intersection over union of boxes `(…, 4)` at the same place: `(…,)`, from 0 to 2.

    Source: Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630, algorithm 1.
    """
    intersection = boxes.intersections(found, wanted)
    union = ops.maximum(boxes.areas(found) + boxes.areas(wanted) - intersection, _SMALLEST_AREA)
    around = ops.concatenate(
        [ops.minimum(found[..., :2], wanted[..., :2]), ops.maximum(found[..., 2:], wanted[..., 2:])], axis=-1
    )
    around = ops.maximum(boxes.areas(around), _SMALLEST_AREA)
    return 1 - intersection / union + (around - union) / around


def averaged(losses, divisor):
    """The sum of losses divided by a count, which `over_replicas` has summed over all replicas."""
    return ops.sum(losses) / (ops.cast(divisor, losses.dtype) + _EPSILON)


def at_least_one(flags):
    """How many flags are set in a batch, where an image without one counts as one.

    Args:
        flags: booleans `(batch, n)`.
    """
    return ops.sum(ops.maximum(ops.sum(ops.cast(flags, "int32"), axis=1), 1))


def over_replicas(number):
    """A count of this replica's part of the batch, summed over all replicas of a `tf.distribute` strategy.

    Their gradients are summed. So each loss is divided by the number in the whole batch. JAX sees the whole batch.
    """
    context = _replicas()
    # A float, because GPUs add up no integers.
    return number if context is None else context.all_reduce("SUM", ops.cast(number, "float32"))


def of_whole_batch(loss):
    """A loss that was divided by `over_replicas`, on the scale of a mean over replicas, for a metric."""
    context = _replicas()
    return loss if context is None else loss * context.num_replicas_in_sync


def _replicas():
    """TensorFlow's context where there are several replicas, else `None`."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
