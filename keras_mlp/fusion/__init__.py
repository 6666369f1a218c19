"""Fusion: an equal model with fewer operations, for inference."""

import dataclasses
import warnings

import keras

from keras_mlp.copying import is_graph
from keras_mlp.fusion.graph import Draft, Graph
from keras_mlp.fusion.rules import Merge, apply
from keras_mlp.layers import fusing

__all__ = ["Fusion", "Merge", "fuse", "fuse_layers"]


@dataclasses.dataclass(frozen=True)
class Fusion:
    """What `fuse` did.

    Attributes:
        merges: what was merged, in that order.
        parameters_before, parameters_after: numbers that the model holds, statistics of batch norm among them.
        macs_before, macs_after: multiply-adds of one image (`keras_mlp.analysis.cost`); `None` where they cannot be
            counted, because the input's size is not known or the Keras backend is not TensorFlow.
    """

    merges: tuple[Merge, ...]
    parameters_before: int
    parameters_after: int
    macs_before: int | None
    macs_after: int | None

    def __str__(self):
        lines = [str(merge) for merge in self.merges]
        lines.append(f"parameters: {self.parameters_before:,} before, {self.parameters_after:,} after")
        if self.macs_before is not None:
            lines.append(f"multiply-adds: {self.macs_before:,} before, {self.macs_after:,} after")
        return "\n".join(lines)


def fuse(model: keras.Model, *, report: bool = False) -> keras.Model | tuple[keras.Model, Fusion]:
    """An equal model with fewer operations, for inference.

    The connections of the layers are searched for the following, over and over, until there is none left. Weights are
    computed in float64 and rounded once.

    **A scale and a shift of each channel** goes into the linear maps beside it. Batch norm in inference is one, with `s
    = gamma / sqrt(variance + epsilon)` and `t = beta - mean s`; so are `Affine`, `LayerScale`, `Rescaling` (the
    preprocessing of the images among them) and the `gamma` and `beta` at the end of layer norm and group norm. After a
    linear map they change its columns, before one its rows:

        s (K x + b) + t  =  (s K) x + (s b + t)
        K (s x + t) + b  =  (K s) x + (K t + b)

    where K is the kernel of a dense layer, of a convolution or depthwise convolution, or of the first or last linear
    layer in a larger layer, such as attention. On the way to the next linear map they pass through what only moves or
    averages positions: windows, regions, average pooling (and so the last norm goes into the classifier). Where zeros
    come in at a border a shift cannot pass, as it would not reach the zeros: norms before a padded convolution stay,
    those after it go. If several layers read the same norm all of them must be able to take it up. In ResMLP, those
    before and after a linear layer across the positions stay: together they would be a number for each channel and
    position, which makes the model larger and no faster.

    **Linear maps of the same tensor that are added up** are one map, of the sum of their kernels, smaller windows in
    the middle of larger ones, and the tensor itself is the map with the kernel 1:

        K x + L x  =  (K + L) x,        x + K x  =  (1 + K) x

    SPACH's blocks, `x + conv(x)`, are of the latter kind. The average of such maps is one map, too: that of LeViT's two
    classifiers. **Linear maps that follow each other**, `L (K x)`, are merged to `(L K) x` where that has no more
    numbers than both.

    **Layers that hold such sums inside** have a simpler form: RaftMLP's patches of several sizes are one convolution of
    the largest size, a convolution inside SWAT's tokens is part of the linear layer beside it, and PosMLP's mixing
    matrices, which follow from a few weights, are computed once: the model gets larger by them.

    **Dropout**, which stochastic depth is a kind of, does nothing in inference and is left out.

    **Adapters** (LoRA, `enable_lora`) are added to the weights that they adapt.

    Each layer's own file registers what fusion may do with it (`keras_mlp/layers/fusing.py`). A layer stays as it is
    if nothing is registered for it, if it is called more than once, or if Keras has quantised it. Nothing goes into a
    layer that computes with fewer digits: under a mixed policy the preprocessing stays in float32.

    The last norm is in the classifier afterwards. For a pyramid of maps fuse the pyramid,
    `fuse(feature_pyramid(model))`, not the other way round.

    Args:
        model: a functional model, from this package or any other, with models nested in it or not.
        report: whether to tell what was merged.

    Returns:
        A new functional model: an ordinary Keras model of the same input and output, that is not compiled. Layers keep
        their names and dtype policies. `model` is unchanged. With `report`, also a `Fusion`. Fusing it once more
        changes nothing.

        It is for inference. It can be trained, but differently from `model`: without dropout, stochastic depth
        and the statistics of batch norm, and from weights of other sizes. `load_checkpoint` fits the original only.

    Raises:
        ValueError: `model` is not functional.

    Warns:
        UserWarning: `model` is compiled, as if for training.

    Example:
        fast, report = keras_mlp.fuse(keras_mlp.HireMLPSmall(), report=True)
        print(report)
        fast.save("fast.keras")
    """
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            "`model` must be a functional Keras model, or a Sequential one that is built; in others the connections "
            f"of the layers cannot be seen. Received: {model!r}"
        )
    if model.compiled:
        warnings.warn(
            f"Model {model.name!r} is compiled. The fused model is for inference: it has neither optimizer nor losses, "
            "and what batch norm, dropout and stochastic depth do in training is not in it. Train the original.",
            stacklevel=2,
        )
    fused, merges = _fused(model, {})
    if not report:
        return fused
    macs = [_macs(m) for m in (model, fused)]
    return fused, Fusion(tuple(merges), model.count_params(), fused.count_params(), *macs)


def fuse_layers(model: keras.Model, layers, biased=()) -> keras.Model:
    """`fuse` for some of a model's layers: all others are copied as they are.

    Args:
        model: a functional model.
        layers: names of the layers that may change or be left out, the sums between them among them.
        biased: names of those among them that get a bias, be it of zeros, so that the variables of the new model do not
            depend on the values of the old one's.

    Returns:
        A new functional model with the output of `model` in inference. `model` is unchanged.
    """

    def draft(layer, arguments):
        made = Draft.of(layer, arguments)
        if layer.name in biased:
            linear = made.ask(fusing.writes)
            made.change(linear.biased(made.weights), **{linear.switch: True})
        return made

    graph = Graph(model, draft, frozenset(layers))
    apply(graph)
    return graph.build()


def _fused(model, done):
    """`model` fused, the models in it, too, and what was merged; `done` are those that were fused before."""
    merges = []

    def draft(layer, arguments):
        if not is_graph(layer):
            return Draft.of(layer, arguments)
        if id(layer) not in done:
            done[id(layer)], merged = _fused(layer, done)
            merges.extend(merged)
        return Draft(done[id(layer)], None)

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    graph = Graph(model, draft)
    merges += apply(graph)
    return graph.build(), merges


def _macs(model) -> int | None:
    from keras_mlp.analysis import cost  # families are fused by `fuse_layers`, and analysis stands above them

    known = len(model.inputs) == 1 and None not in model.inputs[0].shape[1:]
    return cost(model).macs if known and keras.backend.backend() == "tensorflow" else None
