"""What the contenders that run on TensorFlow have in common."""

import numpy as np

from benchmarks.contender import Unavailable


def setup(threads: int, device: str = "cpu"):
    """TensorFlow, limited to `threads`, where it has that device. Call it before anything else uses TensorFlow."""
    import tensorflow as tf

    if device == "gpu":
        if not tf.config.list_physical_devices("GPU"):
            raise Unavailable("TensorFlow sees no GPU")
        tf.config.experimental.enable_tensor_float_32_execution(False)  # PyTorch rounds float32 no further, either

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return tf


def images(tf, batch: int, shape: tuple[int, ...], dtype="float32"):
    """A batch of random pixels."""
    return tf.constant(np.random.default_rng(0).uniform(-1, 1, (batch, *shape)), dtype)


def as_if_trained(model):
    """Add noise to the weights that are alike in a fresh model, such as biases: converters leave those out."""
    random, weights = np.random.default_rng(0), model.get_weights()
    model.set_weights([w if np.ptp(w) else w + 0.01 * random.normal(size=w.shape) for w in weights])


def inference_step(tf, model, jit_compile: bool):
    """`batch size -> step` for the forward pass of a Keras model of any generation, of one input and output or more."""
    forward = tf.function(lambda x: model(x, training=False), jit_compile=jit_compile)

    def prepare(batch):
        given = tf.nest.map_structure(lambda tensor: images(tf, batch, tensor.shape[1:]), model.inputs)
        x = given if len(given) > 1 else given[0]
        return lambda: tf.nest.map_structure(lambda output: output.numpy(), forward(x))

    return prepare


def training_step(tf, model):
    """`batch size -> step` for the training step of a compiled Keras model of any generation, as its `fit` runs it."""

    def prepare(batch):
        x = images(tf, batch, model.input_shape[1:])
        y = tf.zeros((batch,), "int32")
        dataset = tf.data.Dataset.from_tensors((x, y)).repeat()
        model.fit(dataset, steps_per_epoch=1, verbose=0)  # creates the optimizer's variables, and traces
        iterator = iter(dataset)
        return lambda: tf.nest.map_structure(lambda log: log.numpy(), model.train_function(iterator))

    return prepare


def matmul(contender):
    """`size -> step` for the machine's measure: one product of two square matrices of that size."""
    tf = setup(contender.threads, contender.device)

    def prepare(size):
        product = square_product(tf, size, contender.precision)
        return lambda: product().numpy()

    return prepare


def square_product(tf, size: int, dtype="float32"):
    """A function that multiplies two square matrices of that size."""
    a = images(tf, size, (size,), dtype)
    return tf.function(lambda: tf.matmul(a, a)[0, 0])
