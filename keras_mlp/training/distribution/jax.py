"""Several devices and machines on JAX."""

import contextlib
import functools

import keras
import numpy as np

from keras_mlp.training.distribution.alone import Alone, WorkerLost, check_rank, lost, need_backend

HEARTBEAT_SECONDS = 30  # of silence after which JAX gives a machine up; a process that dies is noticed at once


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
        need_backend("jax", "data_parallel")
        import jax

        # Programs that talk to other processes must run in the same order in all; on CPUs several may run at once.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        if list(addresses) == ["auto"]:
            jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
        elif len(addresses) > 1:
            check_rank(addresses, rank)
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
            raise WorkerLost(lost(self, error)) from error
