"""Detectors: from an image to boxes, labels and scores, and how they are trained."""

import functools

import keras

from keras_mlp.tasks import builders
from keras_mlp.tasks.detection import losses

DETECTIONS = "detections"
"""Name of the layer that makes detections of a network's maps."""


SIZE = "image_size"
"""Name of the layer that tells the size of the images, in a detector in two steps."""


def of_sizes(model: keras.Model):
    """A call of a detector on images of several sizes that are padded to one.

    Args:
        model: a detector, or what `keras_mlp.fuse` or `keras_mlp.resize` made of one.

    Returns:
        A function of images `(batch, height, width, channels)` and of height and width of each inside the padding,
        `(batch, 2)`, where its boxes end. It gives detections. `None` for any other model.
    """
    named = {layer.name: layer for layer in getattr(model, "layers", ())}
    if not getattr(model, "inputs", None) or DETECTIONS not in named:
        return None
    if SIZE in named:
        whole = keras.Model([*model.inputs, named[SIZE].output], model.output)
        return lambda images, sizes: whole([*_listed(images), keras.ops.convert_to_tensor(sizes)], training=False)
    last = named[DETECTIONS]
    network = keras.Model(model.inputs, last.input[1:])
    return lambda images, sizes: last([images, *network(_listed(images), training=False)], image_size=sizes)


def _listed(images):
    return list(map(keras.ops.convert_to_tensor, images if isinstance(images, list | tuple) else [images]))


class Detector(keras.Model):
    """A functional model from images to detections, which learns from what its network gives before that.

    Called for inference, it gives `{"boxes": (batch, count, 4), "labels": (batch, count), "scores": (batch, count)}`,
    best first: left, top, right and bottom in pixels of the model's input, integers from 0 and probabilities. Where
    there are fewer, the label is -1 and the rest 0. Called with `training=True`, it gives the maps of `network`.

    `compile(optimizer)` and `fit` train it, without a loss, on batches `(images, targets)`. The targets are
    `{"boxes": (batch, n, 4), "labels": (batch, n)}` in the same units, padded to at least one box with labels of -1,
    and what else a detector needs. Its losses are columns of the log, and "loss" is their sum.

    Everything that it is made of is in its graph of registered layers, so that it is saved, fused and exported as any
    functional model. What `keras_mlp.fuse` and `keras_mlp.resize` give of it only detects, in padded images, too, by
    `of_sizes`.

    Attributes:
        terms: names of the losses.
    """

    terms: tuple[str, ...] = ()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._means = [keras.metrics.Mean(name) for name in self.terms]
        self._measured = False  # whether a call is to give what losses are made of, though nothing is learnt

    @functools.cached_property
    def network(self) -> keras.Model:
        """The functional model from images to the maps that detections are made of, with the same weights."""
        inputs = self.inputs[0] if len(self.inputs) == 1 else self.inputs
        return keras.Model(inputs, self.maps(), name=f"{self.name}_network")

    def maps(self):
        """The tensors of the graph that the losses are computed from, in any structure.

        By default they are what the layer `DETECTIONS` takes beside the image.
        """
        return self.get_layer(DETECTIONS).input[1:]

    def call(self, inputs, training=None, mask=None):
        if training or self._measured:
            return self.network(inputs, training=training)
        return super().call(inputs, training=training, mask=mask)

    def test_step(self, *args):
        # Losses are made of maps, and detections tell none: so the network runs once.
        self._measured = True
        try:
            return super().test_step(*args)
        finally:
            self._measured = False

    def detect(self, images, image_size):
        """Detect in images of several sizes that are padded to one.

        Args:
            images: `(batch, height, width, channels)`, as the model takes them.
            image_size: `(batch, 2)`, height and width of each image inside the padding: boxes end there.

        Returns:
            Detections, in the form that a call for inference gives.
        """
        return self._of_sizes(images, image_size)

    @functools.cached_property
    def _of_sizes(self):
        return of_sizes(self)

    def losses_of(self, maps, targets, training=True) -> dict:
        """The losses of a batch by the names in `terms`, whose sum is minimised.

        Args:
            maps: what `network` gives.
            targets: of the data.
            training: whether heads that the network leaves out learn or are only measured.
        """
        raise NotImplementedError

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not isinstance(y, dict) or not {"boxes", "labels"} <= set(y) or sample_weight is not None:
            targets = sorted(y) if isinstance(y, dict) else type(y).__name__
            raise ValueError(
                'A detector learns from batches (images, {"boxes": …, "labels": …}) without weights of the samples. '
                f"Received: targets {targets}, sample_weight={sample_weight}"
            )
        found = self.losses_of(y_pred, y, training)
        for mean, name in zip(self._means, self.terms, strict=True):
            mean.update_state(losses.of_whole_batch(found[name]))
        of_layers = [super().compute_loss(x, y, y_pred, training=training)] if self.losses else []
        return sum([*found.values(), *of_layers])


def _shared():
    """The arguments that detectors share, beside those of all tasks.

    Args:
        channels: width of the feature pyramid and of the head.
        scales: sides of the anchors in strides.
        ratios: heights of the anchors divided by their widths.
        candidates: number of boxes of each level that are kept before doubles go.
        threshold: score, 0–1, above which a box is kept.
        iou: overlap above which the worse one of two boxes of a class goes.
        count: number of detections of an image at most.
    """


_RETURNS = """Returns:
    A `keras_mlp.tasks.Detector` from the backbone's input to detections. `compile(optimizer)` and `fit` train it.

Raises:
    ValueError: an argument is wrong, or the weights do not fit; the message says what is allowed."""


def builder(paper, name: str, kind: type, *documents):
    """Decorator: make a public builder of detectors, see `builders.builder`.

    Args:
        paper: where the detector was published.
        name: name of its models by default.
        kind: the `Detector` that is made of what the decorated function gives.
        *documents: functions with further arguments that it shares with others, see `builders.builder`.
    """

    def finish(image, outputs, called):
        return kind(image, outputs, name=called)

    return builders.builder(paper, name, documents=(_shared, *documents), returns=_RETURNS, finish=finish, least=1)
