"""Speed against peers and against the machine's own limit.

`python -m benchmarks.inference` and `python -m benchmarks.training`, from the repository's root, and on a GPU
`python -m benchmarks.accelerator`; `python -m benchmarks.mobile` for .tflite files; `--help` tells more.

Numbers of a machine are worth comparing only if they were taken in turns: its speed drifts by a third within minutes.
So every contender lives in its own process, all wait, and one computes at a time, round after round.
"""

import os

# For every contender on TensorFlow, before that is imported: it leaves oneDNN off on processors without VNNI, where
# batches and training are faster with it as well. 0 in the environment measures without.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
