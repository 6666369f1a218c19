"""Several devices and machines on TensorFlow."""

import contextlib
import json
import os

import keras
import numpy as np

from keras_mlp.training.distribution.alone import Alone, WorkerLost, check_rank, lost, need_backend


class Mirrored(Alone):
    """One process and all its devices, by `tf.distribute.MirroredStrategy`.

    Batch norm takes its statistics over the global batch, as on one device. Dropout and stochastic depth draw the same
    for each replica, so they are not those of one device.

    Args:
        strategy: another strategy of tf.distribute for one process; by default one over all GPUs, or without such
            over all logical CPUs.
    """

    may_compile = False

    def __init__(self, strategy=None):
        need_backend("tensorflow", "mirrored")
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        self.strategy = strategy or tf.distribute.MirroredStrategy([device.name for device in devices])
        self.replicas = self.strategy.num_replicas_in_sync

    def scope(self):
        return self.strategy.scope()

    def prepare(self, model):
        import tensorflow as tf

        def added_up(gradients):
            return tf.distribute.get_replica_context().all_reduce("SUM", gradients)  # of losses divided by Keras

        _before_apply(model.optimizer, added_up)
        # Keras' own sum, which comes after clipping.
        inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        inner._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
        self._synchronize(model, True)

    @contextlib.contextmanager
    def saved_as(self, model):
        self._synchronize(model, False)  # other backends refuse to load a layer that says it is synchronised
        yield
        self._synchronize(model, True)

    def _synchronize(self, model, value):
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = value


class TPU(Mirrored):
    """One process and the cores of a TPU, by `tf.distribute.TPUStrategy`.

    It has been run as far as this can be done without a TPU: to the error that there is none. On TPUs
    `Recipe.precision=None` is mixed_bfloat16, all shapes of training are static and every batch is full.

    Args:
        name: of the TPU, or its grpc:// address; "local" for the one of this machine.

    Raises:
        RuntimeError: there is no such TPU.
    """

    def __init__(self, name: str = "local"):
        need_backend("tensorflow", "tpu")
        import tensorflow as tf

        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
            if name != "local":
                tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            super().__init__(tf.distribute.TPUStrategy(resolver))
        except Exception as error:  # a resolver asks the cloud's services, and lets through all that these raise
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise RuntimeError(
                f"No TPU is found as {name!r}: {reason.rstrip('.')}. Run on the TPU's own machine with --tpu=local, or "
                "give its name or grpc:// address."
            ) from error


class MultiWorker(Alone):
    """Several processes, one a device, on TensorFlow: plain `model.fit` in each, and the mean of their gradients.

    `tf.distribute.MultiWorkerMirroredStrategy` joins the processes and adds up; variables and `fit` are those of one
    process, since `fit` under that strategy fails. It is the least that makes the weights of all the same, and what
    runs in one process (resuming, averages, thawing, loss scaling) runs here without another line.

    Batch norm takes its statistics over the process's own part of the batch; the moving ones are averaged over the
    processes in each step. Dropout and stochastic depth draw for each process anew, not as one process would.

    Args:
        addresses: "host:port" of each process, the chief first; by default what the environment's `TF_CONFIG` says.
        rank: which of them this process is.

    Raises:
        ValueError: neither the arguments nor the environment tell the processes, or this one sees several GPUs.
        RuntimeError: TensorFlow has begun to work before the processes were joined.
    """

    may_compile = False

    def __init__(self, addresses=(), rank: int | None = None):
        need_backend("tensorflow", "multi_worker")
        import tensorflow as tf

        if addresses:
            check_rank(addresses, rank)
            task = {"type": "worker", "index": rank}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(addresses)}, "task": task})
        elif not os.environ.get("TF_CONFIG"):
            raise ValueError(
                "Which processes train together? Give the same addresses to all, and to each its rank: "
                "--addresses=host0:2222,host1:2222 --rank=0; or set TF_CONFIG in the environment."
            )
        gpus = tf.config.list_physical_devices("GPU")
        if len(gpus) > 1:
            raise ValueError(
                f"This process sees {len(gpus)} GPUs, and one is used by a process. Start one for each, and give each "
                "its own: CUDA_VISIBLE_DEVICES=0, 1, …"
            )
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        resolver = self.strategy.cluster_resolver
        self.replicas = self.size = self.strategy.num_replicas_in_sync
        self.rank = resolver.task_id or 0
        self._compiled_mean = tf.function(self._mean)  # TensorFlow warns of what is run on a strategy without

    def mean(self, values):
        with self.noticing():
            return self._compiled_mean([np.array(values, "float32")])[0].numpy().tolist()

    def _mean(self, tensors):
        import tensorflow as tf

        def reduced(*tensors):
            here = [tf.identity(tensor) for tensor in tensors]  # on the strategy's device, which it wants to know
            return tf.distribute.get_replica_context().all_reduce("MEAN", here)

        return self.strategy.run(reduced, args=tuple(tensors))

    def prepare(self, model):
        statistics = [v for v in model.non_trainable_variables if v.name.startswith("moving_")]

        def averaged(gradients):
            # In one go: each further one would cost a round trip through all machines.
            means = self._mean([*gradients, *(variable.value for variable in statistics)])
            gradients = means[: len(means) - len(statistics)]
            for variable, mean in zip(statistics, means[len(gradients) :], strict=True):
                variable.assign(mean)
            return gradients

        _before_apply(model.optimizer, averaged)

    def begin(self, model):
        for variable in model.non_trainable_variables:
            if variable.path.endswith("seed_generator_state"):
                variable.assign(variable + np.array([self.rank, 0]))  # the chief's, which is saved, stays

    @contextlib.contextmanager
    def noticing(self):
        import tensorflow as tf

        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            raise WorkerLost(lost(self, error)) from error


def _before_apply(optimizer, change):
    """Let an optimiser see other gradients; on the object, so that a saved model has Keras' own."""
    apply = optimizer.apply

    def apply_changed(grads, trainable_variables=None):
        return apply(change(list(grads)), trainable_variables)

    optimizer.apply = apply_changed
