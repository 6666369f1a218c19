"""Training on several devices and machines: what each way of sharing a batch changes about one `model.fit`.

All are data-parallel and synchronous: every device has the whole model and a part of the global batch, and each step
uses the mean gradient of the global batch. So a run comes to the weights of one device with the same global batch, up
to the order of additions. Each class tells what is not the same. `docs/scaling.md` has the commands.

Keras' `fit` does not run under `tf.distribute.MultiWorkerMirroredStrategy` (keras-team/keras#20585), and under
`MirroredStrategy` it clips each replica's gradient before they are added up, and looks for overflow in one replica's
only. `MultiWorker` and `Mirrored` mend that at one place, the optimiser's `apply`: gradients are added up first, and
clipping, loss scaling and the update see what they would see on one device.
"""

from keras_mlp.training.distribution.alone import Alone, WorkerLost
from keras_mlp.training.distribution.jax import DataParallel
from keras_mlp.training.distribution.tensorflow import TPU, Mirrored, MultiWorker

__all__ = ["STRATEGIES", "TPU", "Alone", "DataParallel", "Mirrored", "MultiWorker", "WorkerLost", "connect"]

STRATEGIES = ("none", "mirrored", "multi_worker", "tpu", "data_parallel")
"""The ways of sharing a batch; see `connect`."""


def connect(strategy: str = "none", addresses=(), rank: int | None = None, tpu: str = "local") -> Alone:
    """Find the devices to train on and join the other processes, before anything else is computed.

    Args:
        strategy: "none" for one device; on TensorFlow "mirrored" for all devices of this process, "multi_worker" for
            several processes, "tpu"; on JAX "data_parallel" for all devices of one or several processes.
        addresses: "host:port" of each process, the chief first.
        rank: which of them this process is.
        tpu: name or address of a TPU.

    Returns:
        What `keras_mlp.training.train.fit` takes as `workers`. Build the model in its `scope()`, and load training
        data with `worker=(workers.rank, workers.size)`.

    Raises:
        ValueError: there is no such strategy, or it does not go with the arguments or the backend.
        RuntimeError: the other processes, or the TPU, cannot be reached.

    Example:

    ```python
    workers = distribution.connect("multi_worker", ["host0:2222", "host1:2222"], rank=0)
    images = data.load("digits", image_size=16, batch_size=64, recipe=recipe, worker=(workers.rank, workers.size))
    with workers.scope():
        model = keras_mlp.MLPMixer(patch_size=2, dim=64, depth=3, input_shape=(16, 16, 3), classes=10)
    train.fit(model, images, None, recipe, "run", workers=workers)
    ```
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"`strategy` should be one of {', '.join(STRATEGIES)}. Received: {strategy!r}")
    if addresses and strategy not in ("multi_worker", "data_parallel"):
        raise ValueError(f"Addresses go with multi_worker and data_parallel, not with {strategy}.")
    if strategy == "multi_worker":
        return MultiWorker(addresses, rank)
    if strategy == "data_parallel":
        return DataParallel(addresses, rank)
    return {"none": Alone, "mirrored": Mirrored, "tpu": lambda: TPU(tpu)}[strategy]()
