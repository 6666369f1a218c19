"""Distillation: a student learns from another classifier's outputs, not from the labels alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mlp import heads
from keras_mlp.classifiers import EXCLUSIVE, Output

# Temperature and share of the teacher where none are given. The half of "hard" is equation 3's of DeiT; 3 and 0.1 are
# its text's for "soft", where the command of its code has 1 and 0.5.
TEMPERATURE = 3.0
SHARES = {"hard": 0.5, "soft": 0.1}


@keras.saving.register_keras_serializable(package="keras_mlp")
class TeacherLoss(keras.losses.Loss):
    """How far a student's logits are from a teacher's.

    "soft" is the Kullback-Leibler divergence `T² Σ p log(p / q)` with `p` and `q` the softmax of both logits over the
    temperature `T`: Hinton et al., Distilling the knowledge in a neural network, 2015, section 2. The factor keeps the
    gradients' size at any temperature. "hard" is the cross entropy with the teacher's decision as the label: Touvron
    et al., Training data-efficient image transformers & distillation through attention (DeiT), 2021, equation 3.

    Where classes do not exclude each other, or one unit tells of two of them, each unit is a choice of its own between
    true and false: `p` is the sigmoid, the decision is whether it is above 1/2, and the result is the mean over units.

    Args:
        kind: "hard" or "soft".
        temperature: `T` > 0, for "soft".
        exclusive: whether the units are classes that exclude each other.

    Call arguments:
        y_true: the teacher's logits `(batch, units)`.
        y_pred: the student's, of the same shape.
    """

    def __init__(
        self,
        kind: str = "hard",
        temperature: float = TEMPERATURE,
        exclusive: bool = True,
        name="teacher_loss",
        **options,
    ):
        super().__init__(name=name, **options)
        if kind not in SHARES:
            raise ValueError(f'`kind` should be "hard" or "soft". Received: {kind!r}')
        if not temperature > 0:
            raise ValueError(f"`temperature` should be above 0. Received: {temperature}")
        self.kind = kind
        self.temperature = temperature
        self.exclusive = exclusive

    def call(self, y_true, y_pred):
        if not self.exclusive:
            return self._of_units(y_true, y_pred)
        if self.kind == "hard":
            return ops.sparse_categorical_crossentropy(ops.argmax(y_true, -1), y_pred, from_logits=True)
        wanted = ops.log_softmax(y_true / self.temperature)
        found = ops.log_softmax(y_pred / self.temperature)
        return self.temperature**2 * ops.sum(ops.exp(wanted) * (wanted - found), -1)

    def _of_units(self, y_true, y_pred):
        if self.kind == "hard":
            decided = ops.cast(y_true > 0, y_pred.dtype)
            return ops.mean(ops.binary_crossentropy(decided, y_pred, from_logits=True), -1)
        divergence = 0.0
        for sign in (1, -1):  # of true, and of false
            wanted, found = (ops.log_sigmoid(sign * logits / self.temperature) for logits in (y_true, y_pred))
            divergence += ops.exp(wanted) * (wanted - found)
        return self.temperature**2 * ops.mean(divergence, -1)

    def get_config(self):
        config = {"kind": self.kind, "temperature": self.temperature, "exclusive": self.exclusive}
        return {**super().get_config(), **config}


@dataclasses.dataclass(frozen=True)
class _Lesson:
    """The two models, kept where Keras does not take them for layers of the one that is trained."""

    student: Any
    teacher: Any
    preprocess: Callable | None
    output: Output
    apart: Any
    """The student with the logits of each of its two heads, if it has two."""

    def seen(self, images):
        """The student's images as the teacher takes them."""
        images = resize(ops.cast(images, "float32"), self.teacher.input_shape[1:3])
        return self.preprocess(images) if self.preprocess else images

    def logits(self, images):
        """The teacher's output in inference mode; no gradient passes."""
        return ops.stop_gradient(self.output.logits(self.teacher(self.seen(images), training=False)))


