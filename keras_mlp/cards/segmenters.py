"""How published segmenters were trained and what they reached, as data."""

import dataclasses
from typing import Annotated

from keras_mlp.allowed import Number, OneOf, OrNone, Pair, Several
from keras_mlp.cards.recipes import Recipe
from keras_mlp.cards.scores import Score

_SIDES = Pair(Number(least=1, whole=True), Number(least=1, whole=True))


@dataclasses.dataclass(frozen=True)
class SegmentationRecipe(Recipe):
    """A recipe for images with masks.

    Args:
        image_size: height and width of the crops to learn from, `None` for the model's size.
        resize: `(longer, shorter)` side into which the whole image is fitted before `random_scale`; `None` for the size
            at which the whole image fits into the crop.
        random_scale: `(smallest, largest)` factor on the size of the image before a crop, or `None`.
        photometric_distortion: whether brightness, contrast and colours are changed.
        auxiliary_weight: of the loss of each auxiliary head; 0 for none.
        class_weight: of the loss of each class, `None` for 1; see `keras_mlp.tasks.PixelCrossEntropy`.
    """

    random_resized_crop: Annotated[None, OneOf((None,))] = None
    label_smoothing: Annotated[float, OneOf((0.0,))] = 0.0
    image_size: Annotated[tuple[int, int] | None, OrNone(_SIDES)] = None
    resize: Annotated[tuple[int, int] | None, OrNone(_SIDES)] = None
    random_scale: Annotated[tuple[float, float] | None, OrNone(Pair(Number(above=0), Number(above=0), rising=True))] = (
        0.5,
        2.0,
    )
    photometric_distortion: Annotated[bool, OneOf((True, False))] = True
    auxiliary_weight: Annotated[float, Number(least=0)] = 0.4
    class_weight: Annotated[tuple[float, ...] | None, OrNone(Several(Number(least=0)))] = None


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """A segmenter that was published.

    Args:
        head: name of its head, such as "upernet".
        model: name of its backbone in the zoo, such as "as_mlp_tiny".
        dataset: what it was trained on.
        recipe: how.
        scores: what it reached.
        schedule: what tells it from others of the same head, backbone and data set, such as "80k".
        window: side of the windows in which it was tested, in pixels; `None` for the whole image.
        stride: their distance.
        config: arguments of the backbone's builder in which the authors' backbone differs from their classifier.
    """

    head: str
    model: str
    dataset: str
    recipe: SegmentationRecipe
    scores: tuple[Score, ...] = ()
    schedule: str = ""
    window: int | None = None
    stride: int | None = None
    config: dict = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name for `keras-mlp train --recipe`, such as "upernet_as_mlp_tiny_ade20k"."""
        return "_".join(filter(None, (self.head, self.model, self.dataset.lower(), self.schedule)))


def _ade20k(source, steps, learning_rate, **values) -> SegmentationRecipe:
    """What nearly all share on ADE20K: crops of 512 pixels, AdamW, and a rate that falls to 0."""
    values = dict(schedule="poly", final_learning_rate=0.0, warmup_steps=0, no_weight_decay=()) | values
    shared = dict(image_size=(512, 512), resize=(2048, 512), steps=steps, learning_rate=learning_rate)
    return SegmentationRecipe(source=source, **shared, **values)


def _miou(value, source, dataset="ADE20K", exact=True, **several) -> tuple[Score, ...]:
    """Scores at one scale, and at several with mirrored images."""
    found = {"mIoU": value, "mIoU, several scales": several.get("several")}
    return tuple(
        Score(number, metric, dataset, source=source, exact=exact) for metric, number in found.items() if number
    )


def _as_mlp(size, shift, drop_path_rate, several) -> Segmenter:
    repository = "svip-lab/AS-MLP-Semantic-Segmentation"
    recipe = _ade20k(
        f"{repository}, configs/asmlp/upernet_asmlp_{size}_patch4_shift{shift}_512x512_160k_ade20k.py",
        steps=160_000,
        learning_rate=6e-5,
        batch_size=16,
        schedule="linear",
        warmup_steps=1500,
        weight_decay=0.01,
        no_weight_decay=("stem*norm", "stages*norm", "down*norm", "level*norm"),  # the backbone's
        drop_path_rate=drop_path_rate,
    )
    scores = _miou(None, f"README of {repository}", several=several)
    return Segmenter("upernet", f"as_mlp_{size}", "ADE20K", recipe, scores)


_HIRE = "ggjy/Hire-Wave-MLP.pytorch, mmseg-v0.11/configs/{}/hire_mlp_small_512x512_ade20k.py; batch of 8 devices"
_FPN = dict(auxiliary_weight=0.0, batch_size=32, learning_rate=2e-4, steps=40_000)
_REMEMBERED = dict(source="the paper, remembered", exact=False)


def _hire_mlp(size, miou) -> Segmenter:
    of = "" if size == "small" else ", whose setting the others are taken to share"
    recipe = _ade20k(_HIRE.format("sem_fpn") + of, **_FPN, weight_decay=0.05, drop_path_rate=0.1)
    return Segmenter("semantic_fpn", f"hire_mlp_{size}", "ADE20K", recipe, _miou(miou, **_REMEMBERED))


def _raft_mlp(size) -> Segmenter:
    source = f"okojoalg/raft-mlp, configs/segmentation/fpn_raftmlp_{size}_512x512_40k_ade20k.py"
    return Segmenter("semantic_fpn", f"raft_mlp_{size}", "ADE20K", _ade20k(source, **_FPN, weight_decay=1e-4))


def _conv_mlp(size, miou) -> Segmenter:
    repository = "SHI-Labs/Convolutional-MLPs"
    source = f"{repository}, configs/segmentation/fpn_convmlp_{size}_512x512_40k_ade20k.py"
    recipe = _ade20k(source, **_FPN, weight_decay=1e-4)
    return Segmenter("semantic_fpn", f"conv_mlp_{size}", "ADE20K", recipe, _miou(miou, f"README of {repository}"))


def _cycle_mlp(size, miou) -> Segmenter:
    source = "inferred: CycleMLP's configurations were never released; these are those of whai362/PVT, configs/sem_fpn"
    recipe = _ade20k(source, **_FPN, weight_decay=1e-4)
    return Segmenter("semantic_fpn", f"cycle_mlp_b{size}", "ADE20K", recipe, _miou(miou, **_REMEMBERED))


def _lit(size, drop_path_rate, miou) -> Segmenter:
    recipe = _ade20k(
        f"ziplab/LIT, segmentation/configs/lit/lit_{size}_fpn_r50_512x512_80k_ade20k.py, on mmsegmentation's "
        "schedule_80k.py, whose floor is as high as the rate",
        steps=80_000,
        learning_rate=1e-4,
        final_learning_rate=1e-4,
        batch_size=16,
        weight_decay=1e-4,
        drop_path_rate=drop_path_rate,
        auxiliary_weight=0.0,
    )
    scores = _miou(miou, "segmentation/README.md of ziplab/LIT")
    return Segmenter("semantic_fpn", f"lit_{size}", "ADE20K", recipe, scores)


_NEW = (("decoder", 10.0), ("head", 10.0), ("auxiliary", 10.0))
"""SETR's heads learn ten times as fast as its backbone, to which the neck of MLA belongs."""


