"""A model rewritten for converters: float32 throughout, static shapes, operators that phones are fast at."""

import keras
from keras import ops

FLOATS = ("bfloat16", "float16", "float32", "float64")


class PlainLayerNormalization(keras.layers.LayerNormalization):
    """`LayerNormalization` along the last axis in the spelling that stays in integer kernels.

    The converter turns Keras' own into NEG (which has no int8 kernel) and SQUARED_DIFFERENCE (which XNNPACK has not in
    int8), so that a fully quantised model leaves the fast path twice at every norm. `d * d` stays MUL.
    """

    def call(self, inputs):
        d = inputs - ops.mean(inputs, axis=-1, keepdims=True)
        outputs = d * ops.rsqrt(ops.mean(d * d, axis=-1, keepdims=True) + self.epsilon)
        if self.scale:
            outputs = outputs * self.gamma
        if self.center:
            outputs = outputs + self.beta
        return outputs


def portable(model: keras.Model, batch_shape: tuple[int, ...]) -> keras.Model:
    """Copy a model for conversion: same weights and answers, whatever dtype policy it was built under.

    Args:
        model: functional or sequential model with one input. Neither it nor the global dtype policy is changed.
        batch_shape: shape of the copy's input, batch included; the copy's shapes are static where this is.

    Returns:
        A model in float32.
    """
    image = keras.Input(batch_shape=batch_shape, dtype="float32", name=model.inputs[0].name)
    sequential = isinstance(model, keras.Sequential)
    inputs = image if sequential else keras.tree.map_structure(lambda _: image, model.input)
    policy = keras.config.dtype_policy()
    # Layers inside layers take the global policy where their parent's configuration does not name one.
    keras.config.set_dtype_policy("float32")
    try:
        copy = keras.models.clone_model(model, input_tensors=inputs, clone_function=_copy, recursive=True)
    finally:
        keras.config.set_dtype_policy(policy)
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights([w.astype("float32") for w in layer.get_weights()])
    return copy


def is_float32(model: keras.Model) -> bool:
    """Whether every layer of `model` computes in float32."""
    return all(
        is_float32(layer) if isinstance(layer, keras.Model) else layer.compute_dtype == "float32"
        for layer in model.layers
    )


def _copy(layer):
    config = _in_float32(layer.get_config())
    plain = (
        type(layer) is keras.layers.LayerNormalization and layer.axis in (-1, [-1]) and not config.get("rms_scaling")
    )
    return (PlainLayerNormalization if plain else type(layer)).from_config(config)


def _in_float32(config):
    """`config` with "float32" in place of every floating dtype policy, at any depth."""
    if isinstance(config, dict):
        if isinstance(config.get("config"), dict) and str(config.get("class_name")).endswith("DTypePolicy"):
            return "float32"
        return {
            key: "float32"
            if key == "dtype" and value in (*FLOATS, *(f"mixed_{f}" for f in FLOATS))
            else _in_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(value) for value in config)
    return config
