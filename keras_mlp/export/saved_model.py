"""SavedModel: what TensorFlow's own loader and TensorFlow Serving read."""

import os

import keras

from keras_mlp.cards import Preprocessing
from keras_mlp.export.checks import checked_path, checked_shape
from keras_mlp.export.portable import portable
from keras_mlp.export.quiet import quiet
from keras_mlp.files import atomic_path


def to_saved_model(
    model: keras.Model,
    path: str | os.PathLike,
    preprocessing: Preprocessing | None = None,
    input_shape: tuple[int, ...] | None = None,
):
    """Write a model as a SavedModel that serves pixels and encoded images; whoever loads it does not need keras_mlp.

    Signatures, of batches of any length:

    - "serving_default": `pixels`, float32 `(batch, height, width, channels)` in the units the model takes;
    - "encoded_images": `encoded_images`, strings `(batch,)`, the contents of JPEG, PNG, BMP or GIF files (its first
      frame). Each is resized and cropped as `preprocessing` says.

    Both answer `{"outputs": ...}`, the model's own answers in float32.

    Args:
        model: functional or sequential model with one input of 1 or 3 channels and one output. It is not changed.
        path: folder to write. One that is there is replaced only once the new one is complete.
        preprocessing: how images are resized, `keras_mlp.model_card(name).preprocessing`; by default the short side to
            1 / 0.875 of the input's, and the centre cropped. Normalisation is the model's own business.
        input_shape: `(height, width, channels)`, needed where the model leaves one of them open.

    Raises:
        ValueError: an argument does not fit, the model is none that can be exported, or the folder cannot be written.
    """
    path = checked_path(path, "")
    shape = checked_shape(model, "SavedModel", input_shape)
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(f"`model` must take images of 1 or 3 channels, to be read from files. It takes: {shape}")
    import tensorflow as tf

    from keras_mlp.training.data import images

    *size, channels = shape
    preprocessing = preprocessing or Preprocessing()
    network = portable(model, (None, *shape))

    def read(encoded):
        image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        image = images.for_evaluation(tf.cast(image, tf.float32), tuple(size), preprocessing)
        return tf.ensure_shape(image, shape)

    def pixels(pixels):
        return {"outputs": network(pixels, training=False)}

    def encoded_images(encoded_images):
        return pixels(tf.map_fn(read, encoded_images, fn_output_signature=tf.TensorSpec(shape, tf.float32)))

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(
        "serving_default", pixels, input_signature=[tf.TensorSpec((None, *shape), tf.float32, name="pixels")]
    )
    archive.add_endpoint(
        "encoded_images", encoded_images, input_signature=[tf.TensorSpec((None,), tf.string, name="encoded_images")]
    )
    with atomic_path(path) as temporary, quiet():
        archive.write_out(os.fspath(temporary), verbose=False)
