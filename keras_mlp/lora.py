"""Fine-tuning by low-rank adapters (LoRA), on a model as a whole."""

import keras
import numpy as np

from keras_mlp import names
from keras_mlp.adapters import is_adapted
from keras_mlp.copying import Copier


def enable_lora(model: keras.Model, rank: int, lora_alpha: float | None = None) -> None:
    """Give low-rank adapters to all dense layers of a model but its classifier, and let nothing else be trained.

    What mixes tokens and what mixes channels computes `x (W + lora_alpha / rank * A B)` then, with `A` of `rank`
    columns. `A B` is zero at first. `A`, `B`, the biases of Keras' and our `Dense` and the classifier are trained.
    Convolutions and recurrent layers, for which Keras has no adapters, are frozen as they are.

    Compile the model afterwards. It saves, loads, exports and goes on training; `merge_lora` and `keras_mlp.fuse` add
    the adapters to the kernels, and `keras_mlp.save_checkpoint` writes them so.

    Source: Hu et al. 2021 (LoRA), https://arxiv.org/abs/2106.09685.

    Args:
        model: a model of this package, or one that holds some. It is changed.
        rank: of the adapters, at least 1.
        lora_alpha: factor on what they add, times `rank`; `rank` by default.

    Raises:
        ValueError: `rank` is no positive integer, the model has adapters already, or it has no dense layer beside its
            classifier.

    Example:
        model = keras_mlp.replace_head(keras_mlp.MLPMixerB16(), classes=10)
        keras_mlp.enable_lora(model, rank=8)
        model.compile("adam", "sparse_categorical_crossentropy")
    """
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or rank < 1:
        raise ValueError(f"`rank` must be a positive integer. Received: rank={rank!r}")
    layers = list(model._flatten_layers())
    if adapted := [layer.name for layer in layers if is_adapted(layer)]:
        raise ValueError(
            f"Model {model.name!r} has adapters already, in layer {adapted[0]!r} first. Add them to the kernels by "
            "`keras_mlp.merge_lora(model)`, and give adapters to what that returns."
        )
    of_heads = {id(part) for layer in layers if _is_of_classifier(layer) for part in layer._flatten_layers()}
    kinds = keras.layers.Dense, keras.layers.EinsumDense
    dense = [layer for layer in layers if isinstance(layer, kinds) and id(layer) not in of_heads]
    if not dense:
        raise ValueError(
            f"Model {model.name!r} has no dense layer beside its classifier, and Keras has no adapters for others. "
            "Train the model as a whole, or freeze the layers that are to stay."
        )
    for layer in dense:
        layer.enable_lora(int(rank), lora_alpha=lora_alpha)
    for layer in layers:  # from the outermost to the innermost, because each passes on what it is set to
        layer.trainable = isinstance(layer, keras.Model) or id(layer) in of_heads
    for layer in dense:
        layer.trainable = True


def merge_lora(model: keras.Model) -> keras.Model:
    """A copy of a model whose kernels have its adapters added to them.

    Args:
        model: a functional or sequential model; it is not changed.

    Returns:
        A model that computes the same, without adapters, not compiled. What was frozen is frozen.

    Raises:
        ValueError: Keras has quantised the model.
    """
    if quantised := [layer.name for layer in model._flatten_layers() if getattr(layer, "quantization_mode", None)]:
        raise ValueError(
            f"Keras has quantised layer {quantised[0]!r}, and adapters cannot be added to whole numbers. Save the "
            "model to a .keras file, which Keras writes with the adapters added."
        )
    return Copier(adapters=False)(model)


def _is_of_classifier(layer) -> bool:
    place = names.parse(layer.name)
    return place is not None and place.part == "head" and not names.goes_with_backbone(layer.name)
