"""Images a second of a segmenter or a detector, the shares of its parts, and OpenMMLab's beside it, in turns.

    python -m benchmarks.tasks
    python -m benchmarks.tasks --models=as_mlp_tiny,as_mlp_base --forms=graph,xla --threads=1

UPerNet of 150 classes, in float32 and without fusing, up to logits at the image's size. mmsegmentation, in PyTorch
eager, has no AS-MLP, so that heads are compared alone, on random maps of the sizes and channels that the backbone
gives. It takes part where its package is installed; mmcv-lite is enough for it. "of the whole" is the time over that of
our whole model in the same form, and "over mmsegmentation" how many times more images a second than its head has; both
are medians of the rounds.

    MMCV_SOURCE=… AS_MLP_SOURCE=… python -m benchmarks.tasks --task=detection --heads=mask_rcnn,retina_net

Mask R-CNN and RetinaNet of 80 classes on images of 800 × 1344 pixels, one at a time: whole; their network, up to the
maps of the first step; of Mask R-CNN the heads, on 1,000 and 100 regions, and RoIAlign of 1,000 boxes of all sizes; of
RetinaNet what makes detections of its maps; and a training step. What the network is followed by is the whole without
network and heads. Classifiers are random, spread so that there are 100 detections. mmdetection takes part as
`benchmarks.detectors` tells.
"""

import os
import statistics
import sys

from absl import app, flags

from benchmarks import detectors, tables
from benchmarks.contender import Contender, Unavailable
from benchmarks.models import named
from benchmarks.segmenters import PARTS
from benchmarks.worker import Worker

PEERS = {"segmentation": "mmsegmentation", "detection": "mmdetection"}
OURS = ("keras_mlp_segmenter", "keras_mlp_detector")
FORMS = ("graph", "xla")

_TASK = flags.DEFINE_enum("task", "segmentation", list(PEERS), "What is measured.", module_name=__name__)
_HEADS = flags.DEFINE_list("heads", list(detectors.PARTS), "Detectors, by name.", module_name=__name__)
_PARTS = flags.DEFINE_list("parts", None, "Parts of detectors; all by default.", module_name=__name__)
_MODELS = flags.DEFINE_list("models", ["as_mlp_tiny"], "Backbones of the zoo, by name.", module_name=__name__)
_PEERS = flags.DEFINE_list("peers", None, "OpenMMLab's, or empty for none.", module_name=__name__)
_FORMS = flags.DEFINE_list("forms", ["graph"], f"Ways of running ours: {', '.join(FORMS)}.", module_name=__name__)
_BATCH = flags.DEFINE_integer("batch", 1, "Batch size.", lower_bound=1, module_name=__name__)
_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    f"Height and width in pixels; by default 512 of segmenters, {detectors.SIZE} of detectors.",
    lower_bound=32,
    module_name=__name__,
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of everyone.", lower_bound=1, module_name=__name__)
_SECONDS = flags.DEFINE_float("seconds", 5.0, "Length of a turn, at least one batch.", lower_bound=0)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads for each.", lower_bound=1, module_name=__name__)


def contenders(model):
    """Who is measured on a backbone."""
    peers = [PEERS[_TASK.value]] if _PEERS.value is None else _PEERS.value
    shared = dict(model=model, precision="float32", threads=_THREADS.value)
    if _TASK.value == "segmentation":
        shared |= dict(task="inference", image_size=_SIZE.value or 512)
        ours = [(part, OURS[0], form) for form in _FORMS.value for part in PARTS]
        rows = ours + [("head", peer, "eager") for peer in peers]
        return [Contender(part=part, who=who, form=form, **shared) for part, who, form in rows]
    ways = [(OURS[1], form) for form in _FORMS.value] + [(peer, "eager") for peer in peers]
    return [
        Contender(
            task="training" if part == "training" else "inference",
            **dict(who=who, form=form, image_size=_SIZE.value, part=part, head=head, **shared),
        )
        for head in _HEADS.value
        for part in detectors.PARTS[head]
        if part in (_PARTS.value or detectors.PARTS[head])
        for who, form in ways
    ]