class Distiller(keras.Model):
    """A student, with a teacher beside it while it trains: it is compiled and trained as the student itself would be.

    Its loss in training is `(1 - share) * loss + share * teacher_loss`, the first the one it is compiled with and the
    second `TeacherLoss`; weights of examples hold for both. Of a student with two heads, as LeViT has them, the first
    learns from the labels alone and the second from the teacher alone. Evaluation knows nothing of the teacher. Layers,
    weights and outputs are the student's own, and `save` writes the student: a file without a trace of the teacher.
    Teacher and student see the same images, augmented and mixed in the same way (Beyer et al., Knowledge distillation:
    a good teacher is patient and consistent, 2022).

    Args:
        student: a classifier of images, functional or sequential: of classes that exclude each other, of two classes
            with one unit, or multi-label, as its activation and the loss that it is compiled with tell. If it has two
            heads, its output is the mean of both.
        teacher: another one, of the same classes in the same order. It is left as it is: nothing of it is trained and
            its statistics stay.
        kind: what the student learns from it: "hard" for its decisions, "soft" for its probabilities.
        temperature: softens the probabilities of both, for "soft"; above 0.
        share: of the teacher in the loss, in 0–1; at 1 the labels count for nothing. By default 0.5 for "hard" and 0.1
            for "soft".
        preprocess: from the student's images `(batch, height, width, channels)`, resized to the teacher's height and
            width (bilinear, antialiased), to what the teacher takes. By default it takes the images themselves: pixels
            0–255 for models of this package, which normalise them on their own.
        output, teacher_output: what the outputs of student and teacher mean, where neither their layers nor the losses
            they are compiled with tell.

    Raises:
        ValueError: an argument is out of its range, the models' classes or channels are not equally many, one of them
            gives something from which logits cannot be had, or the teacher's classes exclude each other and the
            student's do not.

    Example:

    ```python
    distiller = Distiller(student, keras.models.load_model("teacher.keras"), kind="soft")
    keras_mlp.training.train.fit(distiller, training, validation, recipe, "runs/distilled")
    student.predict(images)
    ```
    """

    def __init__(
        self,
        student,
        teacher,
        kind: str = "hard",
        temperature: float = TEMPERATURE,
        share: float | None = None,
        preprocess: Callable | None = None,
        output: Output | None = None,
        teacher_output: Output | None = None,
    ):
        _check(student, teacher, preprocess)
        super().__init__(student.inputs[0], student.outputs[0], name=student.name)
        self.teacher_loss = TeacherLoss(kind, temperature)  # or the error comes in `compile` only
        self.share = SHARES[kind] if share is None else share
        if not 0 <= self.share <= 1:
            raise ValueError(f"`share` should be in 0–1. Received: {share}")
        teacher_output = teacher_output or Output.of(teacher)
        self.lesson = _Lesson(student, teacher, preprocess, teacher_output, heads.apart(student))
        self.given = output
        for name, found in (("student", output or Output.of(student)), ("teacher", teacher_output)):
            try:
                found.logits(np.zeros((1, found.units)))  # or the error comes in the first step only
            except ValueError as error:
                raise ValueError(f"`{name}` is of no use for distillation: {error}") from error

    def compile(self, *arguments, **options):
        """Compile this and the student, with one optimiser; arguments are those of `keras.Model.compile`."""
        super().compile(*arguments, **options)
        self.plain.compile(*arguments, **options)
        self.plain.optimizer = self.optimizer
        self.student_output = self.given or Output.of(self.plain)
        exclusive = self.student_output.kind == EXCLUSIVE
        if self.lesson.output.activation == "softmax" and not exclusive:
            raise ValueError(
                f"The teacher's classes exclude each other, for it ends in a softmax; the student's are "
                f"{self.student_output.kind}. Take a teacher that ends in sigmoids or logits."
            )
        self.teacher_loss = TeacherLoss(self.teacher_loss.kind, self.teacher_loss.temperature, exclusive)

    def call(self, inputs, training=None, mask=None):
        if training and self.lesson.apart:
            return self.lesson.apart(inputs, training=True)
        return super().call(inputs, training=training, mask=mask)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if isinstance(y_pred, dict):
            own, student = self._activated(y_pred[heads.FIRST]), y_pred[heads.SECOND]
        else:
            own, student = y_pred, self.student_output.logits(y_pred)
        loss = super().compute_loss(x, y, own, sample_weight, training)
        return (1 - self.share) * loss + self.share * self.teacher_loss(self.lesson.logits(x), student, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if isinstance(y_pred, dict):
            y_pred = self._activated(sum(y_pred.values()) / 2)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _activated(self, logits):
        """What the student would give for these logits."""
        return keras.activations.get(self.student_output.activation)(logits)

    @property
    def plain(self):
        """The student."""
        return self.lesson.student

    def save(self, *arguments, **options):
        """Save the student; arguments are those of `keras.Model.save`."""
        self.plain.save(*arguments, **options)


def resize(images, size):
    """Resize images, bilinear and antialiased, as `keras.ops.image.resize`, which XLA cannot compile on TensorFlow.

    Args:
        images: `(batch, height, width, channels)` of known height and width.
        size: height and width of the result; where one is `None` it stays.

    Returns:
        Images of that size.
    """
    for equation, side, wanted in zip(("oi,bijc->bojc", "oj,bijc->bioc"), images.shape[1:3], size, strict=True):
        if wanted not in (None, side):
            images = ops.einsum(equation, ops.cast(_taps(side, wanted), images.dtype), images)
    return images


def _taps(source, target):
    """The weight of each of `source` positions in each of `target`: a triangle, wider where there are fewer."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale
    distances = np.abs(np.arange(source) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distances / max(scale, 1))
    return weights / weights.sum(1, keepdims=True)


def _check(student, teacher, preprocess):
    for name, model in (("student", student), ("teacher", teacher)):
        shapes = getattr(model, "input_shape", ()), getattr(model, "output_shape", ())
        if [len(shape) if isinstance(shape, tuple) else 0 for shape in shapes] != [4, 2]:
            raise ValueError(
                f"`{name}` should be a built functional or sequential classifier, (batch, height, width, channels) to "
                f"(batch, classes). Received: {model}, {shapes[0]} to {shapes[1]}"
            )
    if student.output_shape != teacher.output_shape:
        raise ValueError(
            f"Student and teacher should have the same classes: the student has {student.output_shape[-1]}, the "
            f"teacher {teacher.output_shape[-1]}."
        )
    channels = student.input_shape[-1], teacher.input_shape[-1]
    if preprocess is None and channels[0] != channels[1]:
        raise ValueError(
            f"The student takes images of {channels[0]} channels, the teacher of {channels[1]}. Give `preprocess`, a "
            "function from the student's images to the teacher's, such as keras.ops.image.rgb_to_grayscale."
        )
