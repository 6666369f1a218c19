"""The second step of a detector: from the outputs of heads for proposals to detections, refined boxes and losses."""

import dataclasses

import keras
from keras import ops

from keras_mlp.layers.configs import registered
from keras_mlp.tasks.detection import boxes as geometry
from keras_mlp.tasks.detection import losses
from keras_mlp.tasks.detection.boxes import select
from keras_mlp.tasks.detection.coder import BoxCoder
from keras_mlp.tasks.detection.dense import sizes
from keras_mlp.tasks.detection.matching import IGNORED, Matcher, Sampler
from keras_mlp.tasks.detection.nms import suppress


@registered
class ImageSize(keras.layers.Layer):
    """Height and width of the images of a batch without padding. Of padded images `detect` tells the sizes.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, 2)`, integers.
    """

    def call(self, image):
        return sizes(image)

    def compute_output_spec(self, image):
        return keras.KerasTensor((image.shape[0], 2), "int32")


def of_image(x, boxes):
    """The outputs of a head, `(batch * n, …)`, by image: `(batch, n, …)`, as `boxes` stand."""
    return ops.reshape(x, (-1, boxes.shape[1], *x.shape[1:]))


def of_class(deltas, classes):
    """The deltas of one class for each box, out of those of all classes.

    Args:
        deltas: `(batch, k, classes * 4)`, or `(batch, k, 4)` for all classes.
        classes: `(batch, k)`; what is above the classes, as the ground, gets zeros.

    Returns:
        A tensor `(batch, k, 4)`.
    """
    count = deltas.shape[2] // 4
    if count == 1:
        return deltas
    # A product with ones and zeros, which all runtimes have.
    chosen = ops.one_hot(ops.where(classes < count, classes, -1), count, dtype=deltas.dtype)
    deltas = ops.reshape(deltas, (-1, deltas.shape[1], count, 4))
    return ops.squeeze(ops.matmul(ops.expand_dims(chosen, 2), deltas), 2)


@registered
class RefinedBoxes(keras.layers.Layer):
    """The refined boxes of a head of a cascade, which the next head takes.

    Args:
        stds: of the head's coder.

    Call arguments:
        inputs: a list of the images' sizes `(batch, 2)`, the boxes `(batch, n, 4)` that the head took, and of its
            logits `(batch * n, classes + 1)` and deltas `(batch * n, classes * 4 or 4)`.
        classes: `(batch, n)`, the class that each box is of; the likeliest one by default and where it is the ground.

    Returns:
        Boxes `(batch, n, 4)` in the images. No gradient goes through them.
    """

    exact = True

    def __init__(self, stds, **kwargs):
        super().__init__(**kwargs)
        self.stds = tuple(stds)
        self.coder = BoxCoder(self.stds)

    def call(self, inputs, classes=None):
        image_size, boxes, logits, deltas = inputs
        ground = logits.shape[-1] - 1
        # Not by `argmax`, in which Keras tells zeros of two signs apart by operations that LiteRT does not have.
        likeliest = ops.cast(ops.top_k(of_image(logits, boxes)[..., :ground], 1)[1][..., 0], "int32")
        classes = likeliest if classes is None else ops.where(classes == ground, likeliest, classes)
        found = self.coder.decode(boxes, of_class(of_image(deltas, boxes), classes))
        return ops.stop_gradient(geometry.clip(found, image_size))

    def compute_output_spec(self, inputs, classes=None):
        return keras.KerasTensor(inputs[1].shape, self.compute_dtype)


