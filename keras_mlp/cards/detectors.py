"""How published detectors were trained and what they reached, as data."""

import dataclasses
from typing import Annotated

from keras_mlp.allowed import Number, OneOf, OrNone, Pair, Several
from keras_mlp.cards.recipes import Recipe
from keras_mlp.cards.scores import Score

_SIDES = Pair(Number(least=1, whole=True), Number(least=1, whole=True))


@dataclasses.dataclass(frozen=True)
class DetectionRecipe(Recipe):
    """A recipe for images with boxes.

    Args:
        schedule: as in `Recipe`, or "steps": the rate falls to a tenth after each of the epochs in `drops`.
        drops: epochs, for that schedule.
        image_size: height and width in which the images fit, `None` for the model's size.
        short_side: pixels that the shorter side of an image has at most; `None` for any.
        random_scale: `(smallest, largest)` factor on the size at which the whole image fits, or `None`: 480–800 pixels
            of 800 are (0.6, 1.0). Of an image that becomes larger than the network's input a part is cut.
        random_crop: whether half of the images are cut first, to 384–600 pixels a side at a short side of 400, 500 or
            600 pixels, as in DETR.
    """

    random_resized_crop: Annotated[None, OneOf((None,))] = None
    label_smoothing: Annotated[float, OneOf((0.0,))] = 0.0
    schedule: Annotated[str, OneOf(("steps", "cosine", "linear", "poly", "constant"))] = "cosine"
    drops: Annotated[tuple[int, ...], Several(Number(least=1, whole=True), rising=True)] = ()
    image_size: Annotated[tuple[int, int] | None, OrNone(_SIDES)] = None
    short_side: Annotated[int | None, OrNone(Number(least=1, whole=True))] = None
    random_scale: Annotated[tuple[float, float] | None, OrNone(Pair(Number(above=0), Number(above=0), rising=True))] = (
        None
    )
    random_crop: Annotated[bool, OneOf((True, False))] = False


@dataclasses.dataclass(frozen=True)
class Detector:
    """A detector that was published, trained on COCO.

    Args:
        detector: what `keras-mlp train --detector` calls it, such as "mask_rcnn".
        model: name of its backbone in the zoo, such as "as_mlp_tiny".
        times: length of its training in units of 12 epochs, 1 or 3.
        recipe: how it was trained.
        scores: what it reached.
        weights: what tells it from others whose backbone started from other weights, such as "22k".
    """

    detector: str
    model: str
    times: int
    recipe: DetectionRecipe
    scores: tuple[Score, ...] = ()
    weights: str = ""

    @property
    def name(self) -> str:
        """Its name for `keras-mlp train --recipe`, such as "mask_rcnn_as_mlp_tiny_3x"."""
        return "_".join(filter(None, (self.detector, self.model, f"{self.times}x", self.weights)))


def _coco(source, times=1, **values) -> DetectionRecipe:
    """What all share on COCO: images of 1333 x 800 pixels, batches of 16, and a rate that falls twice."""
    drops = {1: (8, 11), 3: (27, 33)}[times]
    values = dict(learning_rate=1e-4, weight_decay=1e-4, no_weight_decay=(), warmup_steps=500) | values
    shared = dict(batch_size=16, epochs=12 * times, schedule="steps", drops=drops, final_learning_rate=0.0)
    return DetectionRecipe(source=source, image_size=(1333, 1333), short_side=800, **shared, **values)


def _ap(box, mask, source, exact=True, training="") -> tuple[Score, ...]:
    found = {"box AP": box, "mask AP": mask}
    told = dict(training=training, source=source, exact=exact)
    return tuple(Score(value, name, "COCO", **told) for name, value in found.items() if value)


_JITTER = dict(random_scale=(0.6, 1.0), random_crop=True)
"""Short sides of 480–800 pixels in steps of 32, which any number between takes the place of, and DETR's crop."""
_NORMS = ("stem*norm", "stages*norm", "down*norm", "level*norm")
_REMEMBERED = dict(source="the paper, remembered", exact=False)


def _as_mlp(detector, size, times, drop_path_rate, box, mask, note="") -> Detector:
    repository = "svip-lab/AS-MLP-Object-Detection"
    recipe = _coco(
        f"{repository}, configs/asmlp/{detector}_asmlp_{size}_…_{times}x_coco.py{note}",
        times,
        weight_decay=0.05,
        no_weight_decay=_NORMS,
        drop_path_rate=drop_path_rate,
        **_JITTER,
    )
    return Detector(detector, f"as_mlp_{size}", times, recipe, _ap(box, mask, f"README of {repository}"))


