"""The benchmark as a command: who takes part, whose turn it is, what came out."""

import json
import os
import pathlib
import re
import statistics
import sys

from absl import app, flags

from benchmarks import machine, tables
from benchmarks.contender import PASSES, Contender, Unavailable
from benchmarks.machine import PEAK_SIZES
from benchmarks.models import FORMS, PRECISIONS, input_shape, named, thing
from benchmarks.worker import Worker

_MODELS = flags.DEFINE_list(
    "models", ["mlp_mixer_b16"], "Models of the zoo, by name; smallest and largest: of each family."
)
_PEERS = flags.DEFINE_list(
    "peers", [name for name in FORMS if name != "keras_mlp"], "Libraries to compare with. Empty for none."
)
_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.")
_FORMS = flags.DEFINE_list(
    "forms",
    ["graph", "xla", "eager", "compiled"],
    "Ways of running to measure, ours or theirs: "
    + ", ".join(dict.fromkeys(form for fs in FORMS.values() for form in fs)),
)
_PRECISIONS = flags.DEFINE_list(
    "precisions", None, "float32, bfloat16. By default both where the processor computes in bfloat16, else float32."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of everyone.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 1.0, "Length of a turn, at least one batch.", lower_bound=0)
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
_THREADS = flags.DEFINE_integer("threads", _CORES, "Threads, and cores, for each.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Height and width in pixels; the model's own by default.")
_JSON = flags.DEFINE_string("json", None, "File to write the rows to, as a JSON list.")


