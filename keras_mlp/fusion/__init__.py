"""Fusion: an equal model with fewer operations, for inference."""

import dataclasses
import warnings

import keras

from keras_mlp.analysis import cost
from keras_mlp.fusion.graph import Draft, Graph
from keras_mlp.fusion.rules import RULES, Merge

__all__ = ["Fusion", "Merge", "fuse"]


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
    """TODO"""
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
    fused, merges = _fused(model)
    if not report:
        return fused
    macs = [_macs(m) for m in (model, fused)]
    return fused, Fusion(tuple(merges), model.count_params(), fused.count_params(), *macs)


def _fused(model):
    """`model` fused, the models in it, too, and what was merged."""
    merges = []

    def draft(layer):
        if not isinstance(layer, keras.Model) or not getattr(layer, "inputs", None):
            return Draft.of(layer)
        inner, merged = _fused(layer)
        merges.extend(merged)
        return Draft(inner, None)

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    graph = Graph(model, draft)
    while merge := next(filter(None, (rule(graph) for rule in RULES)), None):
        merges.append(merge)
    return graph.build(), merges


def _macs(model) -> int | None:
    known = len(model.inputs) == 1 and None not in model.inputs[0].shape[1:]
    return cost(model).macs if known and keras.backend.backend() == "tensorflow" else None
