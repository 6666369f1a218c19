"""What an .onnx file calls its inputs and outputs, and what it tells of itself."""

import json
import os

from keras_mlp.checkpoints.untrusted import refusing
from keras_mlp.extras import need
from keras_mlp.labels import check_names

IMAGE, SCORES, BATCH = "image", "scores", "batch"
_DESCRIPTION, _LABELS = "metadata", "labels"


def name(model, outputs: list[str], description: dict, classes: list[str] | None):
    """Name inputs, outputs and the axis of the batch, and write the description into the file.

    Args:
        model: an `onnx.ModelProto` of one input; it is changed.
        outputs: names of the outputs, in their order.
        description: what JSON has.
        classes: names of the classes, in the order of the outputs.
    """
    graph = model.graph
    names = {graph.input[0].name: IMAGE} | dict(zip((value.name for value in graph.output), outputs, strict=True))
    inside = {value for node in graph.node for value in [*node.input, *node.output]}
    for taken in (inside & set(names.values())) - names.keys():  # a value of the graph that has such a name
        names[taken] = f"inner_{taken}"
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for value in [*graph.input, *graph.output, *graph.value_info]:
        value.name = names.get(value.name, value.name)
    for constant in graph.initializer:
        constant.name = names.get(constant.name, constant.name)
    for value in [*graph.input, *graph.output]:
        first = value.type.tensor_type.shape.dim[:1]
        if first and not first[0].dim_value:
            first[0].dim_param = BATCH
    told = {_DESCRIPTION: json.dumps(description, ensure_ascii=False)}
    if classes is not None:
        check_names(classes)
        told[_LABELS] = "\n".join(classes)
    need("onnx", extra="onnx").helper.set_model_props(model, told)


def read_onnx_metadata(path: str | os.PathLike) -> tuple[dict, list[str] | None]:
    """What an .onnx file of `to_onnx` tells of itself.

    In other languages it is in the model's custom metadata: "metadata" is a JSON object, "labels" a name a line.

    Args:
        path: the file.

    Returns:
        The description, and the names of the classes; `{}` and `None` for a file that tells none.

    Raises:
        ValueError: it is no ONNX file, or what it tells is damaged.
        FileNotFoundError: there is no such file.
    """
    onnx = need("onnx", extra="onnx")
    path = os.path.expanduser(path)
    with refusing(path):
        told = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
        described = json.loads(told.get(_DESCRIPTION, "{}"))
        if not isinstance(described, dict):
            raise ValueError("its metadata are no JSON object")
        return described, told[_LABELS].split("\n") if _LABELS in told else None
