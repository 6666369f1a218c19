"""Images a second of inference on a GPU: ours on Keras' JAX backend, and timm, in turns in one process.

    python -m benchmarks.accelerator --models=mlp_mixer_b16,res_mlp_24 --batches=64,256

Both are also told as a share of what a product of two large matrices reaches in the same run and precision. A
multiply-add counts as two operations. Keras is imported late: its backend is chosen at the end of this file.
"""

import importlib.util
import json
import os
import statistics
import time

from absl import app, flags

from benchmarks import tables

FLAGS = flags.FLAGS
flags.DEFINE_list("models", ["mlp_mixer_b16", "res_mlp_24", "g_mlp_s16"], "Names in the zoo.")
flags.DEFINE_list("batches", ["64", "256"], "Images at a time.")
flags.DEFINE_enum("precision", "bfloat16", ["bfloat16", "float32"], "Of weights and activations.")
flags.DEFINE_integer("rounds", 5, "How often all take their turn.", lower_bound=2)
flags.DEFINE_float("seconds", 0.5, "How long a turn is.", lower_bound=0.01)
flags.DEFINE_bool("compile", True, "Whether timm takes part through torch.compile too, which needs minutes to compile.")
flags.DEFINE_string("json", None, "File to write the rows to.")

SIDE = 8192  # of the matrices whose product is the measure


def ours(name, batch, precision):
    """A step of our model and what waits for it to end."""
    import jax

    import keras_mlp

    if precision == "float32":  # as PyTorch does it; JAX would round products to fewer digits
        jax.config.update("jax_default_matmul_precision", "highest")
    model = keras_mlp.create_model(
        name, weights=None, include_preprocessing=False, classifier_activation=None, dtype=precision
    )
    trainable, others = ([v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables))
    forward = jax.jit(lambda t, o, x: model.stateless_call(t, o, x, training=False)[0])
    x = jax.random.normal(jax.random.key(0), (batch, *model.input_shape[1:]), precision)
    return lambda: forward(trainable, others, x), jax.block_until_ready


def timm(name, batch, precision, compiled):
    """The same of timm's model."""
    import torch

    from benchmarks.models import PEERS
    from benchmarks.on_torch import import_timm

    dtype = getattr(torch, precision)
    model = import_timm().create_model(PEERS[name]["timm"]).eval().to("cuda", dtype)
    x = torch.randn(batch, *model.default_cfg["input_size"], device="cuda", dtype=dtype)
    model = torch.compile(model) if compiled else model

    def step():
        with torch.inference_mode():
            return model(x)

    return step, lambda _: torch.cuda.synchronize()


def product(precision):
    """The same of a matrix product."""
    import torch

    a = torch.randn(SIDE, SIDE, device="cuda", dtype=getattr(torch, precision))
    return lambda: a @ a, lambda _: torch.cuda.synchronize()


def turn(step, wait, seconds):
    """Steps a second over about `seconds`, queued without waiting in between."""
    wait(step())
    start, count = time.perf_counter(), 0
    while True:
        for _ in range(4):
            output = step()
        count += 4
        wait(output)
        if (elapsed := time.perf_counter() - start) >= seconds:
            return count / elapsed


def compare(name, batch, precision, rounds, seconds, with_compiled) -> list[dict]:
    """Let all take their turns with one model and batch size.

    Returns:
        A row for each of them, ours first: its speed, and how many times as fast ours is.
    """
    import keras_mlp
    from benchmarks.models import PEERS

    steps = {("torch", "matmul"): product(precision), ("keras_mlp", "jax"): ours(name, batch, precision)}
    if "timm" in PEERS.get(name, {}):
        for form in ("eager", "compiled")[: 1 + with_compiled]:
            steps["timm", form] = timm(name, batch, precision, form == "compiled")
    for step, wait in steps.values():
        wait(step())  # compiles
    rates = {key: [] for key in steps}
    for _ in range(rounds):
        for key, step in steps.items():
            rates[key].append(turn(*step, seconds))
    peak = SIDE**3 * statistics.median(rates.pop(("torch", "matmul")))
    macs, rows = keras_mlp.model_card(name).macs, []
    for (who, form), values in rates.items():
        images = batch * statistics.median(values)
        ratios = [own / value for own, value in zip(rates["keras_mlp", "jax"], values, strict=True)]
        rows.append(
            dict(
                model=name,
                who=who,
                form=form,
                precision=precision,
                batch=batch,
                images_per_second=images,
                peak_share=macs * images / peak,
                peak_tflops=2 * peak / 1e12,
                ours_times=statistics.median(ratios),
                spread=(min(ratios), max(ratios)),
            )
        )
    return rows


def main(argv):
    if argv[1:]:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    for package in ("jax", "torch", "timm"):
        if importlib.util.find_spec(package) is None:
            raise SystemExit(f"The package {package} is not installed.")
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no GPU.")
    gpu = {"machine": torch.cuda.get_device_name()}
    table = tables.Table(
        *(("model", "<20"), ("precision", "<9"), ("batch", "d"), ("who", "<9"), ("form", "<8"), ("images/s", ",.0f")),
        *(("of the peak", ".0%"), ("ours over it", ".2f"), ("lowest to highest", ">17")),
        source=tables.this_run() | gpu,
    )
    rows = []
    for name in FLAGS.models:
        for batch in map(int, FLAGS.batches):
            found = compare(name, batch, FLAGS.precision, FLAGS.rounds, FLAGS.seconds, FLAGS.compile)
            rows += found
            for row in found:
                low, high = row["spread"]
                numbers = row["images_per_second"], row["peak_share"], row["ours_times"]
                spread = f"{low:.2f} to {high:.2f}"
                table.row(name, FLAGS.precision, batch, row["who"], row["form"], *numbers, spread)
    if FLAGS.json:
        from keras_mlp import files

        with files.atomic_path(FLAGS.json) as path:
            path.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch shares the GPU's memory
    app.run(main)
