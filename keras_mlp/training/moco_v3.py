"""MoCo v3: features learnt without labels, from two views of each image.

Source: Chen, Xie, He, An empirical study of training self-supervised vision transformers, 2021; what the paper leaves
open is as in its authors' code.
"""

import keras
import numpy as np
from keras import ops

from keras_mlp.copying import copied

# Layers of the projector and the predictor, and whether the predictor ends in a norm as the projector does, by what the
# reference has them for.
_HEADS = {"vit": (3, 2, True), "resnet": (2, 2, False)}


@keras.saving.register_keras_serializable(package="keras_mlp")
class ContrastiveLoss(keras.losses.Loss):
    """How well each query finds its own key among those of the whole batch.

        2 T cross_entropy(softmax(q k' / T), own)

    with `q` and `k` of length one. No gradient passes through the keys. Under `tf.distribute` the batch is that of all
    replicas together, whose mean is the loss of one device with the whole batch. Source: MoCo v3 paper, equation 1.

    Args:
        temperature: `T` > 0.

    Call arguments:
        y_true: keys `(batch, dim)`.
        y_pred: queries `(batch, dim)`, each in its key's place.
    """

    def __init__(self, temperature: float = 0.2, name="contrastive_loss", **options):
        super().__init__(name=name, **options)
        if not temperature > 0:
            raise ValueError(f"`temperature` should be above 0. Received: {temperature}")
        self.temperature = temperature

    def call(self, y_true, y_pred):
        keys, first = _of_all_replicas(ops.stop_gradient(ops.normalize(y_true)))
        own = first + ops.arange(ops.shape(y_pred)[0], dtype="int32")
        logits = ops.matmul(ops.normalize(y_pred), ops.transpose(keys)) / self.temperature
        return 2 * self.temperature * ops.sparse_categorical_crossentropy(own, logits, from_logits=True)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


def _of_all_replicas(keys):
    """The keys of all replicas, one replica's after the other's, and where this one's begin.

    On JAX a batch that is distributed over devices is one array, and already whole.
    """
    if (replica := _replica()) is None:
        return keys, 0
    return replica.all_gather(keys, axis=0), replica.replica_id_in_sync_group * ops.shape(keys)[0]


def _replica():
    """TensorFlow's context of the replica that computes here; `None` where it has no others beside it."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    return replica if replica and replica.num_replicas_in_sync > 1 else None


class MoCoV3(keras.Model):
    """An encoder with all that is needed to train it without labels, by plain `fit`.

    It takes two views of each image and gives their queries: encoder, projector and predictor. A copy of encoder and
    projector, which follows them by an exponential moving average and has no gradient, gives the keys. The loss is the
    contrastive one of the first view's query with the second's key, plus the other way round.

    `compile` it with an optimiser and no loss, and `fit` it to data whose images are pairs of views, as those of
    `keras_mlp.training.data.load` are with `augmentation=keras_mlp.training.data.views.two_views`; or leave both to
    `keras_mlp.training.train.fit`. Then `encoder` is trained: a plain model, which is also what `save` writes.

    Args:
        encoder: a functional or sequential model without a classifier, from images to features `(batch, width)` or
            maps `(batch, height, width, channels)`, which are averaged.
        dim: width of queries and keys.
        hidden: width of the heads' hidden layers.
        temperature: of the loss.
        momentum: of the moving average, in 0–1.
        steps: of the whole training, over which the momentum rises to 1 in half a cosine; `None` leaves it as it is.
        heads: "vit" for a projector of three layers and a predictor of two, all ending in a norm; "resnet" for two and
            two, the predictor without the last norm.
        train_stem: whether the patch projection, which is the encoder's first layer with weights, is trained. Without,
            it keeps its random weights: paper, section 4.

    Raises:
        ValueError: an argument is out of its range, or the encoder does not give features. In the first step: the
            encoder adds losses of its own, as Sparse-MLP's routers do, on several devices through `tf.distribute`.

    Example:

    ```python
    encoder = keras_mlp.MLPMixerS16(weights=None, include_top=False, pooling="avg")
    model = MoCoV3(encoder, steps=recipe.epochs * data.steps)
    keras_mlp.training.train.fit(model, data, None, recipe, "runs/learnt")
    encoder.predict(images)
    ```
    """

    _fixed = frozenset()  # until the parts are there

    def __init__(
        self,
        encoder,
        dim: int = 256,
        hidden: int = 4096,
        temperature: float = 0.2,
        momentum: float = 0.99,
        steps: int | None = None,
        heads: str = "vit",
        train_stem: bool = True,
    ):
        if heads not in _HEADS:
            raise ValueError(f"`heads` should be one of {', '.join(_HEADS)}. Received: {heads!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` should be in 0–1. Received: {momentum}")
        projected, predicted, last_norm = _HEADS[heads]
        features = pooled_features(encoder)
        keys = head("projector", features, hidden, dim, projected)
        leader = keras.Model(encoder.inputs[0], keys, name="leader")
        inputs = keras.Input((dim,), dtype=keys.dtype)
        predictor = keras.Model(inputs, head("predictor", inputs, hidden, dim, predicted, last_norm), name="predictor")
        views = tuple(keras.Input(encoder.input_shape[1:], name=f"view_{i}") for i in (1, 2))
        super().__init__(views, [predictor(leader(view)) for view in views], name=f"moco_v3_{encoder.name}")
        self.contrast = ContrastiveLoss(temperature)
        self.momentum = momentum
        self.steps = steps
        follower = copied(leader)
        follower.name = "follower"
        self.follower = follower
        self.plain = encoder
        self._pairs = tuple(zip(follower.trainable_variables, leader.trainable_variables, strict=True))
        fixed = [old for old, _ in self._pairs]
        if not train_stem:
            fixed += next(layer for layer in encoder.layers if layer.trainable_variables).trainable_variables
        self._fixed = frozenset(map(id, fixed))
        self.steps_done = self.add_weight(
            (), "zeros", "int64", trainable=False, aggregation="only_first_replica", name="steps_done"
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        own = [ops.sum(loss) for loss in self.losses]  # such as a router's; the follower's have no gradient
        # A layer has one list of them, and where batch norm is synchronised the replicas take turns within a step.
        if own and _replica() is not None:
            raise ValueError(
                f"{self.plain.name} adds losses of its own, which several devices of a process confuse on TensorFlow. "
                "Train it on one device, or with KERAS_BACKEND=jax and the strategy data_parallel."
            )
        if training:
            self._follow()
        keys = [self.follower(view, training=training) for view in x]
        return sum([self.contrast(key, query) for key, query in zip(reversed(keys), y_pred, strict=True)], sum(own))

    def save(self, *arguments, **options):
        """Save the encoder; arguments are those of `keras.Model.save`."""
        self.plain.save(*arguments, **options)

    def _follow(self):
        """Move the follower's parameters a little towards the leader's; its norms' statistics are its own."""
        rate = 1 - momentum_at(self.steps_done, self.steps, self.momentum)
        self.steps_done.assign_add(1)

        def follow(old, new):
            old.assign(old + ops.cast(rate, old.dtype) * (new - old))

        if keras.backend.backend() != "tensorflow":
            for old, new in self._pairs:
                follow(old, ops.stop_gradient(new))
            return
        import tensorflow as tf

        def on_all_replicas(strategy):
            for old, new in self._pairs:
                strategy.extended.update(old.value, follow, args=(new.value,), group=False)

        # What an optimiser does, too: the replicas may not each change their copy of a variable.
        tf.__internal__.distribute.interim.maybe_merge_call(on_all_replicas, tf.distribute.get_strategy())

    @property
    def trainable_variables(self):
        return [variable for variable in super().trainable_variables if id(variable) not in self._fixed]

    @property
    def non_trainable_variables(self):
        trained = set(map(id, self.trainable_variables))
        return [variable for variable in self.variables if id(variable) not in trained]

    trainable_weights = trainable_variables

    @property
    def non_trainable_weights(self):
        trained = set(map(id, self.trainable_variables))
        return [variable for variable in self.weights if id(variable) not in trained]


