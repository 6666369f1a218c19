"""Images a second of a segmenter, the share of its head, and mmsegmentation's head beside it, in turns.

    python -m benchmarks.tasks
    python -m benchmarks.tasks --models=as_mlp_tiny,as_mlp_base --forms=graph,xla --threads=1

UPerNet of 150 classes, in float32 and without fusing, up to logits at the image's size. mmsegmentation, in PyTorch
eager, has no AS-MLP, so that heads are compared alone, on random maps of the sizes and channels that the backbone
gives. It takes part where its package is installed; mmcv-lite is enough for it. "of the whole" is the time over that of
our whole model in the same form, and "over mmsegmentation" how many times more images a second than its head has; both
are medians of the rounds.
"""

import os
import statistics
import sys

from absl import app, flags

from benchmarks import tables
from benchmarks.contender import Contender, Unavailable
from benchmarks.models import named
from benchmarks.segmenters import PARTS
from benchmarks.worker import Worker

OURS, PEER = "keras_mlp_segmenter", "mmsegmentation"
FORMS = ("graph", "xla")

_MODELS = flags.DEFINE_list("models", ["as_mlp_tiny"], "Backbones of the zoo, by name.", module_name=__name__)
_PEERS = flags.DEFINE_list("peers", [PEER], f"{PEER}, or empty for none.", module_name=__name__)
_FORMS = flags.DEFINE_list("forms", ["graph"], f"Ways of running ours: {', '.join(FORMS)}.", module_name=__name__)
_BATCH = flags.DEFINE_integer("batch", 1, "Batch size.", lower_bound=1, module_name=__name__)
_SIZE = flags.DEFINE_integer("image_size", 512, "Height and width in pixels.", lower_bound=32, module_name=__name__)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of everyone.", lower_bound=1, module_name=__name__)
_SECONDS = flags.DEFINE_float("seconds", 5.0, "Length of a turn, at least one batch.", lower_bound=0)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads for each.", lower_bound=1, module_name=__name__)


def started(model) -> dict:
    """A process for each contender that can take part, `{contender: worker}`; of the others it is said why."""
    ours = [(part, OURS, form) for form in _FORMS.value for part in PARTS]
    workers = {}
    for part, who, form in ours + [("head", peer, "eager") for peer in _PEERS.value]:
        contender = Contender("inference", model, who, form, "float32", _SIZE.value, _THREADS.value, part=part)
        try:
            workers[contender] = Worker(contender)
        except Unavailable as error:
            print(f"{who}: left out, {error}", file=sys.stderr)
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
    wholes = {contender.form: turns for contender, turns in rates.items() if contender.part == "whole"}
    peers = [turns for contender, turns in rates.items() if contender.who == PEER]
    for contender, turns in rates.items():
        share = over = "-"
        if contender.who == OURS:
            share = f"{_median_ratio(wholes[contender.form], turns):.0%}"
        if peers and contender.part == "head":
            over = f"{_median_ratio(turns, peers[0]):.2f}"
        spread = f"{min(turns):.3f} to {max(turns):.3f}"
        who = "keras_mlp" if contender.who == OURS else contender.who
        yield contender.model, contender.part, who, contender.form, statistics.median(turns), spread, share, over


def _median_ratio(ours, theirs) -> float:
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def main(argv):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if argv[1:]:
            raise ValueError(f"Unknown argument: {argv[1]!r}. See --help.")
        for flag, values, known in (("forms", _FORMS.value, FORMS), ("peers", _PEERS.value, (PEER,))):
            for value in values:
                if value not in known:
                    raise ValueError(f"--{flag}: {value!r} is not known. It takes: {', '.join(known)}.")
        models = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    note = f"UPerNet, {_SIZE.value} pixels, batch {_BATCH.value}, {_THREADS.value} threads, {_ROUNDS.value} rounds; "
    table = tables.Table(
        *(("backbone", "<14"), ("part", "<8"), ("who", "<14"), ("form", "<6"), ("images/s", "8.3f")),
        *(("slowest to fastest", ">18"), ("of the whole", ">12"), (f"over {PEER}", ">19")),
        note=f"{note}the load was {os.getloadavg()[0]:.1f} at the start.",
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
