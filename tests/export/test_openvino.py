"""OpenVINO's files, run by OpenVINO."""

import dataclasses

import golden
import numpy as np
import openvino
import pytest

import keras_mlp
from keras_mlp import export
from keras_mlp.export import runners
from keras_mlp.precisions import LIMITS
from keras_mlp.zoo import FAMILIES

IMAGES = sorted(name for name, family in FAMILIES.items() if family.input == "image")
REFUSED = {"sparse_mlp"}
"""On processors with VNNI, OpenVINO 2026.4 cannot run what its quantiser makes of it."""


def error(found, expected):
    return np.abs(found - expected).max() / np.std(expected)


@pytest.mark.parametrize("precision", ["float32", pytest.param("float16", marks=pytest.mark.slow)])
def test_computes_like_keras_for_any_batch(mixer, images, precision, tmp_path):
    model, path = mixer(dtype="mixed_bfloat16"), tmp_path / "model.openvino"
    found = export.to_openvino(model, path, precision)
    assert found.images == 2 and found.max_difference < export.LIMITS[precision].max_difference
    assert sorted(file.name for file in path.iterdir()) == ["openvino_model.bin", "openvino_model.xml"]
    float32 = mixer()
    float32.set_weights(model.get_weights())
    run = export.runner(path, threads=2)
    assert (run.input_shape, run.output_shape, run.output_names) == ((None, 32, 32, 3), (None, 10), None)
    for n in (1, 40):
        assert error(run(images[:n]), np.asarray(float32(images[:n]))) < export.LIMITS[precision].max_difference
    assert export.verify(model, path, images).agreement == 1


@pytest.mark.slow
def test_eight_bits_are_smaller_and_agree(mixer, images, tmp_path):
    model = mixer(dim=64)
    export.to_openvino(model, tmp_path / "exact.openvino")
    found = export.to_openvino(
        model, tmp_path / "rounded.openvino", "int8", representative=images[:32], verify_with=images
    )
    sizes = [(tmp_path / f"{name}.openvino" / "openvino_model.bin").stat().st_size for name in ("exact", "rounded")]
    assert sizes[1] < 0.5 * sizes[0] and 1e-4 < found.max_difference < 2 and found.images == 64


@pytest.mark.slow
@pytest.mark.parametrize("family", golden.chosen(IMAGES, ("g_mlp", "ccs_mlp", "cmt", "sparse_mlp"), pytest.mark.huge))
def test_every_family_is_quantised_or_refused(family, tmp_path, monkeypatch):
    """The biases are large, because NNCF corrects large ones only. The scores on noise are too close for a best one."""
    monkeypatch.setitem(LIMITS, "int8", dataclasses.replace(LIMITS["int8"], agreement=0.0))
    case = golden.small(family)
    model, random = golden.build(case), np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith("bias"):
            weight.assign(random.choice([-1.0, 1.0], weight.shape) * random.uniform(0.5, 1.0, weight.shape))
    images = random.integers(0, 256, (16, *model.input_shape[1:]))
    try:
        export.to_openvino(model, tmp_path / "model.openvino", "int8", representative=images)
    except export.ExportError as error:
        assert family in REFUSED and "cannot run what its quantiser made" in str(error)
        assert not list(tmp_path.iterdir())


def test_what_it_tells_of_itself_is_read_back(model, tmp_path):
    path, classes = tmp_path / "model.openvino", [f"kind {i}" for i in range(10)]
    about = {"model": "mine", "preprocessing": {"crop_pct": 0.9}, "licence": 'of "Ä" & <B>'}
    export.to_openvino(model, path, classes=classes, metadata=about)
    described, names = export.read_openvino_metadata(path)
    assert names == classes and described["output"]["kind"] == "exclusive"
    assert about.items() <= described.items() and described["input_shape"] == [None, 32, 32, 3]
    read = openvino.Core().read_model(path / runners.OPENVINO_FILE)  # as anybody reads it
    assert [port.get_any_name() for port in (*read.inputs, *read.outputs)] == ["image", "scores"]


def test_outputs_with_names_keep_them(mixer, images, tmp_path):
    model = keras_mlp.features(mixer(include_top=False), blocks=(0, -1))
    export.to_openvino(model, tmp_path / "model.openvino")
    found, expected = export.runner(tmp_path / "model.openvino")(images[:2]), model(images[:2])
    assert set(found) == set(expected)
    for name, maps in found.items():
        assert error(maps, np.asarray(expected[name])) < 1e-4


def test_what_does_not_fit_is_refused_and_leaves_no_files(model, images, tmp_path):
    path = tmp_path / "model.openvino"
    for options, message in (
        ({"path": tmp_path / "model.xml"}, r'`path` must end in ".openvino"'),
        ({"precision": "int4"}, "`precision` must be one of float32, float16, int8. Received: precision='int4'"),
        ({"precision": "int8"}, '`precision="int8"` needs `representative`'),
        ({"representative": images}, "no other takes them. Received: precision='float32'"),
        ({"classes": ["a", "b"]}, "must name the 10 outputs"),
        ({"verify_with": np.zeros((2, 16, 16, 3))}, r"must be images of the shape \(n, 32, 32, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            export.to_openvino(**{"model": model, "path": path} | options)
    with pytest.raises(ValueError, match="There is no .*openvino_model.xml. Make one with"):
        export.runner(path)
    with pytest.raises(ValueError, match="`precision` must be one of float32, bfloat16. Received: precision='int8'"):
        export.OpenVINORunner(path, precision="int8")
    path.mkdir()
    (path / runners.OPENVINO_FILE).write_text("no model")
    with pytest.raises(ValueError, match="OpenVINO cannot read"):
        export.runner(path)


@pytest.mark.slow
@pytest.mark.parametrize("family", golden.chosen(sorted(FAMILIES), golden.FEW, pytest.mark.huge))
def test_every_family_becomes_openvinos(family, tmp_path):
    case = golden.small(family)
    found = export.to_openvino(golden.build(case), tmp_path / "model.openvino", verify_with=case.images())
    assert found.max_difference < 1e-4
