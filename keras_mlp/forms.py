"""The forms in which a model can run on a machine, in one table; `keras_mlp.export.forms` makes them.

Nothing is imported here, so that the commands can tell of them before Keras is.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Form:
    """One of them.

    Args:
        name: what commands call it.
        told: how a user comes to it in Python.
        backend: Keras' backend that it needs.
        precisions: what it can compute in.
    """

    name: str
    told: str
    backend: str = "tensorflow"
    precisions: tuple[str, ...] = ("float32", "bfloat16")


_TABLE = (
    Form("graph", "model.predict(images)"),
    Form("frozen", "keras_mlp.fast(model)(images)"),
    Form(
        "litert",
        'export.to_tflite(model, "model.tflite"); export.Runner("model.tflite", threads)(images)',
        precisions=("float32", "int8"),
    ),
    Form(
        "openvino",
        'export.to_openvino(model, "model.openvino"); export.OpenVINORunner("model.openvino", threads)(images)',
        precisions=("float32", "bfloat16", "int8"),
    ),
    Form("onnxruntime", 'export.to_onnx(keras_mlp.fuse(model), "model.onnx")', precisions=("float32",)),
    Form("frozen_xla", "keras_mlp.fast(model, jit_compile=True)(images)"),
    Form("xla", "model.compile(jit_compile=True); model.predict(images)"),
    Form("jax", "KERAS_BACKEND=jax; keras_mlp.fast(model)(images)", backend="jax"),
    Form("torch_compile", "KERAS_BACKEND=torch; keras_mlp.fast(model, jit_compile=True)(images)", backend="torch"),
    Form("fused", "keras_mlp.fuse(model).predict(images)"),
    Form("fused_xla", "fused = keras_mlp.fuse(model); fused.compile(jit_compile=True); fused.predict(images)"),
)

FORMS = {form.name: form for form in _TABLE}
"""All forms by name, in the order in which `keras-mlp benchmark` tries them: TensorFlow's, then the files that were
fastest most often (docs/speed.md), then the forms that have to be compiled."""

PRECISIONS = ("float32", "bfloat16", "int8")
"""All precisions that forms compute in."""
