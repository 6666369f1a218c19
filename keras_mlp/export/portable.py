"""A model rewritten for converters: float32 throughout, static shapes."""

import keras

FLOATS = ("bfloat16", "float16", "float32", "float64")


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
    return type(layer).from_config(_in_float32(layer.get_config()))


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
