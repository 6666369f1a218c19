"""How near to the machine's peak a model can come: its matrix products alone, against the whole.

    python -m benchmarks.roof --model=mlp_mixer_b16 --batch=8

In one process and in turns: products of square matrices, of which the fastest is the peak, the model's own matrix
products one after the other with nothing between them, and the model, all in TensorFlow graphs in float32. What the
products alone miss of the peak is their shapes' doing; the rest is what stands between them.
"""

import os
import statistics
import sys
import time

from absl import app, flags

from benchmarks import on_tensorflow
from benchmarks.machine import PEAK_SIZES

_MODEL = flags.DEFINE_string("model", "mlp_mixer_b16", "Model of the zoo, by name.")
_BATCH = flags.DEFINE_integer("batch", 8, "Batch size.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 12, "Turns of everyone.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads.", lower_bound=1)


def products(tf, model, images):
    """The shapes `(m, k, n)` of the matrix products in the model's graph, in their order."""
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(images).graph
    found = [operation for operation in graph.get_operations() if operation.type == "MatMul"]
    return [(*operation.inputs[0].shape, operation.outputs[0].shape[1]) for operation in found]


def chain(tf, shapes):
    """A function that multiplies matrices of these shapes in turn, each with weights of its own."""
    inputs = {shape[:2]: tf.random.normal(shape[:2]) for shape in shapes}
    weights = [tf.Variable(tf.random.normal((k, n))) for _, k, n in shapes]

    def run():
        total = tf.zeros(())
        for (m, k, _), weight in zip(shapes, weights, strict=True):
            with tf.control_dependencies([total]):
                total += tf.matmul(inputs[m, k], weight)[0, 0]
        return total

    return tf.function(run)


def main(argv):
    del argv
    tf = on_tensorflow.setup(_THREADS.value)
    import keras_mlp

    try:
        model = keras_mlp.create_model(
            _MODEL.value, weights=None, classifier_activation=None, include_preprocessing=False
        )
    except ValueError as error:
        sys.exit(f"error: {error}")
    images = on_tensorflow.images(tf, _BATCH.value, model.input_shape[1:])
    shapes = products(tf, model, images)
    forward = tf.function(lambda: model(images, training=False))
    operations = 2 * sum(m * k * n for m, k, n in shapes)
    whole = 2 * keras_mlp.model_card(_MODEL.value).macs * _BATCH.value
    contenders = {
        **{f"product of {size} squares": (on_tensorflow.square_product(tf, size), 2 * size**3) for size in PEAK_SIZES},
        f"its {len(shapes)} matrix products alone": (chain(tf, shapes), operations),
        "the model": (forward, whole),
    }
    rates = {name: [] for name in contenders}
    for step, _ in contenders.values():
        step().numpy()
    for _ in range(_ROUNDS.value):
        for name, (step, count) in contenders.items():
            step().numpy()
            start = time.perf_counter()
            step().numpy()
            rates[name].append(count / (time.perf_counter() - start) / 1e9)
    print(f"{_MODEL.value}, batch {_BATCH.value}, float32, {_THREADS.value} threads, {_ROUNDS.value} rounds")
    peak = [max(turn) for turn in zip(*list(rates.values())[: len(PEAK_SIZES)], strict=True)]
    for name, found in rates.items():
        share = statistics.median(rate / top for rate, top in zip(found, peak, strict=True))
        print(f"{name:<32} {statistics.median(found):7.0f} GFLOP/s {share:7.1%} of the peak of the same round")


if __name__ == "__main__":
    app.run(main)
