"""The form of a model for serving: fused, its weights constants, one call from images to what the model gives."""

from collections.abc import Callable

import keras
import numpy as np

from keras_mlp.export.outputs import inference_part
from keras_mlp.export.portable import fused

_MOST = 2**31
"""Bytes of a graph with its constants, which is a protocol buffer."""


class Fast:
    """A model for serving, which `fast` makes.

    Attributes:
        input_shape: of one image, `(height, width, channels)`, `None` for a side of any length; frames in front for
            videos.
    """

    def __init__(self, call: Callable, input_shape: tuple[int | None, ...]):
        self._call, self.input_shape = call, input_shape

    def __call__(self, images) -> np.ndarray | dict[str, np.ndarray]:
        """Compute a batch of any length.

        Args:
            images: array `(n, *input_shape)` of numbers, in the units that the model takes.

        Returns:
            What the model gives, `(n, …)`; of a model with a dictionary of outputs `{name: array}`.

        Raises:
            ValueError: `images` has another shape.
        """
        images = np.asarray(images, "float32")
        wanted = self.input_shape
        if images.ndim != len(wanted) + 1 or any(
            side not in (None, given) for side, given in zip(wanted, images.shape[1:], strict=True)
        ):
            raise ValueError(
                f"`images` must have the shape (n, {', '.join(map(str, wanted))}). Received: shape={images.shape}"
            )
        return keras.tree.map_structure(keras.ops.convert_to_numpy, self._call(images))


def fast(model: keras.Model, jit_compile: bool = False) -> Fast:
    """The fastest form of a model in a Keras process: for inference, and as the model's weights are now.

    The model is fused (`keras_mlp.fuse`), so that its preprocessing is in its first linear map. Then

    - on TensorFlow it becomes a graph in which weights are constants. oneDNN brings these into the order that it
      computes with once, and not in each call;
    - on JAX it is compiled by `jax.jit`;
    - on PyTorch Keras calls PyTorch's operators one by one, without gradients.

    It takes some seconds to make, which pay where it is called often. What is done to `model` afterwards does not
    change it. To keep it in a file, see `keras_mlp.export.to_saved_model(…, frozen=True)`.

    Args:
        model: functional or sequential model with one input. It is not changed.
        jit_compile: whether to compile it further: by XLA on TensorFlow, by `torch.compile` on PyTorch; on JAX it is
            compiled in any case. A compiled one takes seconds at the first batch of each size, and is slower for models
            with depthwise convolutions on a CPU (docs/speed.md tells which).

    Returns:
        A `Fast`: called with images `(n, height, width, channels)`, it gives what `model.predict` gives, except for
        rounding.

    Raises:
        ValueError: `model` is not functional, has several inputs, or is too large for a graph.

    Example:
        scores = keras_mlp.fast(keras_mlp.MLPMixerB16())
        print(keras_mlp.decode_predictions(scores(images)))
    """
    if isinstance(model, keras.Model):
        check_size(model)
    network = fused(inference_part(model))
    if len(network.inputs) != 1:
        raise ValueError(f"`model` must have one input. Received: {len(network.inputs)} inputs")
    shape = tuple(network.inputs[0].shape[1:])
    make = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}.get(keras.backend.backend())
    if make is None:
        raise ValueError(
            f'`fast` needs the TensorFlow, JAX or PyTorch backend. Received: the backend "{keras.backend.backend()}"'
        )
    return Fast(make(network, shape, jit_compile), shape)


def fits(model: keras.Model) -> bool:
    """Whether a graph holds the weights of a model; on other backends there is no such limit."""
    return keras.backend.backend() != "tensorflow" or 4 * model.count_params() < _MOST


def check_size(model: keras.Model):
    """Raise a `ValueError` if the weights of a model are more than a graph holds."""
    if not fits(model):
        raise ValueError(
            f"A graph of TensorFlow holds less than 2 GB, and the weights of {model.name!r} take "
            f"{4e-9 * model.count_params():.1f} GB: they cannot be frozen into one. Run `keras_mlp.fuse(model)`, or a "
            "SavedModel that is not frozen."
        )


def constants(network: keras.Model, shape: tuple[int | None, ...]) -> tuple[Callable, object]:
    """A function of TensorFlow that computes as a model does, and holds its weights as constants.

    Args:
        network: a model with one input.
        shape: of one image.

    Returns:
        The function, from a float32 tensor `(batch, *shape)`, of a batch of any length, to a list of tensors; and the
        structure that the model gives them in.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda images: network(images, training=False), autograph=False)
    function = function.get_concrete_function(tf.TensorSpec((None, *shape), tf.float32, name="images"))
    return convert_variables_to_constants_v2(function), function.structured_outputs


def freeze(network: keras.Model, shape: tuple[int | None, ...]) -> Callable:
    """`constants`, as a function to what the model gives."""
    import tensorflow as tf

    function, structure = constants(network, shape)
    return lambda images: tf.nest.pack_sequence_as(structure, function(images))


def _on_tensorflow(network, shape, jit_compile):
    import tensorflow as tf

    call = freeze(network, shape)
    if jit_compile:
        call = tf.function(call, jit_compile=True, autograph=False)
    return lambda images: call(tf.constant(images))


def _on_jax(network, shape, jit_compile):
    import jax

    variables = [[v.value for v in group] for group in (network.trainable_variables, network.non_trainable_variables)]
    compute = jax.jit(lambda trainable, others, x: network.stateless_call(trainable, others, x, training=False)[0])
    return lambda images: compute(*variables, images)


def _on_torch(network, shape, jit_compile):
    import torch

    compute = torch.compile(network) if jit_compile else network

    def call(images):
        images = keras.ops.convert_to_tensor(images)
        with torch.no_grad():  # not `inference_mode`, under which `torch.compile` takes its own guards for broken
            return compute(images, training=False)

    return call
