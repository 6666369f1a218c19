"""What `keras_mlp.fuse` gains: a model and the same model fused, in turns.

    python -m benchmarks.fusing --models=hire_mlp_tiny,wave_mlp_t --batch=8

In one process, as TensorFlow graphs in float32, on random pixels and with random weights. Printed is the median of the
ratios of neighbouring turns; below 1 the fused model is slower.
"""

import os
import statistics
import sys
import time

from absl import app, flags

from benchmarks import on_tensorflow, tables

_MODELS = flags.DEFINE_list("models", ["hire_mlp_tiny"], "Models of the zoo, by name.")
_BATCH = flags.DEFINE_integer("batch", 8, "Batch size.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 12, "Turns of both.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads.", lower_bound=1)
_JIT = flags.DEFINE_bool("xla", False, "Compile with XLA.")


def main(argv):
    del argv
    tf = on_tensorflow.setup(_THREADS.value)
    import keras_mlp

    print(f"batch {_BATCH.value}, float32, {_THREADS.value} threads, {_ROUNDS.value} rounds")
    table = tables.Table(
        *(("model", "<20"), ("merges", "d"), ("parameters (M)", ">16"), ("multiply-adds (G)", ">18")),
        *(("ms", ".0f"), ("fused ms", ".0f"), ("faster by (range)", ">22")),
    )
    for name in _MODELS.value:
        try:
            model = keras_mlp.create_model(name, weights=None)
        except ValueError as error:
            sys.exit(f"error: {error}")
        on_tensorflow.as_if_trained(model)
        fused, report = keras_mlp.fuse(model, report=True)
        steps = [on_tensorflow.inference_step(tf, each, _JIT.value)(_BATCH.value) for each in (model, fused)]
        times = [[_seconds(step) for step in steps] for _ in range(_ROUNDS.value + 1)][1:]  # the first one traces
        ratios = [before / after for before, after in times]
        before, after = (1e3 * statistics.median(turns) for turns in zip(*times, strict=True))
        row = [
            f"{report.parameters_before / 1e6:.2f} to {report.parameters_after / 1e6:.2f}",
            f"{report.macs_before / 1e9:.3f} to {report.macs_after / 1e9:.3f}",
            before,
            after,
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        ]
        table.row(name, len(report.merges), *row)


def _seconds(step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


if __name__ == "__main__":
    app.run(main)
