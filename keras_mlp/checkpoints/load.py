"""Strict loading: every tensor of a checkpoint used once, every variable of the model set once."""

import dataclasses
import os
import pathlib
import warnings

import keras
import numpy as np

from keras_mlp import adapters, files, names
from keras_mlp.checkpoints import first_values, fit, hub, keras_weights, layouts, naming, prefixes, readers
from keras_mlp.checkpoints import values as numbers
from keras_mlp.checkpoints.layouts import CheckpointError, Layout
from keras_mlp.checkpoints.untrusted import some
from keras_mlp.layers import activations

HEAD = "head"
"""Name of the classifier's layer in every model."""


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What `load_checkpoint` did.

    Attributes:
        source: the file, or "a dictionary".
        layout: the layout that was recognised, e.g. "mlp_mixer/flax". Where several have all the names, and so load the
            same, it is one of them: a DeiT without a distillation token is in "vit/timm", too.
        loaded: names of the variables that were set.
        resampled: those of them that were resampled from another grid.
        adapted: those of them that were adapted to another number of input channels.
        fresh: names of the variables that keep their initial values (a new head).
        ignored: our names of tensors that were not used: the head of a checkpoint, for a model without one, or the
            tokens in front of a sequence, for one without a head and without such tokens.
        prefix: what stood before the names of all its tensors and was taken off, as "model." or "module.".
    """

    source: str
    layout: str
    loaded: tuple[str, ...]
    resampled: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    prefix: str = ""

    def __str__(self):
        under = f", under the prefix {self.prefix!r}" if self.prefix else ""
        parts = [f"{len(self.loaded)} variables loaded from {self.source} ({self.layout}{under})"]
        for what in ("resampled", "adapted", "fresh", "ignored"):
            if variables := getattr(self, what):
                parts.append(f"{len(variables)} {what} ({some(variables, 3)})")
        return "; ".join(parts)


def load_checkpoint(
    model: keras.Model,
    source,
    *,
    key: str | None = None,
    new_head: bool = False,
    input_size: tuple[int, int] | None = None,
    keep_activation: bool = False,
    family: str | None = None,
) -> LoadReport:
    """Load a published or own checkpoint into `model`, strictly.

    The file is recognised by its content: `.npz`, `.safetensors`, `.pth`/`.pt` (read without PyTorch, no pickle is
    executed), Keras' `.weights.h5`, `.h5` of Keras 2, or a file written by `save_checkpoint`. Its tensor names and axis
    order follow one of the layouts known for the families. A prefix before all of the names ("module.", "backbone.") is
    found and taken off; what lies outside it is left over, unless `key` names it. Weights tied to the grid are
    resampled if the model's input has another size, and the stem is summed or tiled if it has another number of
    channels.

    Args:
        model: a model of this package, or one with its layers and their names.
        source: path of a file, a dictionary `{published name: array}`, or an address on the Hugging Face Hub, as
            "hf://owner/name", "hf://owner/name@revision" or "hf://owner/name@revision/file" (needs the extra "hub").
        key: where the tensors are inside a training checkpoint, e.g. "model_ema" or "state_dict.model"; what else is
            there is left aside. By default the usual places.
        new_head: leave the model's classifier at its initial values and the checkpoint's out, so that a head with
            another number of classes starts fresh on the published backbone.
        input_size: height and width in pixels that the checkpoint was trained at. Needed only for weights tied to a
            grid that is no square, or that has as many positions as the model's in other proportions: without it, a
            grid of as many positions is taken to be the model's, and any other to be a square. Of a checkpoint of the
            hub, its `config.json` tells it.
        keep_activation: by default, if the checkpoint was made for the other form of GELU (exact or tanh), the
            model's layers are set to that form. `True` keeps the model's.
        family: consider the layouts of this family only.

    The file's weights are those of the whole model: adapters (LoRA) that `model` has are set to zero, as Keras does.

    Returns:
        A `LoadReport`. Nothing of `model` has changed if an error is raised.

    Raises:
        CheckpointError: (a `ValueError`) tensors are missing, left over, of another shape, no floating-point numbers,
            not finite or beyond the variable's dtype; it lists them all. Or the file's header asks for an activation
            that is no GELU.
        ValueError: the file cannot be read or is none of these formats.
        FileNotFoundError: there is no such file.
        DownloadError: (an `OSError` and a `ValueError`) the hub has no such checkpoint, or it cannot be fetched.
    """
    named = naming.named_variables(model)
    if of_hub := hub.find(source):
        source, input_size = of_hub, input_size or of_hub.input_size
    described, checkpoint = _open(source, key)
    layout, ours, prefix, left_over = _by_our_names(model, named, described, checkpoint, family)
    activation = getattr(layout, "activation", None) or checkpoint.metadata.get("activation")
    if activation not in (None, *activations.GELU_FORMS):
        raise CheckpointError(
            f"The checkpoint {described} asks for the activation {some([repr(activation)])}, which is none of "
            f"{', '.join(activations.GELU_FORMS)}."
        )

    fresh = {name for name in named if new_head and _of_classifier(name)}
    headless = not any(map(_of_head, named))
    tokens = fit.drop_tokens(named, ours) if headless else []
    ignored = {name for name in ours if (headless and _of_head(name)) or (new_head and _of_classifier(name))}
    if new_head:  # and the norm of a second head that the model has not
        ignored |= {name for name in ours if _of_head(name) and name not in named}
    missing = [name for name in named if name not in ours and name not in fresh]
    left_over += [name for name in ours if name not in named and name not in ignored]
    values, resampled, adapted, different, wrong = {}, [], [], [], []
    for name, (layer, variable) in named.items():
        if name not in ours or name in fresh:
            continue
        if problem := numbers.no_numbers(ours[name], variable):
            wrong.append(f"{name} {problem}")
            continue
        values[name], how = fit.fit(model, layer, variable, ours[name], input_size)
        if how not in (None, "resampled", "adapted"):
            different.append(f"{name} is {how} in the checkpoint, {tuple(variable.shape)} in the model")
            continue
        resampled += [name] * (how == "resampled")
        adapted += [name] * (how == "adapted")
        values[name], problem = numbers.fit(values[name], variable)
        if problem:
            wrong.append(f"{name} {problem}")
    if missing or left_over or different or wrong:
        place = checkpoint.metadata.get("key", "") if checkpoint.format == "pth" else ""
        raise CheckpointError(_complaint(described, layout, missing, left_over, different, wrong, prefix, place))
    if adapted:
        warnings.warn(
            f"The checkpoint was made for {ours[adapted[0]].shape[-2]} input channels and the model has "
            f"{model.inputs[0].shape[-1]}: {', '.join(adapted)} was summed over the channels (one channel) or tiled "
            "and rescaled (more).",
            stacklevel=2,
        )

    _assign([(named[name][1], value) for name, value in values.items()])
    adapters.renew(model)
    if activation and not keep_activation:
        _set_gelu(model, activation)
    return LoadReport(
        described,
        str(layout),
        tuple(values),
        tuple(resampled),
        tuple(adapted),
        tuple(sorted(fresh)),
        (*sorted(ignored), *tokens),
        prefix,
    )


def _open(source, key) -> tuple[str, readers.Checkpoint]:
    """What to call the source of a checkpoint, and its content."""
    if isinstance(source, hub.HubCheckpoint):
        return source.address, readers.read(source.path, key=key)
    if not isinstance(source, dict):
        return str(source), readers.read(source, key=key)
    described = "a dictionary"
    if numbered := [name for name in source if not isinstance(name, str)]:
        raise CheckpointError(f"The names of the tensors in {described} must be texts. Received: {some(numbered)}.")
    try:
        tensors = {name: numbers.as_array(name, value) for name, value in source.items()}
    except ValueError as error:
        raise CheckpointError(f"The tensor {error}.") from error
    return described, readers.select(readers.Checkpoint(tensors, "dict", {}), key, described)


def _by_our_names(model, named, described, checkpoint, family):
    """`(layout, {our name: array}, prefix, names left over)` of a checkpoint."""
    tensors = checkpoint.tensors
    if checkpoint.format == "weights.h5":
        ours, unknown = keras_weights.convert(model, named, tensors, checkpoint.layers)
        if any(name in named for name in ours):
            return keras_weights.LAYOUT, ours, "", unknown
    tensors = prefixes.unwrap(tensors)
    layout, prefix = layouts.recognise(set(named), tensors, layouts.known(family))
    inside = prefixes.strip(tensors, prefix)
    if layout is not layouts.OURS:  # which may hold the whole numbers of quantised layers, as the variables tell
        problems = {key: numbers.no_numbers(inside[key]) for key in layout.places(inside)[0]}
        if wrong := [f"{key} {problem}" for key, problem in problems.items() if problem]:
            raise CheckpointError(_complaint(described, layout, [], [], [], wrong))
    ours, unknown = layout.convert(inside)
    return layout, ours, prefix, [name for name in tensors if not name.startswith(prefix)] + unknown


def _assign(values):
    """Set variables, all or none."""
    before = []
    try:
        for variable, value in values:
            if first_values.is_missing(variable):
                first_values.give(variable, value)
                continue
            before.append((variable, keras.ops.convert_to_numpy(variable)))
            variable.assign(value)
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def save_checkpoint(model_or_tensors, path, **metadata: str):
    """Write weights keyed by our names (layer name and path inside it) to a safetensors file.

    Adapters (LoRA) are added to the weights that they adapt, so the file fits the model with and without them.

    Args:
        model_or_tensors: a model, or `{our name: array}`.
        path: file to write; it appears only once it is whole.
        **metadata: strings kept in the file's header, such as `source` or `activation`.

    Raises:
        ValueError: Keras has quantised layers of the model, so that it has no weights in floating point any more.
    """
    from safetensors.numpy import save_file

    tensors = model_or_tensors
    if isinstance(model_or_tensors, keras.Model):
        if layers := adapters.quantised(model_or_tensors):
            raise ValueError(
                f"Model {model_or_tensors.name!r} was quantised by Keras (layer {layers[0]!r}), and a checkpoint holds "
                "weights in floating point. Save the model itself to a .keras file, or a checkpoint before quantising."
            )
        values = adapters.values(model_or_tensors)
        named = naming.named_variables(model_or_tensors)
        tensors = {name: values[id(variable)].astype(variable.dtype) for name, (_, variable) in named.items()}
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    with files.atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(tensors, os.fspath(temporary), metadata={"format": "keras_mlp", **metadata})
        temporary.chmod(mode)  # safetensors makes a file that nobody else may read


def convert(source, path, layout: Layout, **metadata: str):
    """Convert a published file to our own layout, for every model that it fits.

    Args:
        source: path of the published file.
        path: file to write.
        layout: the layout the published file follows.
        **metadata: further strings for the header.

    Raises:
        CheckpointError: the file holds tensors that the layout does not know.
    """
    tensors = prefixes.unwrap(readers.read(source, key=metadata.pop("key", None)).tensors)
    _, prefix = layouts.recognise(None, tensors, [layout])
    ours, unknown = layout.convert(prefixes.strip(tensors, prefix))
    unknown += [name for name in tensors if not name.startswith(prefix)]
    if unknown:
        raise CheckpointError(_complaint(source, layout, [], unknown, [], prefix=prefix))
    save_checkpoint(ours, path, family=layout.family, layout=layout.name, activation=layout.activation, **metadata)


def _of_head(name: str) -> bool:
    place = names.parse(name.partition("/")[0])
    return place is not None and place.part == "head"


def _of_classifier(name: str) -> bool:
    """Whether it is of the head, and not of what goes with the backbone in it."""
    return _of_head(name) and not names.goes_with_backbone(name.partition("/")[0])


def _set_gelu(model, form):
    """Set every GELU of `model` to `form`; functions compiled with the other form are dropped."""
    changed = False
    for layer in model._flatten_layers():
        if activations.gelu_form(getattr(layer, "activation", None)) not in (None, form):
            layer.activation = activations.get(form)
            changed = True
    if changed:
        model.train_function = model.test_function = model.predict_function = None


def _complaint(source, layout, missing, left_over, different, wrong=(), prefix="", place="") -> str:
    under = f", under the prefix {prefix!r}" if prefix else ""
    lines = [f"The checkpoint {source} (layout {layout}{under}) does not fit the model."]
    if missing:
        lines.append(f"Missing from the checkpoint ({len(missing)}): {some(missing)}.")
    if left_over:
        lines.append(f"Left over in the checkpoint ({len(left_over)}): {some(left_over)}.")
        if prefix:
            lines.append(f"To use only what is under the prefix, pass key={f'{place}.{prefix}'.strip('./')!r}.")
    if different:
        lines.append(f"Of another shape ({len(different)}): {some(different)}.")
        if all(_of_head(line) for line in different) and not missing and not left_over:
            lines.append(
                "Only the head differs: build the model with the checkpoint's number of classes, or pass "
                "`new_head=True` to keep the published backbone and start a fresh head."
            )
    if wrong:
        lines.append(f"No weights of the variable's kind ({len(wrong)}): {some(wrong)}.")
    if layout == keras_weights.LAYOUT:
        lines.append("A Keras weights file fits only a model of the same layers in the same order.")
    return "\n".join(lines)


def head_bias(checkpoint: readers.Checkpoint, family: str) -> np.ndarray | None:
    """The bias of the classifier in a checkpoint of `family`, or `None` where its names do not tell."""
    for group, layer in checkpoint.layers.items():
        if names.local(layer) == HEAD:
            return checkpoint.tensors.get(f"{group}/1")
    tensors = prefixes.unwrap(checkpoint.tensors)
    for prefix in prefixes.candidates(tensors):
        inside = prefixes.strip(tensors, prefix)
        for layout in layouts.known(family):
            try:
                places = layout.places(inside)[0]
            except CheckpointError:  # not this one
                continue
            for key, (name, _) in places.items():
                if name == f"{HEAD}/bias":
                    return inside[key]
    return None


def is_file(source) -> bool:
    """Whether `source` names an existing file."""
    return isinstance(source, str | os.PathLike) and pathlib.Path(source).expanduser().is_file()