def main(task: str):
    """Run the command for `task`, "inference" or "training"."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(lambda argv: _main(task, argv))


def _main(task, argv):
    try:
        if argv[1:]:
            raise ValueError(f"Unknown argument: {argv[1]!r}. See --help.")
        batches = _checked_batches()
        precisions = _checked_precisions()
        known_peers = [name for name in FORMS if name != "keras_mlp"]
        _check_known("peers", _PEERS.value, known_peers)
        _check_known("forms", _FORMS.value, list(dict.fromkeys(sum(FORMS.values(), ()))))
        if _JSON.value and not pathlib.Path(_JSON.value).absolute().parent.is_dir():
            raise ValueError(f"--json: there is no folder to write {_JSON.value} into.")
        macs = {model: _macs(model) for model in named(_MODELS.value)}
    except ValueError as error:
        sys.exit(f"error: {error}")
    from keras_mlp.files import atomic_path

    rows = []
    for model in macs:
        contenders = [
            Contender(task, model, who, form, precision, _IMAGE_SIZE.value, _THREADS.value)
            for who in ("keras_mlp", *_PEERS.value)
            for form in FORMS[who]
            for precision in PRECISIONS[who]
            if form in _FORMS.value and precision in precisions
        ]
        found = measure(contenders, batches, _ROUNDS.value, _SECONDS.value, PASSES[task] * macs[model])
        rows += [row | tables.this_run() for row in found]
        if _JSON.value:  # after each model: what has been measured is not lost if the next ends the command
            with atomic_path(_JSON.value) as temporary:
                pathlib.Path(temporary).write_text(json.dumps(rows, indent=1) + "\n")
    if not rows:
        sys.exit("error: nothing could be measured; the reasons are above.")


def measure(contenders, batches, rounds, seconds, macs) -> list[dict]:
    """Measure contenders for one model in turns, and print what came out.

    Args:
        contenders: who takes part.
        batches: batch sizes.
        rounds: turns of everyone.
        seconds: length of a turn.
        macs: multiply-adds of one image or clip in the task.

    Returns:
        A row for each contender and batch size.
    """
    peaks = [_peak(contender, library) for contender in contenders for library in _libraries(contender)]
    workers = _start([*dict.fromkeys(peaks), *contenders])
    try:
        rates = {}  # {(contender, batch): images or clips a second in each round, or the peak's operations a second}
        turns = [(worker, batch) for batch in batches for worker in list(workers)]
        for turn, (worker, batch) in enumerate(turns):
            _progress(f"warming up {turn + 1}/{len(turns)}: {worker.contender}, batch {batch}")
            _turn(workers, worker, batch, 0)
        for number in range(rounds):
            for turn, (worker, batch) in enumerate(turns):
                _progress(f"round {number + 1}/{rounds}, {turn + 1}/{len(turns)}: {worker.contender}, batch {batch}")
                rate = _turn(workers, worker, batch, seconds)
                rates.setdefault((worker.contender, batch), []).append(rate)
    finally:
        _progress("")
        for worker in workers:
            worker.close()
    rates = {key: values for key, values in rates.items() if None not in values}
    best = {
        (precision, batch): [max(turn) for turn in zip(*found, strict=True)]
        for precision in ("float32", "bfloat16")
        for batch in batches
        if (
            found := [v for (c, b), v in rates.items() if c.form == "matmul" and (c.precision, b) == (precision, batch)]
        )
    }
    return _report(contenders, batches, rates, best, macs)


def _turn(workers, worker, batch, seconds):
    """Images a second, of the peak operations a second; `None` from a process that died, which is said once."""
    if worker not in workers:
        return None
    try:
        if worker.contender.form == "matmul":  # the same, whatever the batch that it stands beside
            return max(2 * size**2 * worker.run(size, seconds / len(PEAK_SIZES)) for size in PEAK_SIZES)
        return worker.run(batch, seconds)
    except Unavailable as error:
        _say(f"{worker.contender}: left out, {error}")
        workers.remove(worker)
        worker.close()
        return None


def _report(contenders, batches, rates, best, macs):
    first, counted = contenders[0], thing(contenders[0].model)
    print(f"\n{first.model}, {first.task}: {macs / 1e9:.2f} G multiply-adds per {counted}")
    print(f"{first.threads} threads, {machine.processor()}")
    for precision in dict.fromkeys(precision for precision, _ in best):
        turns = [turn / 1e9 for key in best if key[0] == precision for turn in best[key]]
        spread = f"{statistics.median(turns):.0f} GFLOP/s ({min(turns):.0f} to {max(turns):.0f})"
        print(f"peak, a product of square matrices in {precision}: {spread}")
    line = "{:<18} {:<9} {:<9} {:>5} {:>9} {:>19} {:>6}"
    print(line.format("who", "form", "precision", "batch", f"{counted}s/s", "slowest to fastest", "peak"))
    rows = []
    for batch in batches:
        for contender in contenders:
            if (contender, batch) not in rates or (contender.precision, batch) not in best:
                continue
            turns = rates[contender, batch]
            # Each round against the peak of the same round.
            shares = [
                2 * macs * rate / peak for rate, peak in zip(turns, best[contender.precision, batch], strict=True)
            ]
            row = {
                "model": contender.model,
                "who": contender.who,
                "form": contender.form,
                "precision": contender.precision,
                "batch": batch,
                "images_per_second": statistics.median(turns),
                "peak_share": statistics.median(shares),
            }
            rows.append(row)
            spread = f"{min(turns):.2f} to {max(turns):.2f}"
            cells = [row[key] for key in ("who", "form", "precision", "batch")]
            print(
                line.format(*cells, f"{row['images_per_second']:.2f}", spread, f"{row['peak_share']:.1%}"), flush=True
            )
    return rows


def _start(contenders) -> list[Worker]:
    workers, missing = [], set()
    for turn, contender in enumerate(contenders):
        _progress(f"starting {turn + 1}/{len(contenders)}: {contender}")
        try:
            workers.append(Worker(contender))
        except Unavailable as error:
            if (contender.who, str(error)) not in missing:
                _say(f"{contender.who}: left out, {error}")
            missing.add((contender.who, str(error)))
    return workers


def _peak(contender, library):
    return Contender("inference", contender.model, library, "matmul", contender.precision, None, contender.threads)


def _libraries(contender):
    """Whose matrix products are the measure: TensorFlow's, and PyTorch's where it takes part; the faster counts."""
    return ("tensorflow", "torch") if contender.who in ("timm", "torchvision") else ("tensorflow",)


def _macs(model) -> int:
    import keras_mlp

    size = _IMAGE_SIZE.value
    if size is None:
        return keras_mlp.model_card(model).macs
    from keras_mlp.analysis import cost

    return cost(keras_mlp.create_model(model, weights=None, input_shape=input_shape(model, size))).macs


def _checked_batches():
    try:
        batches = [int(batch) for batch in _BATCHES.value]
    except ValueError:
        batches = []
    if not batches or min(batches) < 1:
        raise ValueError(f"--batches must be positive integers, such as 1,8. Received: {','.join(_BATCHES.value)}")
    return batches


def _checked_precisions():
    if _PRECISIONS.value is None:
        return ("float32", "bfloat16") if _has_bfloat16() else ("float32",)
    _check_known("precisions", _PRECISIONS.value, ["float32", "bfloat16"])
    return _PRECISIONS.value


def _check_known(flag, values, known):
    for value in values:
        if value not in known:
            raise ValueError(f"--{flag}: {value!r} is not known. It takes: {', '.join(known)}.")


def _has_bfloat16():
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", machine.cpuinfo()))


def _progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def _say(text):
    _progress("")
    print(text, file=sys.stderr, flush=True)
