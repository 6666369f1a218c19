"""The benchmark as a command: who takes part, whose turn it is, what came out."""

import concurrent.futures
import json
import os
import pathlib
import re
import statistics
import sys
import time

from absl import app, flags

from benchmarks import machine, tables
from benchmarks.contender import PASSES, Contender, Unavailable
from benchmarks.machine import PEAK_SIZES, PEAK_SIZES_OF_GPUS
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
    "precisions",
    None,
    "float32, bfloat16; int8 of ours as a file of OpenVINO or LiteRT. By default float32, and bfloat16 where the "
    "processor computes in it.",
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of everyone.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 1.0, "Length of a turn, at least one batch.", lower_bound=0)
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
_THREADS = flags.DEFINE_integer("threads", _CORES, "Threads, and cores, for each.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Height and width in pixels; the model's own by default.")
_JSON = flags.DEFINE_string("json", None, "File to write the rows to, as a JSON list.")
_DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Where all run; gpu is the first NVIDIA GPU.")
_MINUTES = flags.DEFINE_float("minutes", None, "No further model begins after so long.", lower_bound=0)
_RESUME = flags.DEFINE_bool("resume", False, "Keep the rows in the file of --json, and leave out models that it has.")


def main(task: str):
    """Be the command for `task`, "inference" or "training"."""
    app.run(lambda argv: run(task, argv))


def run(task: str, argv: list[str]):
    """Do what the flags ask for."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
        if _DEVICE.value == "gpu" and machine.gpu() is None:
            raise ValueError("--device=gpu: nvidia-smi names no GPU here.")
        rows = _rows_so_far()
        macs = {model: _macs(model) for model in named(_MODELS.value)}
    except ValueError as error:
        sys.exit(f"error: {error}")
    from keras_mlp.files import atomic_path
    from keras_mlp.forms import FORMS as OUR_FORMS

    start, done = time.monotonic(), {row["model"] for row in rows}
    for model in macs:
        if model in done:
            continue
        if _MINUTES.value is not None and time.monotonic() - start > 60 * _MINUTES.value:
            _say(f"{model} and what follows is left out after {_MINUTES.value:g} minutes; --resume goes on.")
            break
        contenders = [
            Contender(task, model, who, form, precision, _IMAGE_SIZE.value, _THREADS.value, device=_DEVICE.value)
            for who in ("keras_mlp", *_PEERS.value)
            for form in FORMS[who]
            for precision in PRECISIONS[who]
            if form in _FORMS.value and precision in precisions
            if precision != "int8" or precision in OUR_FORMS[form].precisions
        ]
        found = measure(contenders, batches, _ROUNDS.value, _SECONDS.value, PASSES[task] * macs[model])
        run_on = {"machine": machine.gpu()} if _DEVICE.value == "gpu" else {}
        rows += [row | tables.this_run() | run_on for row in found]
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
    # What is compiled for a GPU is compiled by all cores at once.
    together = os.cpu_count() if contenders[0].device == "gpu" else 1
    workers = _start([*dict.fromkeys(peaks), *contenders], together)
    try:
        rates = {}  # {(contender, batch): images or clips a second in each round, or the peak's operations a second}
        turns = [(worker, batch) for batch in batches for worker in list(workers)]

        def warm_up(turn, worker):
            for batch in batches:
                _progress(f"warming up {turn + 1}/{len(turns) // len(batches)}: {worker.contender}, batch {batch}")
                _turn(workers, worker, batch, 0)

        with concurrent.futures.ThreadPoolExecutor(together) as pool:
            list(pool.map(warm_up, *zip(*enumerate(list(workers)), strict=True)))
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
            sizes = PEAK_SIZES_OF_GPUS if worker.contender.device == "gpu" else PEAK_SIZES
            return max(2 * size**2 * worker.run(size, seconds / len(sizes)) for size in sizes)
        return worker.run(batch, seconds)
    except Unavailable as error:
        _say(f"{worker.contender}: left out, {error}")
        workers.remove(worker)
        worker.close()
        return None


def _report(contenders, batches, rates, best, macs):
    first, counted = contenders[0], thing(contenders[0].model)
    print(f"\n{first.model}, {first.task}: {macs / 1e9:.2f} G multiply-adds per {counted}")
    print(machine.gpu() if first.device == "gpu" else f"{first.threads} threads, {machine.processor()}")
    for precision in dict.fromkeys(precision for precision, _ in best):
        turns = [turn / 1e9 for key in best if key[0] == precision for turn in best[key]]
        spread = f"{statistics.median(turns):.0f} GFLOP/s ({min(turns):.0f} to {max(turns):.0f})"
        print(f"peak, a product of square matrices in {precision}: {spread}")
    line = "{:<18} {:<9} {:<9} {:>5} {:>9} {:>19} {:>6}"
    print(line.format("who", "form", "precision", "batch", f"{counted}s/s", "slowest to fastest", "peak"))
    rows = []
    for batch in batches:
        for contender in contenders:
            peak_of = (_measured_in(contender.precision), batch)
            if (contender, batch) not in rates or peak_of not in best:
                continue
            turns = rates[contender, batch]
            # Each round against the peak of the same round.
            shares = [2 * macs * rate / peak for rate, peak in zip(turns, best[peak_of], strict=True)]
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


def _start(contenders, together: int) -> list[Worker]:
    """The processes of those that can take part; so many begin at once."""
    workers, missing = [], set()

    def begin(turn, contender):
        _progress(f"starting {turn + 1}/{len(contenders)}: {contender}")
        return Worker(contender)

    with concurrent.futures.ThreadPoolExecutor(together) as pool:
        begun = [pool.submit(begin, *turn) for turn in enumerate(contenders)]
        for contender, future in zip(contenders, begun, strict=True):
            try:
                workers.append(future.result())
            except Unavailable as error:
                if (contender.who, str(error)) not in missing:
                    _say(f"{contender.who}: left out, {error}")
                missing.add((contender.who, str(error)))
    return workers


def _peak(contender, library):
    precision, threads = _measured_in(contender.precision), contender.threads
    return Contender("inference", contender.model, library, "matmul", precision, None, threads, device=contender.device)


def _measured_in(precision) -> str:
    """The precision of the product that is the measure: integers are told as a share of what float32 reaches."""
    return "float32" if precision == "int8" else precision


def _libraries(contender):
    """Whose matrix products are the measure: TensorFlow's, and those of others that take part; the fastest counts."""
    if contender.device == "gpu" and contender.form == "jax":
        return ("jax",)
    return ("tensorflow", "torch") if contender.who in ("timm", "torchvision") else ("tensorflow",)


def _rows_so_far() -> list[dict]:
    """What the file of --json has, if the command goes on with it."""
    if not _RESUME.value:
        return []
    if not _JSON.value:
        raise ValueError("--resume goes on with the file of --json, which is not given.")
    path = pathlib.Path(_JSON.value)
    return json.loads(path.read_text()) if path.exists() else []


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
    _check_known("precisions", _PRECISIONS.value, ["float32", "bfloat16", "int8"])
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
