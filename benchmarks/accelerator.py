"""Images a second on a GPU, in inference and in training, of one model of each family: ours and timm's, in turns.

    python -m benchmarks.accelerator --minutes=5 --json=build/inference.json
    python -m benchmarks.accelerator --task=training --minutes=5 --json=build/training.json
    python -m benchmarks.summary --json=build/inference.json --save=docs/measurements/accelerator.json

Ours run on Keras' JAX backend and, where TensorFlow sees the GPU, as a graph and by XLA. The other flags are those of
`benchmarks.inference`, with the defaults of a GPU: bfloat16, batches of 64 and 256. A step is waited for, and its
images are on the GPU before. With `--resume` the same command goes on with what `--minutes` left out.
"""

from absl import app, flags

from benchmarks import harness
from benchmarks.contender import PASSES

_TASK = flags.DEFINE_enum("task", "inference", list(PASSES), "A call, or a step of training.")
DEFAULTS = {
    "device": "gpu",
    "models": ["smallest"],
    "peers": ["timm"],
    "forms": ["jax", "graph", "xla", "eager", "compiled"],
    "precisions": ["bfloat16"],
    "batches": ["64", "256"],
    "rounds": 3,
    "seconds": 0.5,
}

if __name__ == "__main__":
    flags.adopt_module_key_flags(harness)
    for name, value in DEFAULTS.items():
        flags.FLAGS.set_default(name, value)
    app.run(lambda argv: harness.run(_TASK.value, argv))
