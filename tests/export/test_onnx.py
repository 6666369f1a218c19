"""ONNX files, run by ONNX Runtime."""

import golden
import keras
import numpy as np
import onnxruntime
import pytest

from keras_mlp import export
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
