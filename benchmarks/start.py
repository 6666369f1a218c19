"""How long it takes until there is a model: imports, listing, building, saving and loading.

    python -m benchmarks.start
    python -m benchmarks.start --models=smallest,mlp_mixer_h14

Every time is taken in processes of their own, one after the other, and the median is printed. A model is built with
random weights and its first operations of TensorFlow are counted in; "load" reads the same model from a `.keras` file.
"""

import statistics
import subprocess
import sys

from absl import app, flags

from benchmarks import tables
from benchmarks.models import named

_MODELS = flags.DEFINE_list("models", ["largest"], "Models of the zoo, by name; smallest and largest: of each family.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Processes for each time.", lower_bound=1)

CLOCK = "import time\nstart = time.perf_counter()\n"
IMPORTS = {
    "import keras": CLOCK + "import keras\nprint(time.perf_counter() - start)",
    "import keras_mlp, after keras": "import keras\n" + CLOCK + "import keras_mlp\nprint(time.perf_counter() - start)",
    "list_models": "import keras_mlp\n" + CLOCK + "keras_mlp.list_models()\nprint(time.perf_counter() - start)",
}
MODEL = """
import os, sys, tempfile, time
import keras, keras_mlp
clock = [time.perf_counter()]
def lap():
    clock.append(time.perf_counter())
    return clock[-1] - clock[-2]
model = keras_mlp.create_model(sys.argv[1], weights=None)
built = lap()
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.keras")
    model.save(path)
    lap()
    keras.saving.load_model(path)
    print(built, lap(), len(model.layers), model.count_params())
"""


def times(code: str, *arguments: str) -> list[float]:
    """The numbers that processes of their own print, each the median over all rounds."""
    rounds = []
    for _ in range(_ROUNDS.value):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"error: {done.stderr.strip().splitlines()[-1]}")
        rounds.append(map(float, done.stdout.split()))
    return [statistics.median(values) for values in zip(*rounds, strict=True)]


def main(argv):
    del argv
    try:
        names = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    for what, code in IMPORTS.items():
        print(f"{what:<30} {times(code)[0]:7.3f} s", flush=True)
    print()
    table = tables.Table(
        *(("model", "<26"), ("layers", ".0f"), ("parameters (M)", ".1f"), ("build (s)", ".2f"), ("load (s)", ".2f"))
    )
    for name in names:
        built, loaded, layers, parameters = times(MODEL, name)
        table.row(name, layers, parameters / 1e6, built, loaded)


if __name__ == "__main__":
    app.run(main)
