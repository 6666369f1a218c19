"""How long it takes until there is a model: imports, listing, building and loading.

    python -m benchmarks.start
    python -m benchmarks.start --models=smallest,mlp_mixer_h14

Every time is taken in processes of their own, one after the other, and the median is printed; the first operations of
TensorFlow are counted in. Python's bytecode is on the disk, as it is for installed packages. "random" is
`create_model(weights=None)`, "checkpoint" is `create_model(weights=FILE)` of a `.safetensors` file, and ".keras" is
`keras.saving.load_model`. The files have been read before, so that the disk is not measured.

With `--save=start.json`, imports and commands are kept in start_imports.json.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from absl import app, flags

from benchmarks import tables
from benchmarks.models import named

_MODELS = flags.DEFINE_list("models", ["largest"], "Models of the zoo, by name; smallest and largest: of each family.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Processes for each time.", lower_bound=1)

CLOCK = "import time\nstart = time.perf_counter()\n"
COMMAND = "subprocess.run([sys.executable, '-m', 'keras_mlp_command', {!r}], capture_output=True, check=True)"
IMPORTS = {
    "import keras": CLOCK + "import keras\nprint(time.perf_counter() - start)",
    "import keras_mlp, after keras": "import keras\n" + CLOCK + "import keras_mlp\nprint(time.perf_counter() - start)",
    "list_models": "import keras_mlp\n" + CLOCK + "keras_mlp.list_models()\nprint(time.perf_counter() - start)",
    **{
        f"keras-mlp {word}, the whole process": f"import subprocess, sys\n{CLOCK}{COMMAND.format(word)}\n"
        "print(time.perf_counter() - start)"
        for word in ("--help", "list")
    },
}
FILES = """
import sys, keras_mlp
model = keras_mlp.create_model(sys.argv[1], weights=None)
model.save(sys.argv[2] + "/model.keras")
keras_mlp.save_checkpoint(model, sys.argv[2] + "/model.safetensors")
print(len(model.layers), model.count_params())
"""
MODELS = {
    "random (s)": "keras_mlp.create_model(sys.argv[1], weights=None)",
    "checkpoint (s)": "keras_mlp.create_model(sys.argv[1], weights=sys.argv[2] + '/model.safetensors')",
    ".keras (s)": "keras.saving.load_model(sys.argv[2] + '/model.keras')",
}


def timed(call: str) -> str:
    """A program that prints the seconds of a call."""
    return f"import sys, keras, keras_mlp\n{CLOCK}{call}\nprint(time.perf_counter() - start)"


def times(code: str, *arguments: str, rounds: int | None = None) -> list[float]:
    """The numbers that processes of their own print, each the median over all rounds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    printed = []
    for _ in range(rounds or _ROUNDS.value):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"error: {done.stderr.strip().splitlines()[-1]}")
        printed.append(map(float, done.stdout.split()))
    return [statistics.median(values) for values in zip(*printed, strict=True)]


def main(argv):
    del argv
    try:
        names = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    times("import keras_mlp\nprint(0)", rounds=1)  # writes the bytecode
    save = flags.FLAGS.save and str(pathlib.Path(flags.FLAGS.save).with_suffix("")) + "_imports.json"
    imports = tables.Table(("what", "<36"), ("seconds", "7.3f"), keep=save)
    for what, code in IMPORTS.items():
        imports.row(what, times(code)[0])
    print()
    table = tables.Table(
        *(("model", "<26"), ("layers", ".0f"), ("parameters (M)", ".1f"), *((what, ".2f") for what in MODELS))
    )
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            layers, parameters = times(FILES, name, folder, rounds=1)
            seconds = [times(timed(call), name, folder)[0] for call in MODELS.values()]
        table.row(name, layers, parameters / 1e6, *seconds)


if __name__ == "__main__":
    app.run(main)
