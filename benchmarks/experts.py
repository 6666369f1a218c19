"""What a mixture of experts costs: its time over that of one dense MLP of the same width.

    python -m benchmarks.experts --experts=4,8,16 --batches=1,8

The layers of Sparse-MLP-S at inference, in one process and in turns, in TensorFlow, as a graph and compiled by XLA:
token experts with k = 1, channel experts with k = 2. "slots" counts those of all experts for each item, which is the
work in dense MLPs: `k`, and the room above the even share (`capacity_factor`).
"""

import os
import statistics

from absl import app, flags

from benchmarks import on_tensorflow, tables
from benchmarks.turns import in_turns

_EXPERTS = flags.DEFINE_list("experts", ["4", "8", "16"], "Numbers of experts.")
_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Turns of everyone.", lower_bound=1)
_THREADS = flags.DEFINE_integer("threads", os.cpu_count(), "Threads.", lower_bound=1)
# (tokens, channels) of the table in a Sparse block, and hidden width and experts an item of its two mixtures.
TABLE = (392, 256)
MIXTURES = {"channels": (512, 1), "tokens": (1024, 2)}


def main(argv):
    del argv
    tf = on_tensorflow.setup(_THREADS.value)
    import keras

    from keras_mlp.families.sparse_mlp.experts import MixtureOfExperts
    from keras_mlp.layers import Dense, gelu

    def dense(x, items, hidden_dim):
        x = keras.ops.swapaxes(x, 1, 2) if items == "channels" else x
        y = Dense(x.shape[-1])(Dense(hidden_dim, activation=gelu)(x))
        return keras.ops.swapaxes(y, 1, 2) if items == "channels" else y

    x = keras.Input(TABLE)
    counts = [int(count) for count in _EXPERTS.value]
    table = tables.Table(
        *(("items", "<9"), ("form", "<6"), ("batch", "5d"), ("experts", "d"), ("k", "2d"), ("slots", "6.2f")),
        *(("ms", "8.2f"), ("times dense", ".2f")),
    )
    for items, (hidden_dim, k) in MIXTURES.items():
        layers = {count: MixtureOfExperts(hidden_dim, count, k, items) for count in counts}
        models = {0: keras.Model(x, dense(x, items, hidden_dim))}
        models |= {count: keras.Model(x, layer(x)) for count, layer in layers.items()}
        number = TABLE[0] if items == "tokens" else TABLE[1]
        for form in ("graph", "xla"):
            for batch in map(int, _BATCHES.value):
                steps = {
                    count: on_tensorflow.inference_step(tf, model, form == "xla")(batch)
                    for count, model in models.items()
                }
                times = in_turns(steps, _ROUNDS.value)
                for count, layer in layers.items():
                    ratio = statistics.median(t / one for t, one in zip(times[count], times[0], strict=True))
                    slots = layer.capacity * count / number
                    table.row(items, form, batch, count, k, slots, 1e3 * statistics.median(times[count]), ratio)


if __name__ == "__main__":
    app.run(main)
