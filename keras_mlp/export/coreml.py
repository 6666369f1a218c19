"""Core ML: what Apple's devices run."""

import os
import sys

import keras
import numpy as np

from keras_mlp.export.checks import checked_folder, checked_shape
from keras_mlp.export.errors import ExportError, calls_of_a_library
from keras_mlp.export.outputs import difference, inference_part
from keras_mlp.export.portable import portable
from keras_mlp.extras import need
from keras_mlp.files import atomic_path
from keras_mlp.labels import check_names
from keras_mlp.layers import products

PRECISIONS = ("float16", "float32")
LIMITS = {"float16": 0.1, "float32": 1e-3}
"""Largest difference from the model, in standard deviations of its output."""
REFUSAL = "The model could not become Core ML"
_LAYOUTS = {1: "GRAYSCALE", 3: "RGB"}


def to_coreml(
    model: keras.Model,
    path: str | os.PathLike,
    precision: str = "float16",
    input_shape: tuple[int, ...] | None = None,
    classes: list[str] | None = None,
    description: str = "",
    metadata: dict[str, str] | None = None,
) -> float | None:
    """Write an image model as an .mlpackage for Core ML, an ML program for iOS 15 or macOS 12 and newer.

    Its input `image` is a picture as cameras and Vision give it, and its normalisation is in the network. With
    `classes` it is a classifier that gives `classLabel` and `classLabel_probs`, else its output is called `scores`.

    Core ML runs on Apple's machines alone. On a Mac the file is run on an image of random pixels and compared with the
    model; elsewhere it is converted and written, and nothing has run it.

    Args:
        model: functional or sequential model with one input and one output, which takes pixels 0–255
            (`include_preprocessing=True`). It is not changed.
        path: where to write; ends in ".mlpackage", which is a folder. One that is there is replaced only once the new
            one is complete.
        precision: of weights and computations, "float16", which the Neural Engine needs, or "float32".
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
        classes: names of the classes, in the order of the scores.
        description: what the file says of itself, in a sentence.
        metadata: further things that it says, by name.

    Returns:
        The largest difference from the model, in units of the standard deviation of the model's output; `None` where
        the file could not be run.

    Raises:
        ImportError: coremltools, of the extra "coreml", is not installed.
        ValueError: an argument does not fit, the model is none that can be exported, or the folder cannot be written.
        ExportError: the converter refused the model, or the file computes something else. No file was written.
    """
    path = checked_folder(path, ".mlpackage")
    if precision not in PRECISIONS:
        raise ValueError(f'`precision` must be "float16" or "float32". Received: precision={precision!r}')
    model = inference_part(model)
    shape = checked_shape(model, "Core ML", input_shape)
    if len(shape) != 3 or shape[-1] not in _LAYOUTS:
        raise ValueError(f"`model` must take images of 1 or 3 channels. It takes: {shape}")
    if classes is not None:
        check_names(classes)
        if len(classes) != model.output_shape[-1]:
            raise ValueError(f"`classes` must name the {model.output_shape[-1]} scores. Received: {len(classes)} names")
    ct = need("coremltools", extra="coreml")
    import tensorflow as tf

    network = portable(model, (1, *shape))
    with products.for_export(loops=False):
        function = tf.function(lambda image: network(image, training=False))
        function = function.get_concrete_function(tf.TensorSpec((1, *shape), tf.float32, name="image"))
    image = ct.ImageType("image", shape=(1, *shape), color_layout=getattr(ct.colorlayout, _LAYOUTS[shape[-1]]))
    with calls_of_a_library(REFUSAL):
        converted = ct.convert(
            [function],
            source="tensorflow",
            inputs=[image],
            outputs=None if classes else [ct.TensorType("Identity")],
            classifier_config=ct.ClassifierConfig(list(classes)) if classes else None,
            compute_precision=getattr(ct.precision, precision.upper()),
            minimum_deployment_target=ct.target.iOS15,
            skip_model_load=sys.platform != "darwin",
        )
        if not classes:
            spec = converted.get_spec()
            ct.utils.rename_feature(spec, "Identity", "scores")
            there = {"weights_dir": converted.weights_dir, "skip_model_load": sys.platform != "darwin"}
            converted = ct.models.MLModel(spec, **there)
    converted.short_description = description or f"{model.name}, by keras_mlp"
    converted.user_defined_metadata.update({key: str(value) for key, value in (metadata or {}).items()})
    with atomic_path(path) as temporary:
        converted.save(os.fspath(temporary))
        return _compared(converted, network, shape, precision, path) if sys.platform == "darwin" else None


def _compared(converted, network, shape, precision, path):
    """The largest difference from the model on random pixels, where Core ML is; an `ExportError` if it is too large."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    outputs = converted.predict({"image": Image.fromarray(pixels.squeeze())})
    expected = np.asarray(network(pixels[None].astype("float32")))
    if "scores" in outputs:
        found = outputs["scores"]
    else:
        (scores,) = (value for value in outputs.values() if isinstance(value, dict))
        found = np.array([list(scores.values())])
    largest = difference(np.asarray(found).reshape(expected.shape), expected)
    if not largest <= LIMITS[precision]:
        raise ExportError(
            f"The .mlpackage does not compute like the model: the largest difference is {largest:.2g} standard "
            f"deviations of the output, allowed {LIMITS[precision]:g}. {path} was not written."
        )
    return largest
