"""The rules of fusion. Each finds one place in a graph, changes it, and says what it did; `None` if there is none."""

import dataclasses

import keras
import numpy as np

from keras_mlp.fusion.graph import Draft
from keras_mlp.layers import fusing


@dataclasses.dataclass(frozen=True)
class Merge:
    """One thing that was merged.

    Attributes:
        layer: name of the layer that is gone, or that has less to do.
        how: "dropped", "simpler form", "scale and shift", "parallel branch" or "consecutive layer".
        into: names of the layers that have taken it up.
    """

    layer: str
    how: str
    into: tuple[str, ...] = ()

    def __str__(self):
        return f"{self.layer}: {self.how}" + (f", into {' and '.join(self.into)}" if self.into else "")


def drop_idle(graph):
    """Dropout and its like, which stochastic depth is one of, do nothing in inference."""
    for call in graph.calls:
        if not graph.chosen(call) or call.kwargs.get("training"):
            continue
        if call.draft.ask(fusing.idle) and _keeps_dtype(call):
            graph.remove(call)
            return Merge(call.draft.name, "dropped")


def simplify(graph):
    """A layer gives way to its simpler form."""
    for call in graph.calls:
        if not graph.free(call) or len(call.inputs) != 1:
            continue
        draft = call.draft
        form = draft.ask(fusing.simpler, draft.weights, call.inputs[0].shape)
        if not form:
            continue
        *first, last = [Draft(layer, weights) for layer, weights in form]
        for before in first:
            source = call.inputs[0]
            shape = before.layer.compute_output_shape(source.shape)
            graph.insert_before(call, before, keras.KerasTensor(shape, source.dtype))
        call.draft = last
        graph.changed()
        return Merge(draft.name, "simpler form", tuple(part.name for part in (*first, last)))


def fold_scale(graph):
    """A scale and shift of each channel goes into the linear map before it, or into all the linear maps after it."""
    for call in graph.calls:
        # Numbers that are no floating-point ones become so in the layer.
        if not graph.free(call) or len(call.inputs) != 1 or not keras.backend.is_float_dtype(call.inputs[0].dtype):
            continue
        draft, channels = call.draft, call.inputs[0].shape[-1]
        found = draft.ask(fusing.affine, draft.weights, channels)
        if not found:
            continue
        scale, shift, rest = found
        whole = rest is None and _keeps_dtype(call)
        into = (whole and _backward(graph, call, scale, shift)) or _forward(graph, call, scale, shift)
        if into:
            for other, weights in into:
                _set(other, weights)
            if rest is None:
                graph.remove(call)
            else:
                draft.change({}, **rest)
            return Merge(draft.name, "scale and shift", tuple(other.name for other, _ in into))


def _backward(graph, call, scale, shift):
    """`[(draft, its new weights)]` of the layer that is scaled, if that is a linear map and for this call only."""
    before = graph.producer(call.inputs[0])
    if before is None or not graph.free(before) or len(graph.consumers(call.inputs[0])) != 1:
        return None
    linear = before.draft.ask(fusing.writes)
    if not linear or not _holds(before, call):
        return None
    return [(before.draft, linear.after(before.draft.weights, scale, shift))]


def _forward(graph, call, scale, shift):
    """`[(draft, its new weights)]` of the layers that take what `call` gives, if all are linear in it."""

    def push(tensor, scale, shift):
        found = []
        for after in graph.consumers(tensor):
            if after is None or not graph.free(after):
                return None
            # Inputs of which only the size matters may be scaled as they like.
            sizes = after.draft.ask(fusing.sizes) or ()
            here = [i for i, taken in enumerate(after.inputs) if taken is tensor and i not in sizes]
            if not here:
                continue
            maps = after.draft.ask(fusing.reads)
            apart = (*sizes, *((maps and after.draft.ask(fusing.beside)) or ()))
            if len(here) != 1 or here != [i for i in range(len(after.inputs)) if i not in apart]:
                return None
            if maps:
                weights = after.draft.weights
                for linear in maps:
                    weights = weights and linear.before(weights, scale, shift)
                if weights is None or not _holds(after, call):
                    return None
                found.append((after.draft, weights))
            else:
                carried = after.draft.ask(fusing.carries, scale, shift, tensor.shape)
                further = carried and push(after.outputs[0], *carried)
                if further is None:
                    return None
                found += further
        return found

    return push(call.outputs[0], scale, shift)


def merge_branches(graph):
    """Of several linear maps of one tensor that are added up, one map is made; the tensor itself counts as one."""
    for call in graph.calls:
        if type(call.draft.layer) is not keras.layers.Add or not graph.chosen(call):
            continue
        addends = list(_addends(graph, call))
        for _, kept in addends:
            branch = _branch(graph, kept)
            if branch is None:
                continue
            source, draft = branch.inputs[0], branch.draft
            for place, other in addends:
                twin = _branch(graph, other)
                if other is source:
                    twin_draft = None
                elif twin and twin is not branch and twin.inputs[0] is source and _holds(branch, twin):
                    twin_draft = twin.draft
                else:
                    continue
                weights = draft.ask(
                    fusing.plus,
                    draft.weights,
                    twin_draft and twin_draft.layer,
                    twin_draft and twin_draft.weights,
                    source.shape,
                )
                if weights is None:
                    continue
                _set(draft, weights)
                if twin_draft:
                    graph.calls.remove(twin)
                _drop_addend(graph, place, other)
                name = twin_draft.name if twin_draft else "identity beside " + draft.name
                return Merge(name, "parallel branch", (draft.name,))


