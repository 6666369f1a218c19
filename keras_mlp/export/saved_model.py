"""SavedModel: what TensorFlow's own loader and TensorFlow Serving read."""

import functools
import os

import keras

from keras_mlp.cards import Preprocessing
from keras_mlp.export import freezing
from keras_mlp.export.checks import checked_path, checked_shape
from keras_mlp.export.conversion import prepared
from keras_mlp.export.outputs import inference_part, names_of
from keras_mlp.export.quiet import quiet
from keras_mlp.files import atomic_path
from keras_mlp.labels import check_names
from keras_mlp.training.data.source import MAX_PIXELS

_BEST = 5
"""How many classes "classify" tells."""


def to_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    preprocessing: Preprocessing | None = None,
    input_shape: tuple[int, ...] | None = None,
    max_pixels: int = MAX_PIXELS,
    classes: list[str] | None = None,
    frozen: bool = False,
):
    """Write a model as a SavedModel that serves pixels and encoded images; whoever loads it does not need keras_mlp.

    Signatures, of batches of any length:

    - "serving_default": `pixels`, float32 `(batch, height, width, channels)` in the units the model takes;
    - "encoded_images": `encoded_images`, strings `(batch,)`, the contents of files. Each is decoded as training does
      (`keras_mlp.training.data.decoding.pixels_in_graph`), with the same orientation, and resized and cropped as
      `preprocessing` says. What TensorFlow cannot read, or reads wrong, is an error: TIFF, a BMP with a palette, a WebP
      that is an animation or has EXIF, which may say that it is turned; and an image of more than `max_pixels`.

    - with `classes`, "classify": `encoded_images` as before, to `{"classes": …, "scores": …}`, the names and scores of
      the five best, best first, each `(batch, 5)`, or of all where there are fewer;
    - with `classes`, "labels": nothing, to `{"labels": …}`, the names in the order of the scores.

    The first two give `{"outputs": ...}`, the model's own outputs in float32; those of a model with a dictionary of
    outputs by its own names.

    Args:
        model: functional or sequential model with one input of 1 or 3 channels and one output, or a dictionary of
            outputs. It is not changed.
        path: folder to write. One that is there is replaced only once the new one is complete.
        preprocessing: how images are resized, `keras_mlp.model_card(name).preprocessing`; by default the short side to
            1 / 0.875 of the input's, and the centre cropped. Normalisation is the model's own business.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.
        max_pixels: how many pixels an encoded image may have, as its header says.
        classes: names of a classifier's classes, in the order of its scores.
        frozen: whether the model is fused (`keras_mlp.fuse`) and its weights are constants of the graph. It then
            computes faster (`keras_mlp.fast` tells why), and cannot be trained on.

    Raises:
        ValueError: an argument does not fit, the model is none that can be exported, or the folder cannot be written;
            or a frozen model has more than 2 GB of weights, which no graph holds.
    """
    path = checked_path(path, "")
    model = inference_part(model)
    shape = checked_shape(model, "SavedModel", input_shape, named=True)
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"`model` must take images of 1 or 3 channels, to be read from files. It takes: {shape}")
    if classes is not None:
        check_names(classes)
        if names_of(model) or len(model.output_shape) != 2 or len(classes) != model.output_shape[-1]:
            raise ValueError(
                f"`classes` must name the scores of a classifier. Received: {len(classes)} names for a model that "
                f"gives {model.output_shape}"
            )
    if frozen:
        freezing.check_size(model)
    import tensorflow as tf

    from keras_mlp.training.data import decoding, images

    *size, channels = shape
    preprocessing = preprocessing or Preprocessing()
    network = prepared(model, (None, *shape), fuse=frozen)
    compute = freezing.freeze(network, shape) if frozen else functools.partial(network, training=False)

    def read(encoded):
        image = images.with_channels(decoding.pixels_in_graph(encoded, max_pixels), channels)
        image = images.for_evaluation(image, tuple(size), preprocessing)
        return tf.ensure_shape(image, shape)

    def pixels(pixels):
        outputs = compute(pixels)
        return outputs if names_of(model) else {"outputs": outputs}

    def of_files(files):
        return pixels(tf.map_fn(read, files, fn_output_signature=tf.TensorSpec(shape, tf.float32)))

    def encoded_images(encoded_images):
        return of_files(encoded_images)

    def classify(encoded_images):
        best = tf.math.top_k(of_files(encoded_images)["outputs"], min(_BEST, len(classes)))
        return {"classes": tf.gather(tf.constant(classes), best.indices), "scores": best.values}

    archive = keras.export.ExportArchive()
    if not frozen:
        archive.track(network)
    archive.add_endpoint(
        "serving_default", pixels, input_signature=[tf.TensorSpec((None, *shape), tf.float32, name="pixels")]
    )
    files = [tf.TensorSpec((None,), tf.string, name="encoded_images")]
    archive.add_endpoint("encoded_images", encoded_images, input_signature=files)
    if classes is not None:
        archive.add_endpoint("classify", classify, input_signature=files)
        labels = tf.function(lambda: {"labels": tf.constant(classes)})
        labels.get_concrete_function()
        archive.add_endpoint("labels", labels)
    with atomic_path(path) as temporary, quiet():
        archive.write_out(os.fspath(temporary), verbose=False)
