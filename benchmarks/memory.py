"""What a training step needs in memory for each image: ours, ours with rematerialised MLPs, and timm.

    python -m benchmarks.memory --models=mlp_mixer_s16,res_mlp_12 --peers=timm

Forward, backward and AdamW, 224 pixels, float32. Every contender trains on two batch sizes, each in a process of its
own; the memory of an image is the difference of the processes' peaks over the difference of the batches, so that
libraries, weights and the optimiser's variables do not count. The time is that of a step on the larger batch, and the
ratios are to ours without rematerialisation. On Linux (the peak is read from /proc/self/status).
"""

import json
import os
import subprocess
import sys

from absl import app, flags

from benchmarks import tables
from benchmarks.models import named

_MODELS = flags.DEFINE_list("models", ["mlp_mixer_s16"], "Models, by name; smallest and largest: of each family.")
_PEERS = flags.DEFINE_list("peers", ["timm"], "Libraries to compare with: timm. Empty for none.")
_BATCHES = flags.DEFINE_list("batches", ["8", "24"], "Two batch sizes.")
_STEPS = flags.DEFINE_integer("steps", 3, "Steps that are timed.", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", None, "Height and width in pixels; the model's own by default.")
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads for each.", lower_bound=1)

TRAIN = """
import json, sys, time
from benchmarks.contender import Contender, Unavailable
from benchmarks.models import LIBRARIES
contender, batch, steps = json.loads(sys.argv[1])
contender = Contender(**contender)
try:
    prepare = LIBRARIES[contender.who](contender)
except Unavailable as error:
    sys.exit(str(error))
step = prepare(batch)
step()
open("/proc/self/clear_refs", "w").write("5")  # the peak is counted anew from here
times = []
for _ in range(steps):
    start = time.perf_counter()
    step()
    times.append(time.perf_counter() - start)
peak = next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([peak, sorted(times)[len(times) // 2]]))
"""


def measured(model, who, form, remat, batch) -> tuple[float, float]:
    """Peak in MB and seconds of a step.

    Raises:
        RuntimeError: the contender cannot take part; the message says why.
    """
    contender = dict(task="training", model=model, who=who, form=form, precision="float32")
    contender |= dict(image_size=_IMAGE_SIZE.value, threads=_THREADS.value, remat=remat)
    words = [sys.executable, "-c", TRAIN, json.dumps([contender, batch, _STEPS.value])]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def main(argv):
    del argv
    try:
        small, large = sorted(map(int, _BATCHES.value))
        if not 0 < small < large:
            raise ValueError
    except ValueError:
        sys.exit(f"error: --batches must be two batch sizes, as 8,24. Received: {','.join(_BATCHES.value)}")
    try:
        names = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    contenders = [("keras_mlp", "graph", False), ("keras_mlp", "graph", True)]
    contenders += [(who, "eager", False) for who in _PEERS.value]
    table = tables.Table(
        *(("model", "<18"), ("who", "<18"), ("MB an image", ".1f"), ("over ours", ".2f")),
        *((f"ms a step of {large}", ".0f"), ("over ours", ".2f")),
    )
    for model in names:
        first = None
        for who, form, remat in contenders:
            name = f"{who}, remat" if remat else who
            try:
                (low, _), (high, seconds) = (measured(model, who, form, remat, batch) for batch in (small, large))
            except RuntimeError as error:
                print(f"{model}, {name}: left out, {error}", file=sys.stderr)
                continue
            found = (high - low) / (large - small), 1e3 * seconds
            first = first or found
            table.row(model, name, found[0], found[0] / first[0], found[1], found[1] / first[1])


if __name__ == "__main__":
    app.run(main)