def _setr(head, dataset, learning_rate, thousands, batch_size, miou, several=None) -> Segmenter:
    side, stride = {"ADE20K": (512, 341), "Cityscapes": (768, 512)}[dataset]
    repository, file = "fudan-zvg/SETR", {"naive": "Naive", "pup": "PUP", "mla": "MLA"}[head]
    file = f"SETR_{file}_{side}x{side}_{thousands}k_{dataset.lower()}_bs_{batch_size}.py"
    recipe = SegmentationRecipe(
        source=f"{repository}, configs/SETR/{file}",
        optimizer="sgd",
        learning_rate=learning_rate,
        rate_factors=_NEW,
        batch_size=batch_size,
        steps=1000 * thousands,
        warmup_steps=0,
        schedule="poly",
        final_learning_rate=1e-4,
        weight_decay=0.0,
        image_size=(side, side),
        resize={"ADE20K": (2048, 512), "Cityscapes": (2049, 1025)}[dataset],
    )
    scores = _miou(miou, f"README of {repository}", dataset, several=several)
    schedule = f"{thousands}k" + (f"_bs{batch_size}" if dataset == "ADE20K" and head == "mla" else "")
    config = {"class_token": False} if head == "mla" else {}
    return Segmenter(f"setr_{head}", "vit_l16", dataset, recipe, scores, schedule, side, stride, config)