def _raft_mlp(detector, size) -> Detector:
    file = {"retina_net": "retinanet", "mask_rcnn": "maskrcnn"}[detector]
    source = f"okojoalg/raft-mlp, configs/detection/{file}_raftmlp_{size}_fpn_1x_coco.py"
    return Detector(detector, f"raft_mlp_{size}", 1, _coco(source))


def _lit(detector, size, learning_rate, drop_path_rate, box, mask=None) -> Detector:
    file = {"retina_net": "retinanet", "mask_rcnn": "mask_rcnn"}[detector]
    spared = _NORMS if size == "s" else ()
    source = f"ziplab/LIT, detection/configs/lit/{file}_lit_{size}_fpn_1x_coco.py"
    recipe = _coco(source, learning_rate=learning_rate, no_weight_decay=spared, drop_path_rate=drop_path_rate)
    return Detector(detector, f"lit_{size}", 1, recipe, _ap(box, mask, "detection/README.md of ziplab/LIT"))


def _cycle_mlp(detector, size, box, mask=None) -> Detector:
    source = "inferred: CycleMLP's configurations were never released; these are those of whai362/PVT, detection"
    return Detector(detector, f"cycle_mlp_b{size}", 1, _coco(source), _ap(box, mask, **_REMEMBERED))


def _hire_mlp(detector, size, box, mask=None) -> Detector:
    source = "the paper, remembered: AdamW, a rate of 1e-4 and a decay of 0.05; its code was never released"
    recipe = _coco(source, weight_decay=0.05)
    return Detector(detector, f"hire_mlp_{size}", 1, recipe, _ap(box, mask, **_REMEMBERED))


def _gc_vit(detector, size, box, mask) -> Detector:
    repository = "NVlabs/GCVit"
    unseen = "" if size == "tiny" else "; that of tiny, the others were never released and are taken to share it"
    recipe = _coco(
        f"{repository}, detection/configs/gcvit/{detector}_gcvit_tiny_3x_coco.py{unseen}",
        3,
        weight_decay=0.05,
        no_weight_decay=_NORMS,
        warmup_steps=2500,
        drop_path_rate=0.2,
        **_JITTER,
    )
    return Detector(detector, f"gc_vit_{size}", 3, recipe, _ap(box, mask, f"detection/README.md of {repository}"))


