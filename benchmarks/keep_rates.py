"""What dropping tokens saves in time: a DynamicViT at several keep rates over its own backbone, which drops none.

    python -m benchmarks.keep_rates
    python -m benchmarks.keep_rates --models=dynamic_vit_deit_s_r70,dynamic_vit_convnext_t_r70 --threads=1

In one process and in turns, in float32: as TensorFlow graphs, compiled by XLA, and as .tflite files. "promised" is how
many times fewer the multiply-adds are, "faster" how many times less the time is, and "kept" the second over the first:
the target is 0.80. Weights are random.

`python -m benchmarks.operators --models=…` tells where the rest of the time goes.
"""

import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import on_tensorflow, tables
from benchmarks.models import whole
from benchmarks.turns import in_turns

FAMILY, FORMS, BACKBONE = "dynamic_vit", ("graph", "xla", "tflite"), "backbone"

_MODELS = flags.DEFINE_list("models", ["dynamic_vit_deit_s_r70"], "Models of the zoo, by name.", module_name=__name__)
_RATES = flags.DEFINE_list("rates", ["0.5", "0.7", "0.9"], "Keep rates.", module_name=__name__)
_FORMS = flags.DEFINE_list("forms", [*FORMS], "Ways of running to measure.", module_name=__name__)
_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.", module_name=__name__)
_SIZE = flags.DEFINE_integer("image_size", 224, "Height and width in pixels.", lower_bound=1, module_name=__name__)
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Turns of everyone.", lower_bound=1, module_name=__name__)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads.", lower_bound=1, module_name=__name__)


def networks(name: str, rates: list[float], size: int) -> dict:
    """The backbone of a model of the zoo, and the model at each keep rate, as `{"backbone" or rate: model}`."""
    from keras_mlp import zoo

    given = dict(input_shape=(size, size, 3), classifier_activation=None, include_preprocessing=False)
    build = zoo.FAMILIES[FAMILY].builders[name]
    models = {BACKBONE: whole(name, **given)}
    models |= {rate: build(**given, weights=None, keep_rate=rate) for rate in rates}
    for model in models.values():
        on_tensorflow.as_if_trained(model)
    return models


def steps(tf, models, form, batch, folder) -> dict:
    """A step of each of the models, of one batch."""
    if form != "tflite":
        return {name: on_tensorflow.inference_step(tf, model, form == "xla")(batch) for name, model in models.items()}
    from keras_mlp import export

    found = {}
    for name, model in models.items():
        path = pathlib.Path(folder, f"{name}_{batch}.tflite")
        export.to_tflite(model, path, batch_size=batch)
        runner = export.Runner(path, _THREADS.value)
        images = on_tensorflow.images(tf, batch, model.input_shape[1:]).numpy()
        found[name] = lambda runner=runner, images=images: runner(images)
    return found


def _checked():
    from keras_mlp import zoo

    names = dict.fromkeys(_MODELS.value)
    for flag, values, known in (
        ("models", names, zoo.FAMILIES[FAMILY].variants),
        ("forms", _FORMS.value, FORMS),
    ):
        for value in values:
            if value not in known:
                raise ValueError(f"--{flag}: {value!r} is not known. It takes: {', '.join(known)}.")
    try:
        rates, batches = [float(rate) for rate in _RATES.value], [int(batch) for batch in _BATCHES.value]
    except ValueError:
        rates = batches = []
    if not rates or not batches or min(batches) < 1:
        raise ValueError(
            "--rates must be numbers, such as 0.5,0.7, and --batches positive integers, such as 1,8. "
            f"Received: {','.join(_RATES.value)} and {','.join(_BATCHES.value)}"
        )
    return names, rates, batches


def main(argv):
    if argv[1:]:
        sys.exit(f"error: Unknown argument: {argv[1]!r}. See --help.")
    try:
        names, rates, batches = _checked()
        tf = on_tensorflow.setup(_THREADS.value)
        made = {name: networks(name, rates, _SIZE.value) for name in names}
    except ValueError as error:  # a rate or a size that a model cannot have, too
        sys.exit(f"error: {error}")
    from keras_mlp.analysis import cost

    table = tables.Table(
        *(("model", "<26"), ("form", "<6"), ("batch", "5d"), ("keep rate", "<9"), ("multiply-adds (G)", ".3f")),
        *(("images/s", "8.2f"), ("promised", ".2f"), ("faster", ".2f"), ("quartiles", ">12"), ("kept", ".2f")),
        note=f"{_THREADS.value} threads, {_ROUNDS.value} rounds; the load was {os.getloadavg()[0]:.1f} at the start.",
    )
    for name, models in made.items():
        macs = {which: cost(model).macs for which, model in models.items()}
        for form in _FORMS.value:
            for batch in batches:
                with tempfile.TemporaryDirectory() as folder:
                    times = in_turns(steps(tf, models, form, batch, folder), _ROUNDS.value)
                for which, found in times.items():
                    ratios = [before / now for before, now in zip(times[BACKBONE], found, strict=True)]
                    promised, faster = macs[BACKBONE] / macs[which], statistics.median(ratios)
                    quartiles = "{:.2f} to {:.2f}".format(*np.percentile(ratios, [25, 75]))
                    rate = batch / statistics.median(found)
                    row = macs[which] / 1e9, rate, promised, faster, quartiles, faster / promised
                    table.row(name, form, batch, str(which), *row)


if __name__ == "__main__":
    app.run(main)
