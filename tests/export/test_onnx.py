"""ONNX files, run by ONNX Runtime."""

import json

import golden
import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from keras_mlp import export
from keras_mlp.export.onnx import OPSETS
from keras_mlp.zoo import FAMILIES


def test_computes_like_keras_for_any_batch(mixer, images, tmp_path):
    model, path = mixer(dtype="mixed_bfloat16"), tmp_path / "model.onnx"
    assert export.to_onnx(model, path) < 1e-4
    float32 = mixer()
    float32.set_weights(model.get_weights())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 5):
        pixels = images[:n].astype("float32")
        (answers,) = session.run(None, {session.get_inputs()[0].name: pixels})
        np.testing.assert_allclose(answers, float32(pixels), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", golden.chosen(sorted(FAMILIES), golden.FEW, pytest.mark.huge))
def test_every_family_becomes_onnx(family, tmp_path):
    case = golden.small(family)
    assert export.to_onnx(golden.build(case), tmp_path / "model.onnx", verify_with=case.images()) < 1e-4


class Matrices(keras.layers.Layer):
    """An operator that ONNX does not have."""

    def call(self, x):
        return keras.ops.slogdet(x)[1]


def test_what_cannot_be_expressed_leaves_no_file(model, tmp_path):
    inputs = keras.Input((3, 3))
    with pytest.raises(export.ExportError, match="could not become ONNX"):
        export.to_onnx(keras.Model(inputs, Matrices()(inputs)), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r'must end in "\.onnx"'):
        export.to_onnx(model, tmp_path / "model.tflite")
    with pytest.raises(ValueError, match=r"must be images of the shape \(n, 32, 32, 3\)"):
        export.to_onnx(model, tmp_path / "model.onnx", verify_with=np.zeros((2, 16, 16, 3)))
    assert not list(tmp_path.iterdir())


def test_inputs_outputs_and_what_it_tells_are_named(model, images, tmp_path):
    path, classes = tmp_path / "model.onnx", [f"kind {i}" for i in range(10)]
    about = {"model": "mine", "preprocessing": {"crop_pct": 0.9}}
    export.to_onnx(model, path, classes=classes, metadata=about, opset=17)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,), (scores,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", ["batch", 32, 32, 3])
    assert (scores.name, scores.shape) == ("scores", ["batch", 10])
    (answers,) = session.run(["scores"], {"image": images[:3].astype("float32")})
    np.testing.assert_allclose(answers, model(images[:3]), atol=1e-5)
    told = session.get_modelmeta().custom_metadata_map  # what any language's ONNX Runtime gives
    assert told["labels"].split("\n") == classes and json.loads(told["metadata"])["model"] == "mine"
    described, names = export.read_onnx_metadata(path)
    assert names == classes and described["input_shape"] == [None, 32, 32, 3]
    assert described["output"]["kind"] == "exclusive" and described["preprocessing"] == {"crop_pct": 0.9}
    assert {entry.domain: entry.version for entry in onnx.load(path).opset_import}[""] == 17


def test_names_and_operators_that_onnx_cannot_have_are_refused(model, tmp_path):
    for options, message in (
        ({"opset": 9}, "`opset` must be one of 15, 16, 17, 18. Received: opset=9"),
        ({"classes": ["a", "b"]}, "must name the 10 outputs"),
        ({"metadata": {"a": {1}}}, "`metadata` must be a dictionary"),
    ):
        with pytest.raises(ValueError, match=message):
            export.to_onnx(model, tmp_path / "model.onnx", **options)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match="text.onnx cannot be read"):
        export.read_onnx_metadata(tmp_path / "text.onnx")


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_is_written(mixer, opset, tmp_path):
    assert export.to_onnx(mixer(), tmp_path / "model.onnx", opset=opset) < 1e-4
