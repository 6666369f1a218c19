"""In which precision to train, and in which a model computes."""

import keras

from keras_mlp.training.plain import plain


def default() -> str:
    """Return the dtype policy that suits this machine.

    Returns:
        "mixed_bfloat16" on TPUs and on GPUs of compute capability 8.0 and more, "mixed_float16" on GPUs of 7.0 and
        more, else "float32": on CPUs, even with instructions for bfloat16, what small models gain in products they
        lose in conversions. With another backend than TensorFlow, "float32".
    """
    if keras.backend.backend() != "tensorflow":
        return "float32"
    import tensorflow as tf

    if tf.config.list_logical_devices("TPU"):
        return "mixed_bfloat16"
    gpus = tf.config.list_physical_devices("GPU")
    capability = min(
        (tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus),
        default=(0, 0),
    )
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def of(model) -> str:
    """Return the dtype policy in which a model computes; a few of its layers, as the head, may keep a higher one."""
    dtypes = {layer.compute_dtype for layer in plain(model).layers if layer.weights}
    for low in ("float16", "bfloat16"):
        if low in dtypes:
            return f"mixed_{low}"
    return "float64" if "float64" in dtypes else "float32"
