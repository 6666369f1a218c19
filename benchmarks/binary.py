"""What binary weights save here and what they do not: bytes, time to load, time of products and of whole models.

    python -m benchmarks.binary --model=bimlp_s --batch=8

In one process and in turns, medians of them:

- the file of `keras_mlp.binary.pack` against that of `keras_mlp.save_checkpoint`, and reading either into the model;
- the model against its full-precision parent (no quantisation, the same architecture), in TensorFlow graphs;
- products of one of its widest layers: as the model makes them (float32 numbers that happen to be -1, 0, 1), and by
  XNOR and population count of 32 bits at once, compiled by XLA, from activations that are bits already.
"""

import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import on_tensorflow
from benchmarks.turns import in_turns

_MODEL = flags.DEFINE_string("model", "bimlp_s", "Model of the zoo with binary weights.", module_name=__name__)
_BATCH = flags.DEFINE_integer("batch", 8, "Batch size.", lower_bound=1, module_name=__name__)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Turns of everyone.", lower_bound=1, module_name=__name__)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads.", lower_bound=1, module_name=__name__)
_PRODUCT = (196, 1280, 320)
"""Positions of an image, inputs and outputs of the second layer of the channel MLP in BiMLP's third stage."""


def medians(contenders: dict, rounds: int) -> dict[str, float]:
    """Median seconds of each of `{name: step}`, run in turns after a first run of each."""
    return {name: statistics.median(found) for name, found in in_turns(contenders, rounds).items()}


def products(tf, batch: int) -> dict:
    """The same product of numbers of two levels, as float32 and as bits; both compute alike."""
    positions, inputs, outputs = _PRODUCT
    random = np.random.default_rng(0)
    x, w = random.choice([-1, 1], (batch * positions, inputs)), random.choice([-1, 1], (outputs, inputs))
    numbers = [tf.constant(a, "float32") for a in (x, w)]
    bits = [tf.constant(np.packbits(a > 0, axis=1).view("int32")) for a in (x, w)]

    @tf.function
    def multiply(x, w):
        return tf.matmul(x, w, transpose_b=True)

    @tf.function(jit_compile=True)
    def count(x, w):
        different = tf.raw_ops.PopulationCount(x=tf.bitwise.bitwise_xor(x[:, None], w[None]))
        return inputs - 2 * tf.reduce_sum(tf.cast(different, "int32"), axis=-1)

    np.testing.assert_array_equal(multiply(*numbers), count(*bits))
    return {"float32 product": lambda: multiply(*numbers).numpy(), "XNOR, count": lambda: count(*bits).numpy()}


def main(argv):
    del argv
    tf = on_tensorflow.setup(_THREADS.value)
    import keras_mlp

    arguments = dict(weights=None, classifier_activation=None, include_preprocessing=False)
    try:
        model = keras_mlp.create_model(_MODEL.value, **arguments)
        parent = keras_mlp.create_model(_MODEL.value, **arguments, activation_levels=None, weight_levels=None)
    except (TypeError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{_MODEL.value}, batch {_BATCH.value}, {_THREADS.value} threads, medians of {_ROUNDS.value} rounds")
    with tempfile.TemporaryDirectory() as folder:
        whole, packed = (pathlib.Path(folder) / name for name in ("whole.safetensors", "packed.safetensors"))
        keras_mlp.save_checkpoint(model, whole)
        report = keras_mlp.binary.pack(model, packed)
        print(
            f"{report.kernels} binary kernels: {report.bytes_before:,} bytes, packed {report.bytes_packed:,} "
            f"({report.ratio:.1f} times smaller); whole file {whole.stat().st_size:,} bytes, packed "
            f"{report.file_bytes:,} ({whole.stat().st_size / report.file_bytes:.1f} times smaller)"
        )
        load = {path.stem: lambda path=path: keras_mlp.load_checkpoint(model, path) for path in (whole, packed)}
        for name, seconds in medians(load, _ROUNDS.value).items():
            print(f"{'load ' + name:<32} {1e3 * seconds:9.1f} ms")
    images = on_tensorflow.images(tf, _BATCH.value, model.input_shape[1:])
    forward = {
        name: tf.function(lambda network=network: network(images, training=False))
        for name, network in (("binary model", model), ("full-precision parent", parent))
    }
    steps = {name: lambda step=step: step().numpy() for name, step in forward.items()}
    for name, seconds in medians(steps | products(tf, _BATCH.value), _ROUNDS.value).items():
        print(f"{name:<32} {1e3 * seconds:9.1f} ms")


if __name__ == "__main__":
    app.run(main)