def started(model) -> dict:
    """A process for each contender that can take part, `{contender: worker}`; of the others it is said why."""
    workers = {}
    for contender in contenders(model):
        try:
            workers[contender] = Worker(contender)
        except Unavailable as error:
            print(f"{contender.who} {contender.part}: left out, {error}", file=sys.stderr)
    return workers


def measured(workers) -> dict:
    """Images a second of each contender in each round."""
    rates = {contender: [] for contender in workers}
    for worker in workers.values():
        worker.run(_BATCH.value, 0)
    for _ in range(_ROUNDS.value):
        for contender, worker in workers.items():
            rates[contender].append(worker.run(_BATCH.value, _SECONDS.value))
    return rates


def rows(rates):
    """The cells of the table, in the order of `rates`."""
    wholes = {_key(contender): turns for contender, turns in rates.items() if contender.part == "whole"}
    peers = {(c.head, c.part): turns for c, turns in rates.items() if c.who not in OURS}
    for contender, turns in rates.items():
        share = over = "-"
        if _key(contender) in wholes and contender.part != "training":
            share = f"{_median_ratio(wholes[_key(contender)], turns):.0%}"
        if contender.who in OURS and (contender.head, contender.part) in peers:
            over = f"{_median_ratio(turns, peers[contender.head, contender.part]):.2f}"
        spread = f"{min(turns):.3f} to {max(turns):.3f}"
        who = "keras_mlp" if contender.who in OURS else contender.who
        cells = (contender.part, who, contender.form, statistics.median(turns), spread, share, over)
        yield (contender.model, *([contender.head] if contender.head else []), *cells)
    for key, turns in wholes.items():
        parts = {c.part: found for c, found in rates.items() if _key(c) == key}
        if {"network", "heads"} <= parts.keys():
            after = [
                1 - sum(whole / rate for rate in others)
                for whole, *others in zip(turns, parts["network"], parts["heads"], strict=True)
            ]
            who, form, head, model = key
            who = "keras_mlp" if who in OURS else who
            rate = statistics.median(whole / max(share, 1e-3) for whole, share in zip(turns, after, strict=True))
            yield model, head, "what follows", who, form, rate, "-", f"{statistics.median(after):.0%}", "-"


def _key(contender):
    return contender.who, contender.form, contender.head, contender.model


def _median_ratio(ours, theirs) -> float:
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def main(argv):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if argv[1:]:
            raise ValueError(f"Unknown argument: {argv[1]!r}. See --help.")
        for flag, values, known in (
            ("forms", _FORMS.value, FORMS),
            ("peers", _PEERS.value or [], (PEERS[_TASK.value],)),
            ("heads", _HEADS.value, detectors.PARTS),
        ):
            for value in values:
                if value not in known:
                    raise ValueError(f"--{flag}: {value!r} is not known. It takes: {', '.join(known)}.")
        models = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    size = f"UPerNet, {_SIZE.value or 512} pixels, batch {_BATCH.value}"
    head = ()
    if _TASK.value == "detection":
        sides = (_SIZE.value,) * 2 if _SIZE.value else detectors.SIZE
        size, head = f"{'×'.join(map(str, sides))} pixels, batch 1", (("detector", "<10"),)
    table = tables.Table(
        ("backbone", "<14"),
        *head,
        *(("part", "<12"), ("who", "<14"), ("form", "<6"), ("images/s", "8.3f")),
        *(("slowest to fastest", ">18"), ("of the whole", ">12"), (f"over {PEERS[_TASK.value]}", ">19")),
        note=f"{size}, {_THREADS.value} threads, {_ROUNDS.value} rounds; the load was {os.getloadavg()[0]:.1f} at the "
        "start.",
    )
    for model in models:
        workers = started(model)
        try:
            for cells in rows(measured(workers)):
                table.row(*cells)
        except Unavailable as error:
            sys.exit(f"error: {error}")
        finally:
            for worker in workers.values():
                worker.close()


if __name__ == "__main__":
    app.run(main)
