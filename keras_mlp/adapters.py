"""Layers beside their plain weights: low-rank adapters (LoRA), and quantisation by Keras."""

import keras
import numpy as np

_SETTINGS = ("lora_rank", "lora_alpha")
"""Settings of a layer that has an adapter."""
_FACTORS = ("lora_kernel_a", "lora_kernel_b", "lora_embeddings_a", "lora_embeddings_b")
"""Names of the variables that its adapter consists of."""


def is_adapted(layer) -> bool:
    """Whether a layer has a low-rank adapter of its own (`enable_lora`)."""
    return bool(getattr(layer, "lora_enabled", False))


def is_quantised(layer) -> bool:
    """Whether Keras has quantised a layer (`quantize`)."""
    return getattr(layer, "quantization_mode", None) is not None


def quantised(model) -> list[str]:
    """Paths of the layers that Keras has quantised, such as "blocks_0_token_mixing/fc1"."""
    return [
        layer.name for layer in model._flatten_layers() if not isinstance(layer, keras.Model) and is_quantised(layer)
    ]


def is_factor(variable) -> bool:
    """Whether a variable is a factor of an adapter."""
    return variable.name in _FACTORS


def adapter(layer, variable):
    """What a layer adds to one of its variables, as a tensor; `None` where it adds nothing."""
    factors = {factor.name: factor for factor in own(layer) if is_factor(factor)}
    if not is_adapted(layer) or f"lora_{variable.name}_a" not in factors:
        return None
    a, b = (factors[f"lora_{variable.name}_{side}"] for side in "ab")
    return keras.ops.matmul(a, b) * (layer.lora_alpha / layer.lora_rank)


def merged(layer, variable, array=None) -> np.ndarray:
    """The value of one of a layer's variables, with the adapter that the layer has for it added.

    Args:
        layer: the layer that holds it.
        variable: the variable.
        array: its value, where that is not to be the variable's own.
    """
    array = keras.ops.convert_to_numpy(variable) if array is None else array
    added = adapter(layer, variable)
    return array if added is None else array.astype(np.float64) + keras.ops.convert_to_numpy(added)


def values(layer) -> dict:
    """`{id of a variable: its value}` of the weights of a layer or model, adapters added to what they adapt."""
    found = {}
    for part in layer._flatten_layers():
        adapted = is_adapted(part) and not is_quantised(part)
        for variable in own(part):
            if not (adapted and is_factor(variable)):
                found[id(variable)] = merged(part, variable) if adapted else keras.ops.convert_to_numpy(variable)
    return found


def settle(layer):
    """Let a layer, and those in it, take up what they make of their weights, after these have changed.

    `Normalization` keeps the mean and variance that it has adapted to beside its weights; `finalize_state` sets them.
    """
    for part in layer._flatten_layers():
        if own(part) and hasattr(part, "finalize_state"):
            part.finalize_state()


def renew(model):
    """To be called after weights of a model were set as a whole: adapters add nothing, and what follows is set anew."""
    for part in model._flatten_layers():
        for factor in filter(is_factor, own(part) if is_adapted(part) else ()):
            factor.assign(keras.ops.zeros_like(factor))
    settle(model)


def without_adapters(config):
    """A layer's configuration without adapters, at any depth."""
    if isinstance(config, dict):
        return {key: without_adapters(value) for key, value in config.items() if key not in _SETTINGS}
    if isinstance(config, list | tuple):
        return type(config)(map(without_adapters, config))
    return config


def own(layer) -> list:
    """The variables of a layer that are not those of a layer in it."""
    return layer._trainable_variables + layer._non_trainable_variables
