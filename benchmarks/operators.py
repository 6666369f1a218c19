"""Where a model's time goes: its operators, their share of the time, and what each moves.

    python -m benchmarks.operators --models=hire_mlp_tiny,wave_mlp_t --batch=8
    python -m benchmarks.operators --models=smallest            # the smallest variant of each family
    python -m benchmarks.operators --models=g_mlp_ti16 --task=training    # forward and backward, without an optimiser

TensorFlow's own trace of each operator, summed over the steps, in a frozen graph in float32. "moved" is what the
operators write, and "GB/s" that over their time. With one thread between operators they run one after the other, so
that shares are shares of the whole; an operator itself may use all threads.

The roof of a model is the time that it would take if all its multiply-adds were done at the speed of a large matrix
product, and all other operators wrote at the speed at which a sum of two arrays is written; both are measured here.
"""

import functools
import os
import sys
import time

import numpy as np
from absl import app, flags

from benchmarks import on_tensorflow, tables
from benchmarks.contender import PASSES
from benchmarks.machine import PEAK_SIZES
from benchmarks.models import named

_MODELS = flags.DEFINE_list(
    "models", ["mlp_mixer_b16"], "Models of the zoo, by name; smallest and largest: of each family."
)
_BATCH = flags.DEFINE_integer("batch", 8, "Batch size.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 5, "Steps that are traced, after two that are not.", lower_bound=1)
_TOP = flags.DEFINE_integer("top", 8, "Kinds of operators to list.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads inside an operator.", lower_bound=1)
_TASK = flags.DEFINE_enum("task", "inference", list(PASSES), "A call, or a call and its gradients.")
_FUSE = flags.DEFINE_bool("fuse", False, "Profile `keras_mlp.fuse(model)`.")

# What only brings data to the operators. Weights are constants of a frozen graph.
_VIEWS = ("Reshape", "ExpandDims", "Squeeze", "Identity")
_PRODUCTS = ("MatMul", "Conv", "Einsum")
SUM_SIZE = 2**22  # floats: about what a block's activations are, for a batch of 8
_NO_WORK = {"Const", "Placeholder", "_Arg", "_Retval", "_SOURCE", "_SINK", "NoOp"}


def gradients(tf, model):
    """A function of the images: the mean of the output, its gradients by the weights, and what training updates."""

    def step(x):
        weights, state = (
            [tf.convert_to_tensor(v) for v in group]
            for group in (model.trainable_variables, model.non_trainable_variables)
        )
        with tf.GradientTape() as tape:
            tape.watch(weights)
            y, state = model.stateless_call(weights, state, x, training=True)  # a frozen graph has no variables to set
            loss = tf.reduce_mean(y)
        return [loss, *tape.gradient(loss, weights), *state]

    return step


def traced(tf, function, images, steps: int, threads: int) -> dict:
    """Time and bytes by kind of operator.

    Args:
        tf: TensorFlow.
        function: what is called.
        images: what it is asked, `(batch, …)`.
        steps: steps to trace.
        threads: threads inside an operator.

    Returns:
        `{kind: [microseconds, bytes written, operators]}` of one step on average.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(function, autograph=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec(images.shape, tf.float32)))
    v1 = tf.compat.v1
    found = {}
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
        kinds = {operation.name: operation.type for operation in graph.get_operations()}
        config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
        options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
        with v1.Session(graph=graph, config=config) as session:
            feed, fetch = {frozen.inputs[0].name: images}, [output.name for output in frozen.outputs]
            for _ in range(2):
                session.run(fetch, feed)
            for _ in range(steps):
                metadata = v1.RunMetadata()
                session.run(fetch, feed, options, metadata)
                for node in (node for device in metadata.step_stats.dev_stats for node in device.node_stats):
                    # The label tells what TensorFlow made of the graph's own operators: "name = Kind(inputs)".
                    label = node.timeline_label.partition(" = ")[2].partition("(")[0]
                    kind = label or kinds.get(node.node_name, node.node_name)
                    if kind in _NO_WORK:
                        continue
                    row = found.setdefault(kind, [0.0, 0, 0])
                    row[0] += (node.op_end_rel_micros - node.op_start_rel_micros) / steps
                    row[1] += (
                        sum(o.tensor_description.allocation_description.requested_bytes for o in node.output) / steps
                    )
                    row[2] += 1 / steps
    return found


def speeds(tf) -> tuple[float, float]:
    """Operations a second of a matrix product, and bytes a second that a sum of two arrays writes, at their best."""

    def seconds(step):
        step()
        times = []
        for _ in range(7):
            start = time.perf_counter()
            step().numpy()
            times.append(time.perf_counter() - start)
        return min(times)

    flat = tf.random.normal((SUM_SIZE,))
    peak = max(2 * size**3 / seconds(on_tensorflow.square_product(tf, size)) for size in PEAK_SIZES)
    return peak, 4 * SUM_SIZE / seconds(tf.function(lambda: (flat + flat)[0]))


def main(argv):
    del argv
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = on_tensorflow.setup(_THREADS.value)
    import keras_mlp

    try:
        names = named(_MODELS.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    found = []
    for name in names:
        card = keras_mlp.model_card(name)
        model = keras_mlp.create_model(name, weights=None, classifier_activation=None, include_preprocessing=False)
        for variable in model.variables:  # zeros and ones would be folded away, which a trained model does not have
            if np.ptp(variable) == 0:
                variable.assign(1 + np.random.default_rng(0).random(variable.shape))
        model = keras_mlp.fuse(model) if _FUSE.value else model
        shape = (_BATCH.value, *model.input_shape[1:])
        images = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
        training = _TASK.value == "training"
        function = gradients(tf, model) if training else functools.partial(model, training=False)
        rows = traced(tf, function, images, _STEPS.value, _THREADS.value)
        total = sum(spent for spent, _, _ in rows.values())
        macs = PASSES[_TASK.value] * card.macs * _BATCH.value
        rate = 2 * macs / total / 1e3
        print(
            f"\n{name}, batch {_BATCH.value}, {_THREADS.value} threads: {total / 1e3:.1f} ms a step, {rate:.0f} GFLOP/s"
        )
        print(f"{'operator':<26} {'count':>6} {'ms':>8} {'share':>7} {'moved MB':>9} {'GB/s':>6}")
        ordered = sorted(rows.items(), key=lambda row: -row[1][0])
        rest = np.sum([row for _, row in ordered[_TOP.value :]], axis=0) if len(ordered) > _TOP.value else None
        for kind, (spent, moved, count) in ordered[: _TOP.value] + ([("others", rest)] if rest is not None else []):
            row = f"{kind:<26} {count:>6.0f} {spent / 1e3:>8.2f} {spent / total:>7.1%} {moved / 1e6:>9.1f}"
            print(f"{row} {moved / max(spent, 1e-9) / 1e3:>6.1f}")
        peak, bandwidth = speeds(tf)
        products = 2e6 * macs / peak
        others = sum(
            moved for kind, (_, moved, _) in rows.items() if not any(word in kind for word in (*_PRODUCTS, *_VIEWS))
        )
        roof = products + 1e6 * others / bandwidth
        print(
            f"roof: products at {peak / 1e9:.0f} GFLOP/s {products / 1e3:.1f} ms, the others' {others / 1e6:.0f} MB at "
            f"{bandwidth / 1e9:.0f} GB/s {others / bandwidth * 1e3:.1f} ms; {roof / total:.0%} of it reached",
            flush=True,
        )
        most = ", ".join(f"{kind} {spent / total:.1%}" for kind, (spent, _, _) in ordered[:4])
        found.append((f"`{name}`", total / 1e3, products / 1e3, 1e3 * others / bandwidth, roof / total, most))
    print()
    table = tables.Table(
        *(("model", "<22"), ("ms a step", ".0f"), ("products at the peak, ms", ".0f")),
        *(("the rest at the bandwidth, ms", ".0f"), ("of the roof", ".0%"), ("most of the time", "<60")),
    )
    for row in found:
        table.row(*row)


if __name__ == "__main__":
    app.run(main)