_REPMLPNET = SegmentationRecipe(
    source="inferred: the paper tells of UPerNet and 80k steps, its configuration was never released. The rest is what "
    "mmsegmentation has for UPerNet on Cityscapes; its decay of 5e-4 in the gradient is ten times as much by momentum",
    optimizer="sgd",
    learning_rate=0.01,
    batch_size=8,
    steps=80_000,
    warmup_steps=0,
    schedule="poly",
    final_learning_rate=1e-4,
    weight_decay=5e-3,
    no_weight_decay=(),
    image_size=(512, 1024),
    resize=(2048, 1024),
)

SEGMENTERS = {
    segmenter.name: segmenter
    for segmenter in (
        _as_mlp("tiny", 5, 0.3, 46.5),
        _as_mlp("small", 3, 0.3, 49.2),
        _as_mlp("base", 5, 0.5, 49.5),
        Segmenter(
            "upernet",
            "hire_mlp_small",
            "ADE20K",
            _ade20k(
                _HIRE.format("upernet"),
                steps=80_000,
                learning_rate=1.2e-4,
                batch_size=32,
                schedule="linear",
                warmup_steps=800,
                weight_decay=0.01,
                drop_path_rate=0.2,
            ),
        ),
        *(_hire_mlp(size, miou) for size, miou in (("small", 44.3), ("base", 46.2), ("large", 46.6))),
        *map(_raft_mlp, "sml"),
        *(_conv_mlp(size, miou) for size, miou in (("s", 35.8), ("m", 38.6), ("l", 40.0))),
        *(_cycle_mlp(size, miou) for size, miou in enumerate((40.8, 43.4, 44.3, 45.1, 45.5), 1)),
        _lit("ti", 0.1, 41.3),
        _lit("s", 0.2, 41.7),
        Segmenter(
            "upernet",
            "repmlpnet_d256",
            "Cityscapes",
            _REPMLPNET,
            _miou(76.27, "the paper", "Cityscapes"),
        ),
        _setr("naive", "ADE20K", 0.01, 160, 16, 48.06, several=48.80),
        _setr("pup", "ADE20K", 0.001, 160, 16, 48.62, several=50.09),
        _setr("mla", "ADE20K", 0.001, 160, 8, 47.79, several=50.03),
        _setr("mla", "ADE20K", 0.001, 160, 16, 48.64, several=50.28),
        _setr("naive", "Cityscapes", 0.01, 40, 8, 77.37),
        _setr("naive", "Cityscapes", 0.01, 80, 8, 77.90),
        _setr("pup", "Cityscapes", 0.01, 40, 8, 78.39),
        _setr("pup", "Cityscapes", 0.01, 80, 8, 79.34),
        _setr("mla", "Cityscapes", 0.002, 40, 8, 76.65),
        _setr("mla", "Cityscapes", 0.002, 80, 8, 77.24),
    )
}
"""Published segmenters by name."""


def published(model: str, head: str | None = None) -> list[Segmenter]:
    """The published segmenters with a backbone, of any head or of one."""
    return [one for one in SEGMENTERS.values() if one.model == model and head in (None, one.head)]


def best(model: str) -> tuple[Score, ...]:
    """The highest score of the published segmenters with a backbone, of each metric on each data set."""
    found = {}
    for score in (score for one in published(model) for score in one.scores):
        before = found.get((score.metric, score.dataset))
        if before is None or score.value > before.value:
            found[score.metric, score.dataset] = score
    return tuple(found.values())
