"""How near to the machine's peak a model can come: its matrix products alone, against the whole.

    python -m benchmarks.roof --models=mlp_mixer_b16,res_mlp_12 --batch=8

In one process and in turns: products of square matrices, of which the fastest is the peak, the model's own matrix
products one after the other with nothing between them, and the model, all in TensorFlow graphs in float32. What the
products alone miss of the peak is their shapes' doing; the rest is what stands between them.
"""

import os
import statistics
import sys
import time

from absl import app, flags

from benchmarks import on_tensorflow, tables
from benchmarks.machine import PEAK_SIZES
from benchmarks.models import named

_MODELS = flags.DEFINE_list(
    "models", ["mlp_mixer_b16"], "Models of the zoo, by name; smallest and largest: of each family."
)
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
    try:
        names = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"batch {_BATCH.value}, float32, {_THREADS.value} threads, medians of {_ROUNDS.value} rounds")
    table = tables.Table(
        *(("model", "<20"), ("batch", "d"), ("its products", "d"), ("alone, GFLOP/s", ".0f"), ("of the peak", ".0%")),
        *(("the model, GFLOP/s", ".0f"), ("of the peak", ".0%")),
    )
    for name in names:
        table.row(name, _BATCH.value, *measured(tf, name))


def measured(tf, name) -> tuple[int, float, float, float, float]:
    """How many products a model has, and of them alone and of the model the GFLOP/s and the share of the peak."""
    import keras_mlp

    model = keras_mlp.create_model(name, weights=None, classifier_activation=None, include_preprocessing=False)
    images = on_tensorflow.images(tf, _BATCH.value, model.input_shape[1:])
    shapes = products(tf, model, images)
    forward = tf.function(lambda: model(images, training=False))
    operations = 2 * sum(m * k * n for m, k, n in shapes)
    whole = 2 * keras_mlp.model_card(name).macs * _BATCH.value
    contenders = {
        **{size: (on_tensorflow.square_product(tf, size), 2 * size**3) for size in PEAK_SIZES},
        "products": (chain(tf, shapes), operations),
        "model": (forward, whole),
    }
    rates = {who: [] for who in contenders}
    for step, _ in contenders.values():
        step().numpy()
    for _ in range(_ROUNDS.value):
        for who, (step, count) in contenders.items():
            step().numpy()
            start = time.perf_counter()
            step().numpy()
            rates[who].append(count / (time.perf_counter() - start) / 1e9)
    peak = [max(turn) for turn in zip(*(rates[size] for size in PEAK_SIZES), strict=True)]
    shares = {who: statistics.median(rate / top for rate, top in zip(rates[who], peak, strict=True)) for who in rates}
    numbers = [number for who in ("products", "model") for number in (statistics.median(rates[who]), shares[who])]
    return len(shapes), *numbers


if __name__ == "__main__":
    app.run(main)