def momentum_at(step, steps: int | None, base: float):
    """Return the moving average's momentum at a step: `1 - (1 - base) (1 + cos(π step / steps)) / 2`.

    Args:
        step: steps done.
        steps: of the whole training; `None` for a momentum that stays `base`.
        base: the momentum at the beginning.
    """
    if steps is None:
        return base
    return 1 - (1 - base) * (1 + ops.cos(np.pi * ops.cast(step, "float32") / steps)) / 2


def head(name: str, x, hidden: int, width: int, layers: int, last_norm: bool = True):
    """Apply a head of the reference: linear layers without bias, each but the last with batch norm and ReLU.

    Args:
        name: what its layers' names begin with.
        x: features `(batch, any)`.
        hidden: width of all layers but the last.
        width: of the last one.
        layers: how many.
        last_norm: whether the last one has a batch norm, too; it neither scales nor shifts.

    Returns:
        Features `(batch, width)`.
    """

    def norm(x, i, **options):
        # PyTorch's momentum and epsilon; only TensorFlow's replicas see parts of the batch.
        synchronized = keras.backend.backend() == "tensorflow"
        options |= dict(momentum=0.9, epsilon=1e-5, synchronized=synchronized, name=f"{name}_{i}_norm")
        return keras.layers.BatchNormalization(**options)(x)

    for i in range(layers - 1):
        x = keras.layers.Dense(hidden, use_bias=False, name=f"{name}_{i}")(x)
        x = keras.layers.ReLU(name=f"{name}_{i}_relu")(norm(x, i))
    x = keras.layers.Dense(width, use_bias=False, name=f"{name}_{layers - 1}")(x)
    return norm(x, layers - 1, center=False, scale=False) if last_norm else x


def pooled_features(encoder):
    """Return an encoder's symbolic features `(batch, width)`; maps `(batch, …, width)` are averaged.

    Raises:
        ValueError: the encoder is none.
    """
    output = encoder.outputs[0] if getattr(encoder, "outputs", None) else None
    if output is None or len(encoder.outputs) > 1 or len(output.shape) < 2 or output.shape[-1] is None:
        raise ValueError(
            "`encoder` should be a built functional or sequential model with one output, features (batch, width) or "
            f"maps (batch, height, width, channels). Received: {encoder}"
        )
    if len(output.shape) == 2:
        return output
    axes = tuple(range(1, len(output.shape) - 1))
    if len(axes) == 2:
        return keras.layers.GlobalAveragePooling2D("channels_last", name="pool")(output)
    return ops.mean(output, axes)