def _by_layer(decay, layers, blocks, together) -> tuple[tuple[str, float], ...]:
    """Rates that fall from the heads down to the stem, by ConvNeXt's numbers of layers.

    Args:
        decay: factor from a layer to the one below it.
        layers: number of the last stage; what is new in the detector stands above it.
        blocks: number of blocks of the third stage.
        together: how many of them are one layer.
    """
    numbers = {"stem": 0, "stages_0_": 1, "down_1": 2, "stages_1_": 2, "down_2": 3}
    numbers |= {f"stages_2_{i}_": min(3 + i // together, layers - 1) for i in range(blocks)}
    numbers |= {"down_3": layers, "stages_3_": layers}
    return tuple((word, decay ** (layers + 1 - number)) for word, number in numbers.items())


_CASCADE = "cascade_mask_rcnn"
_22K = "ImageNet-22k"


def _decayed(detector, model, source, rates, scores, weights, **values) -> Detector:
    """What ConvNeXt and HorNet share."""
    decayed = dict(weight_decay=0.05, no_weight_decay=("bias", "beta", "gamma"), rate_factors=rates)
    return Detector(detector, model, 3, _coco(source, 3, **decayed, **values, **_JITTER), scores, weights)


def _convnext(detector, size, decay, drop_path_rate, box, mask, weights="", learning_rate=2e-4) -> Detector:
    repository, trained = "facebookresearch/ConvNeXt", f"in{weights or '1k'}"
    layers, blocks = (6, 9) if size == "tiny" else (12, 27)
    return _decayed(
        detector,
        f"convnext_{size}",
        f"{repository}, object_detection/configs/convnext/{detector}_convnext_{size}_…_3x_coco_{trained}.py",
        _by_layer(decay, layers, blocks, 3),
        _ap(box, mask, f"object_detection/README.md of {repository}", training=_22K if weights else ""),
        weights,
        learning_rate=learning_rate,
        drop_path_rate=drop_path_rate,
    )


def _hornet(size, decay, drop_path_rate, box, mask, learning_rate=2e-4) -> Detector:
    repository, form = "raoyongming/HorNet", "" if size.endswith("gf") else "_7x7"
    large = size.startswith("large")
    file = f"{_CASCADE}_hornet_{size}{form}_3x_coco_{'in22k' if large else 'in1k'}.py"
    return _decayed(
        _CASCADE,
        f"hornet_{size}",
        f"{repository}, object_detection/configs/hornet/{file}",
        _by_layer(decay, 12, 18, 2),
        _ap(box, mask, f"object_detection/README.md of {repository}", training=_22K if large else ""),
        "",
        learning_rate=learning_rate,
        drop_path_rate=drop_path_rate,
    )


_UNSEEN = "; that of tiny, 1x, was never released and is taken to share them"
_CYCLE = {1: (38.6, 39.4, 36.8), 2: (40.9, 41.7, 38.2), 3: (42.5, 43.4, 39.5), 4: (43.2, 44.1, 40.2)}
_CYCLE |= {5: (42.7, 44.1, 40.1)}
_HIRE = {"tiny": (38.9, 39.6, 37.0), "small": (41.7, 42.8, 39.3), "base": (44.3, 45.2, 41.0)}
_HIRE |= {"large": (44.9, 45.9, 41.5)}

DETECTORS = {
    detector.name: detector
    for detector in (
        _as_mlp("mask_rcnn", "tiny", 1, 0.2, 44.0, 40.0),
        _as_mlp("mask_rcnn", "tiny", 3, 0.2, 46.0, 41.5),
        _as_mlp("mask_rcnn", "small", 1, 0.2, 46.7, 42.0),
        _as_mlp("mask_rcnn", "small", 3, 0.2, 47.8, 42.9),
        _as_mlp("cascade_mask_rcnn", "tiny", 1, 0.1, 48.4, 42.0, _UNSEEN),
        _as_mlp("cascade_mask_rcnn", "tiny", 3, 0.2, 50.1, 43.5),
        _as_mlp("cascade_mask_rcnn", "small", 1, 0.1, 50.5, 43.7),
        _as_mlp("cascade_mask_rcnn", "small", 3, 0.2, 51.1, 44.2),
        _as_mlp("cascade_mask_rcnn", "base", 1, 0.2, 51.1, 44.2),
        _as_mlp("cascade_mask_rcnn", "base", 3, 0.3, 51.5, 44.7),
        *(_raft_mlp(detector, size) for detector in ("retina_net", "mask_rcnn") for size in "sml"),
        _lit("retina_net", "ti", 1e-4, 0.1, 41.6),
        _lit("retina_net", "s", 1e-4, 0.2, 41.6),
        _lit("mask_rcnn", "ti", 2e-4, 0.1, 42.0, 39.1),
        _lit("mask_rcnn", "s", 2e-4, 0.2, 42.9, 39.6),
        *(_cycle_mlp("retina_net", size, box) for size, (box, _, _) in _CYCLE.items()),
        *(_cycle_mlp("mask_rcnn", size, box, mask) for size, (_, box, mask) in _CYCLE.items()),
        *(_hire_mlp("retina_net", size, box) for size, (box, _, _) in _HIRE.items()),
        *(_hire_mlp("mask_rcnn", size, box, mask) for size, (_, box, mask) in _HIRE.items()),
        _gc_vit("mask_rcnn", "tiny", 47.9, 43.2),
        _gc_vit(_CASCADE, "tiny", 51.6, 44.6),
        _gc_vit(_CASCADE, "small", 52.4, 45.4),
        _gc_vit(_CASCADE, "base", 52.9, 45.8),
        _convnext("mask_rcnn", "tiny", 0.95, 0.4, 46.2, 41.7, learning_rate=1e-4),
        _convnext(_CASCADE, "tiny", 0.7, 0.4, 50.4, 43.7),
        _convnext(_CASCADE, "small", 0.7, 0.6, 51.9, 45.0),
        _convnext(_CASCADE, "base", 0.8, 0.7, 52.7, 45.6),
        _convnext(_CASCADE, "base", 0.8, 0.6, 54.0, 46.9, "22k", 1e-4),
        _convnext(_CASCADE, "large", 0.7, 0.7, 54.8, 47.6, "22k", 1e-4),
        _convnext(_CASCADE, "xlarge", 0.7, 0.8, 55.2, 47.7, "22k", 1e-4),
        _hornet("tiny", 0.7, 0.4, 51.7, 44.8),
        _hornet("tiny_gf", 0.7, 0.4, 52.4, 45.6),
        _hornet("small", 0.7, 0.6, 52.7, 45.6),
        _hornet("small_gf", 0.7, 0.6, 53.3, 46.3),
        _hornet("base", 0.8, 0.7, 53.3, 46.1),
        _hornet("base_gf", 0.8, 0.7, 54.0, 46.9),
        _hornet("large", 0.7, 0.7, 55.4, 48.0, 1e-4),
        _hornet("large_gf", 0.7, 0.7, 56.0, 48.6, 1e-4),
    )
}
"""Published detectors by name."""


def published(model: str, detector: str | None = None) -> list[Detector]:
    """The published detectors with a backbone, of any kind or of one."""
    return [one for one in DETECTORS.values() if one.model == model and detector in (None, one.detector)]
