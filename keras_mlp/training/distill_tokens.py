"""Distillation of DynamicViT: a network that drops tokens learns from the one that has them all."""

import dataclasses

import keras
from keras import ops

from keras_mlp import names
from keras_mlp.checkpoints import naming
from keras_mlp.checkpoints.untrusted import some
from keras_mlp.classifiers import Output
from keras_mlp.families.dynamic_vit.lesson import Lesson
from keras_mlp.training.distill import Distiller, TeacherLoss


class TokenDistiller(Distiller):
    """A DynamicViT beside its teacher while it trains. The teacher is its own backbone, so it drops no token.

    Its loss in training is

        loss + ratios + share * (outputs + tokens)

    "loss" is the one that it is compiled with. "ratios" holds the share of the tokens that are kept at the model's
    rate. "outputs" is the Kullback-Leibler divergence from the teacher's probabilities. "tokens" is the mean squared
    difference from the teacher's tokens in the last map, over those that are kept; of ConvNeXt and Swin, over all.
    LV-ViT classifies each token: there "tokens" is the mean divergence of both models' logits of each token that is
    kept, and the other losses are of the class token's logits.

    Weights of examples hold in all but "ratios"; the mean in "tokens" is weighted by them. Evaluation knows nothing of
    the teacher, and `save` writes the student.

    Source: Rao et al. 2021 (DynamicViT), https://arxiv.org/abs/2106.02034, section 3.3. The weights are those of the
    authors' code.

    Args:
        student: a DynamicViT that chooses among tokens.
        teacher: its backbone: the same kind with `pruning=()`, or DeiT or ConvNeXt. It is left as it is. The authors'
            students begin with the teacher's weights, as `begin_as` lets them.
        share: weight of each of the two losses that come from the teacher, in 0–1; by default 0.5, the authors'.
        preprocess, output, teacher_output: as of `Distiller`.

    Raises:
        ValueError: as of `Distiller`; the student makes no choices; or student and teacher have other tokens.

    Example:

    ```python
    teacher = keras_mlp.DeiTS(weights="imagenet")
    student = keras_mlp.DynamicViTDeiTSR70(weights=None)
    begin_as(student, teacher)
    distiller = TokenDistiller(student, teacher)
    keras_mlp.training.train.fit(distiller, training, validation, recipe, "runs/dynamic_vit")
    ```
    """

    def __init__(
        self,
        student,
        teacher,
        share: float | None = None,
        preprocess=None,
        output: Output | None = None,
        teacher_output: Output | None = None,
    ):
        super().__init__(
            student, teacher, "soft", 1.0, 0.5 if share is None else share, preprocess, output, teacher_output
        )
        own, self.taught = Lesson(student), Lesson(teacher)
        _check(own, self.taught)
        self.lesson = dataclasses.replace(self.lesson, apart=own)

    def compile(self, *arguments, **options):
        super().compile(*arguments, **options)
        # The mean over the tokens that are kept, of all images together.
        over_kept = dict(reduction="mean_with_sample_weight")
        of_logits = TeacherLoss("soft", 1.0, self.teacher_loss.exclusive, **over_kept)
        self.token_loss = of_logits if self.taught.of_logits else keras.losses.MeanSquaredError(**over_kept)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not training:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        own = self._activated(y_pred["head"]) if "head" in y_pred else y_pred["output"]
        loss = keras.Model.compute_loss(self, x, y, own, sample_weight, training)
        teacher = keras.tree.map_structure(ops.stop_gradient, self.taught(self.lesson.seen(x)))
        outputs = (
            _logits(parts, told) for parts, told in ((teacher, self.lesson.output), (y_pred, self.student_output))
        )
        tokens, kept = y_pred["tokens"], y_pred.get("kept")
        kept = ops.ones(ops.shape(tokens)[:2]) if kept is None else ops.cast(kept, "float32")
        if sample_weight is not None:
            kept = kept * ops.cast(ops.reshape(sample_weight, (-1, 1)), "float32")
        taught = self.teacher_loss(*outputs, sample_weight) + self.token_loss(teacher["tokens"], tokens, kept)
        return loss + self.share * taught

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y_pred = y_pred["output"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, y, y_pred, sample_weight)


def begin_as(student: keras.Model, teacher: keras.Model):
    """Give a DynamicViT its backbone's weights; predictors and fast paths, which that has not, stay as they are.

    Args:
        student: the DynamicViT.
        teacher: its backbone, of the same size and classes.

    Raises:
        ValueError: the models have other layers, or weights of other shapes; nothing is changed then.
    """
    ours, theirs = naming.named_variables(student), naming.named_variables(teacher)
    shapes = [
        {name: tuple(variable.shape) for name, (layer, variable) in found.items() if not _is_new(layer)}
        for found in (ours, theirs)
    ]
    if shapes[0] != shapes[1]:
        other = sorted(name for name, _ in shapes[0].items() ^ shapes[1].items())
        raise ValueError(
            f"The student is to have the teacher's layers, beside predictors and fast paths. "
            f"They differ in {some(other)}. Take a teacher of the same kind and size, such as the student's builder "
            f"with pruning=()."
        )
    for name in shapes[0]:
        ours[name][1].assign(theirs[name][1])


def _logits(parts, output):
    return parts["head"] if "head" in parts else output.logits(parts["output"])


def _is_new(layer) -> bool:
    """Whether a layer of a DynamicViT is a predictor's or of a fast path, and none of the backbone."""
    place = names.parse(layer.name)
    return place is not None and (place.part == "task" or "_fast" in layer.name)


def _check(student, teacher):
    if not student.choices:
        raise ValueError(
            "`student` should be a DynamicViT that chooses among tokens. Received one without choices: build it with "
            "`pruning`, or train it with a `Distiller`."
        )
    if teacher.choices:
        raise ValueError(
            "`teacher` should have all tokens. Received a DynamicViT with choices: build it with pruning=()."
        )
    if (student.shape, student.of_logits) != (teacher.shape, teacher.of_logits):
        raise ValueError(
            f"Student and teacher should have the same tokens: the student's are {student.shape}, the teacher's "
            f"{teacher.shape}."
        )