@registered
class RegionDetections(keras.layers.Layer):
    """The best boxes of the last head, without doubles within a class.

    Args:
        stds: of the coder of the last head.
        threshold: score, 0–1, above which a box is kept.
        iou: overlap above which the worse one of two boxes of a class goes.
        count: number of detections of an image at most.

    Input shape: a list of the images' sizes `(batch, 2)`, the boxes `(batch, n, 4)` that the last head took, the
        scores of the proposals `(batch, n)`, the last head's deltas `(batch * n, classes * 4 or 4)`, and of the logits
        `(batch * n, classes + 1)` of each head, which are averaged.
    Output: as of a `Detector`.
    """

    exact = True

    def __init__(self, stds, threshold=0.05, iou=0.5, count=100, **kwargs):
        super().__init__(**kwargs)
        self.stds, self.threshold, self.iou, self.count = tuple(stds), threshold, iou, count
        self.coder = BoxCoder(self.stds)

    @property
    def classes(self) -> int:
        """How many classes are told apart."""
        return self.input[4].shape[-1] - 1

    def call(self, inputs):
        image_size, boxes, proposed, deltas, *logits = inputs
        logits = of_image(sum(logits) / len(logits), boxes)
        scores = ops.softmax(logits, axis=-1)[..., :-1]
        _, n, classes = scores.shape
        valid = ops.logical_and(ops.expand_dims(proposed > 0, -1), scores > self.threshold)
        scores = ops.reshape(ops.where(valid, scores, 0), (-1, n * classes))
        deltas = ops.reshape(deltas, (-1, n, deltas.shape[-1] // 4, 4))
        found = geometry.clip(self.coder.decode(ops.expand_dims(boxes, 2), deltas), image_size)
        found = ops.repeat(found, classes, axis=2) if found.shape[2] < classes else found
        found = ops.reshape(found, (-1, n * classes, 4))
        groups = ops.broadcast_to(ops.tile(ops.arange(classes, dtype="int32"), n), ops.shape(scores))
        kept = suppress(found, scores, self.count, self.iou, groups)
        valid = kept >= 0
        return {
            "boxes": ops.where(ops.expand_dims(valid, -1), select(found, kept), 0),
            "labels": ops.where(valid, kept % classes, -1),
            "scores": ops.where(valid, select(scores, kept), 0),
        }

    def compute_output_spec(self, inputs):
        batch, dtype = inputs[1].shape[0], self.compute_dtype
        return {
            "boxes": keras.KerasTensor((batch, self.count, 4), dtype),
            "labels": keras.KerasTensor((batch, self.count), "int32"),
            "scores": keras.KerasTensor((batch, self.count), dtype),
        }


@registered
class MasksOfClass(keras.layers.Layer):
    """The masks of the boxes' own classes, out of those that heads predict for each class.

    Input shape: a list of classes `(batch, n)`, where -1 is taken for 0, and of each head's logits
        `(batch * n, side, side, classes)`.
    Output shape: `(batch, n, side, side)`, the mean of the heads' probabilities.
    """

    exact = True

    def call(self, inputs):
        classes, *logits = inputs
        return sum(ops.sigmoid(self.logits(classes, x)) for x in logits) / len(logits)

    def logits(self, classes, x):
        """The logits of one head for the boxes' own classes, `(batch, n, side, side)`."""
        _, side, _, count = x.shape
        chosen = ops.one_hot(ops.maximum(classes, 0), count, dtype=x.dtype)
        x = ops.matmul(ops.reshape(x, (-1, side * side, count)), ops.reshape(chosen, (-1, count, 1)))
        return ops.reshape(x, (-1, classes.shape[1], side, side))

    def compute_output_spec(self, inputs):
        classes, x = inputs[:2]
        return keras.KerasTensor((*classes.shape, *x.shape[1:3]), self.compute_dtype)


@dataclasses.dataclass(frozen=True)
class Stage:
    """How one box head is trained; a cascade has several, each more demanding than the one before.

    Args:
        stds: what the deltas to refined boxes are divided by, so that they are about 1.
        overlap: 0–1, from which on a proposal is an object.
        weak: whether an object takes the proposals that overlap it most, of `overlap` at least, from other objects.
        giou: whether the loss of boxes is that of `losses.giou` between boxes, and not L1 between deltas to them.
        box_weight: of that loss.
        weight: of all losses of the stage, those of its mask head included.
    """

    stds: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    overlap: float = 0.5
    weak: bool = True
    giou: bool = False
    box_weight: float = 1.0
    weight: float = 1.0

    @property
    def coder(self) -> BoxCoder:
        """Decodes the deltas that the head predicts."""
        return BoxCoder(self.stds)

    @property
    def matcher(self) -> Matcher:
        """Matches proposals and objects."""
        return Matcher(self.overlap, self.overlap, self.overlap if self.weak else None)


@dataclasses.dataclass(frozen=True)
class Samples:
    """What the heads of a stage learn from.

    Args:
        boxes: `(batch, k, 4)`.
        matches: `(batch, k)`, the number of the object that each is, `NEGATIVE` or `IGNORED`, as `Sampler` gives them.
        added: `(batch, k)`, whether each is no proposal, but an object's own box.
        truth: boxes of the objects `(batch, m, 4)`.
        labels: their labels `(batch, m)`.
    """

    boxes: object
    matches: object
    added: object
    truth: object
    labels: object

    @property
    def positive(self):
        """Which are an object, `(batch, k)`."""
        return self.matches >= 0

    @property
    def valid(self):
        """Which count at all, `(batch, k)`; the rest is padding."""
        return self.matches != IGNORED

    def classes(self, ground: int):
        """The class that each is of, `(batch, k)`; `ground` for those that are no object."""
        return ops.where(self.positive, select(self.labels, self.matches), ground)


def sample(proposals, valid, targets, matcher: Matcher, sampler: Sampler, seed=None) -> Samples:
    """Draw what a stage learns from, among the proposals and the objects' own boxes.

    Args:
        proposals: `(batch, n, 4)`.
        valid: `(batch, n)`, which of them are no padding.
        targets: `{"boxes": (batch, m, 4), "labels": (batch, m), …}`, labels -1 for padding.
        matcher: matches proposals and objects.
        sampler: draws.
        seed: see `Sampler`.
    """
    truth, labels = ops.cast(targets["boxes"], proposals.dtype), ops.cast(targets["labels"], "int32")
    objects = truth.shape[1]
    matches = ops.where(valid, matcher(proposals, truth, labels), IGNORED)
    own = ops.where(labels >= 0, ops.arange(objects, dtype="int32"), IGNORED)
    indices, matches = sampler(ops.concatenate([own, matches], axis=1), seed)
    candidates = ops.concatenate([truth, proposals], axis=1)
    return Samples(ops.stop_gradient(select(candidates, indices)), matches, indices < objects, truth, labels)


def box_losses(logits, deltas, samples: Samples, stage: Stage):
    """The losses of a box head, divided by the number of samples, those that are no object included.

    Args:
        logits: `(batch * k, classes + 1)`.
        deltas: `(batch * k, classes * 4 or 4)`.
        samples: what the head took.
        stage: how it is trained.

    Returns:
        The cross entropy of the classes, and L1 or GIoU of the boxes.
    """
    logits, deltas = of_image(logits, samples.boxes), of_image(deltas, samples.boxes)
    classes = samples.classes(logits.shape[-1] - 1)
    divisor = losses.over_replicas(ops.sum(ops.cast(samples.valid, "int32")))
    of_classes = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    of_classes = of_classes * ops.cast(samples.valid, logits.dtype)
    deltas_of_class, truth = of_class(deltas, classes), select(samples.truth, samples.matches)
    if stage.giou:
        of_boxes = losses.giou(stage.coder.decode(samples.boxes, deltas_of_class), truth)
    else:
        of_boxes = ops.sum(ops.abs(deltas_of_class - stage.coder.encode(samples.boxes, truth)), axis=-1)
    of_boxes = of_boxes * ops.cast(samples.positive, deltas.dtype) * stage.box_weight
    return tuple(stage.weight * losses.averaged(x, divisor) for x in (of_classes, of_boxes))


def mask_loss(logits, wanted, positive):
    """The mean binary cross entropy of the masks of the boxes that are objects.

    Args:
        logits: `(batch, k, side, side)`, of each box's own class.
        wanted: `(batch, k, side, side)`, 0 and 1.
        positive: `(batch, k)`, which boxes count.
    """
    error = ops.mean(losses.sigmoid_cross_entropy(logits, wanted), axis=(2, 3)) * ops.cast(positive, logits.dtype)
    count = losses.over_replicas(ops.sum(ops.cast(positive, "int32")))
    return ops.sum(error) / ops.cast(ops.maximum(count, 1), error.dtype)
