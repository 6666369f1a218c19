"""Training on several devices and machines: what each way of sharing a batch changes about one `model.fit`.

All are data-parallel and synchronous: every device has the whole model and a part of the global batch, and each step
uses the mean gradient of the global batch. So a run comes to the weights of one device with the same global batch, up
to the order of additions. Each class tells what is not the same. `docs/scaling.md` has the commands.

Keras' `fit` does not run under `tf.distribute.MultiWorkerMirroredStrategy` (keras-team/keras#20585), and under
`MirroredStrategy` it clips each replica's gradient before they are added up, and looks for overflow in one replica's
only. `MultiWorker` and `Mirrored` mend that at one place, the optimiser's `apply`: gradients are added up first, and
clipping, loss scaling and the update see what they would see on one device.
"""

import contextlib
import functools
import json
import os
import textwrap

import keras
import numpy as np

HEARTBEAT_SECONDS = 30  # of silence after which JAX gives a machine up; a process that dies is noticed at once


class WorkerLost(RuntimeError):
    """Another process of the run has ended, so that this one cannot go on."""

    at_once = True  # how the process has to end: libraries would wait for the lost one


class Alone:
    """One process that trains on one device; what the others do otherwise is what they override."""

    rank = 0  # of this process; 0 is the chief, who alone writes
    size = 1  # processes
    replicas = 1  # devices of all processes
    may_compile = True  # whether XLA may compile the step

    def scope(self):
        """Where the model is built and compiled."""
        return contextlib.nullcontext()

    def check(self, batch_size: int, jit_compile):
        """Refuse what does not work with so many devices.

        Raises:
            ValueError: the global batch is not a multiple of the number of devices, or `jit_compile` is `True` where
                XLA cannot compile a step on several devices.
        """
        if batch_size % self.replicas:
            raise ValueError(
                f"On {self.replicas} devices the batch should be a multiple of {self.replicas}. "
                f"Received: batch_size={batch_size}"
            )
        if jit_compile is True and not self.may_compile:
            raise ValueError(
                "XLA cannot compile a step that several devices share through tf.distribute. Use jit_compile='auto'."
            )

    def prepare(self, model):
        """Change a compiled model, whose optimiser is built, so that its steps are shared."""

    def begin(self, model):
        """Do what has to be done when the model has the state from which it starts."""

    def saved_as(self, model):
        """Context in which a model is as it is to be saved."""
        return contextlib.nullcontext()

    def evaluation(self, data):
        """The evaluation data (`keras_mlp.training.data.Data`) as `fit` takes them here."""
        return data

    def mean(self, values: list[float]) -> list[float]:
        """The means of numbers over all processes, each of which has to ask."""
        return values

    def wait(self):
        """Wait until all processes are here."""
        self.mean([0.0])

    @contextlib.contextmanager
    def chief_first(self):
        """Let the chief through the block before the others."""
        if self.rank:
            self.wait()
        yield
        if not self.rank:
            self.wait()

    @contextlib.contextmanager
    def noticing(self):
        """Turn the errors by which a backend tells that another process has gone into `WorkerLost`."""
        yield


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
        _need_backend("tensorflow", "mirrored")
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
        _need_backend("tensorflow", "tpu")
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
        _need_backend("tensorflow", "multi_worker")
        import tensorflow as tf

        if addresses:
            _check_rank(addresses, rank)
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
            raise WorkerLost(_lost(self, error)) from error


class DataParallel(Alone):
    """All devices of one or several processes, on JAX, by `keras.distribution.DataParallel`.

    XLA compiles one program for the global batch, so batch norm takes its statistics over all of it, as on one device;
    dropout and stochastic depth draw for the whole batch, but its images lie in another order in several processes.

    Args:
        addresses: "host:port" of each process, the chief first; none for one process. On Cloud TPUs and under Slurm
            JAX finds them itself: "auto".
        rank: which of them this process is.

    Raises:
        ValueError: Keras runs on another backend, or the processes are not told.
        RuntimeError: the processes do not find each other, or JAX has begun to work before.
    """

    def __init__(self, addresses=(), rank: int | None = None):
        _need_backend("jax", "data_parallel")
        import jax

        # Programs that talk to other processes must run in the same order in all; on CPUs several may run at once.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        if list(addresses) == ["auto"]:
            jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
        elif len(addresses) > 1:
            _check_rank(addresses, rank)
            jax.distributed.initialize(addresses[0], len(addresses), rank, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
        self.rank, self.size = jax.process_index(), jax.process_count()
        self.replicas, self.local = jax.device_count(), jax.local_device_count()
        self.waits = 0
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

    def evaluation(self, data):
        """Each process evaluates on all images; each of its devices too, where the batches cannot be divided."""
        import dataclasses

        import tensorflow as tf

        if not (data.batch_size % self.local or data.examples % data.batch_size % self.local):
            return data
        dataset = data.dataset.rebatch(max(1, data.batch_size // self.local))
        repeated = functools.partial(tf.repeat, repeats=self.local, axis=0)
        dataset = dataset.map(lambda *batch: tf.nest.map_structure(repeated, batch))
        return dataclasses.replace(data, dataset=dataset)

    @contextlib.contextmanager
    def saved_as(self, model):
        """The chief alone saves, and what it makes for that are not variables of all."""
        shared = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        yield
        keras.distribution.set_distribution(shared)

    def wait(self):
        if self.size == 1:
            return
        from jax._src import distributed  # the public barrier gives up after half a minute; data may take a day

        self.waits += 1
        with self.noticing():
            distributed.global_state.client.wait_at_barrier(f"keras_mlp {self.waits}", 24 * 3600 * 1000)

    def mean(self, values):
        from jax.experimental import multihost_utils

        if self.size == 1:
            return values
        with self.noticing():
            gathered = multihost_utils.process_allgather(np.asarray(values, "float32"))
        return [float(value) for value in np.mean(gathered, axis=0)]

    @contextlib.contextmanager
    def noticing(self):
        import jax

        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if self.size == 1 or "RESOURCE_EXHAUSTED" in str(error):
                raise
            raise WorkerLost(_lost(self, error)) from error


STRATEGIES = ("none", "mirrored", "multi_worker", "tpu", "data_parallel")


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


def _need_backend(backend, strategy):
    if keras.backend.backend() != backend:
        raise ValueError(
            f"The strategy {strategy} needs KERAS_BACKEND={backend}. Keras runs on {keras.backend.backend()}."
        )


def _check_rank(addresses, rank):
    if rank is None or not 0 <= rank < len(addresses):
        raise ValueError(
            f"Each process needs its own rank, here of 0–{len(addresses) - 1}: its place among the addresses. "
            f"Received: rank={rank}"
        )


def _before_apply(optimizer, change):
    """Let an optimiser see other gradients; on the object, so that a saved model has Keras' own."""
    apply = optimizer.apply

    def apply_changed(grads, trainable_variables=None):
        return apply(change(list(grads)), trainable_variables)

    optimizer.apply = apply_changed


def _lost(workers, error):
    text = str(error)
    reason = textwrap.shorten(text.partition("aborted by: ")[2] or text, 120, placeholder="…")
    return (
        f"Another of the {workers.size} processes has ended, and process {workers.rank} stops too ({reason}). What was "
        "saved is whole: the same command on all machines goes on from it."
    )