def merge_average(graph):
    """The average of linear maps of one tensor is one map."""
    for call in graph.calls:
        if type(call.draft.layer) is not keras.layers.Average or not graph.chosen(call):
            continue
        branches = [_branch(graph, tensor) for tensor in call.inputs]
        if None in branches or len({(tensor.shape, tensor.dtype) for tensor in (*call.inputs, *call.outputs)}) > 1:
            continue
        kept, *others = branches
        weights, source = kept.draft.weights, kept.inputs[0]
        if not all(other.inputs[0] is source and _holds(kept, other) for other in others):
            continue
        for other in others:
            more = other.draft.layer, other.draft.weights, source.shape
            weights = weights and kept.draft.ask(fusing.plus, weights, *more)
        if not weights:
            continue
        channels = call.outputs[0].shape[-1]
        share, nothing = np.full(channels, 1 / len(branches)), np.zeros(channels)
        _set(kept.draft, kept.draft.ask(fusing.writes).after(weights, share, nothing))
        for other in others:
            graph.calls.remove(other)
        call.args, call.kwargs = ([call.inputs[0]],), {}
        graph.changed()
        graph.remove(call)
        return Merge(" and ".join(other.draft.name for other in others), "parallel branch", (kept.draft.name,))


def _addends(graph, call):
    """`(call of Add, tensor)` of all that is added up as it is, sums that only serve this one opened."""
    for tensor in call.inputs:
        before = graph.producer(tensor)
        inner = before and type(before.draft.layer) is keras.layers.Add and len(graph.consumers(tensor)) == 1
        if inner and graph.free(before):
            yield from _addends(graph, before)
        elif (tensor.shape, tensor.dtype) == (call.outputs[0].shape, call.outputs[0].dtype):
            yield call, tensor


def _branch(graph, tensor):
    """The call that gives `tensor` for one sum alone, and is nothing but a linear map of its input."""
    call = graph.producer(tensor)
    alone = call and graph.free(call) and len(call.inputs) == 1 and len(graph.consumers(tensor)) == 1
    if not alone:
        return None
    return call if call.draft.ask(fusing.reads) == (call.draft.ask(fusing.writes),) else None


def _drop_addend(graph, call, tensor):
    """Leave `tensor` out of a sum; a sum of one is none."""
    left = list(call.inputs)
    left.pop(next(i for i, other in enumerate(left) if other is tensor))
    call.args, call.kwargs = (left,), {}
    graph.changed()
    if len(left) == 1:
        graph.remove(call)


def _set(draft, weights):
    """Give a layer its new weights, and the biases that it did not have."""
    maps = {*(draft.ask(fusing.reads) or ()), draft.ask(fusing.writes)} - {None}
    new = {linear.switch: True for linear in maps if linear.bias in weights and linear.bias not in draft.weights}
    draft.change(weights, **new)


def _keeps_dtype(call) -> bool:
    return call.outputs[0].dtype == call.inputs[0].dtype


def _holds(call, other) -> bool:
    """Whether `call` computes with no fewer digits than `other`, so that it can take over what that does."""
    return _bytes(call.draft.layer) >= _bytes(other.draft.layer)


def _bytes(layer) -> int:
    """How long the numbers are that a layer computes with."""
    return int("".join(filter(str.isdigit, layer.compute_dtype.removeprefix("b")))) // 8


def merge_consecutive(graph):
    """Two linear maps that follow each other are one, where that has no more numbers to multiply with than both."""
    for call in graph.calls:
        before = graph.producer(call.inputs[0]) if len(call.inputs) == 1 and graph.free(call) else None
        if before is None or not graph.free(before) or len(graph.consumers(call.inputs[0])) != 1:
            continue
        first, second = before.draft, call.draft
        found = second.plain and first.ask(fusing.then, first.weights, second.layer, second.weights)
        if not found or not _holds(before, call) or not _keeps_dtype(call):
            continue
        weights, settings = found
        if weights["kernel"].size <= first.weights["kernel"].size + second.weights["kernel"].size:
            first.change(weights, **settings)
            graph.remove(call)
            return Merge(second.name, "consecutive layer", (first.name,))


def apply(graph) -> list[Merge]:
    """Fuse a graph, and say what was done: the rules in turn, over and over, until none finds a place."""
    merges = []
    while merge := next(filter(None, (rule(graph) for rule in RULES)), None):
        merges.append(merge)
    return merges


RULES = (drop_idle, simplify, fold_scale, merge_branches, merge_average, merge_consecutive)
