"""Export to TFLite: what is promised of the files, and of the errors."""

import os
import subprocess
import sys
import warnings
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated

import keras_mlp
from keras_mlp import export


@pytest.fixture(scope="module")
def exported(model, images, tmp_path_factory):
    """`{precision: what to_tflite returned}`, each verified against Keras on the way."""
    folder = tmp_path_factory.mktemp("tflite")
    return {
        precision: export.to_tflite(
            model,
            folder / f"{precision}.tflite",
            precision,
            representative=images if precision in ("int8", "int16x8") else None,
            verify_with=images,
        )
        for precision in export.PRECISIONS
    }


def test_float32_computes_like_keras(model, images, exported):
    answers = export.Runner(exported["float32"].path)(images)
    expected = model.predict(images.astype("float32"), verbose=0)
    assert expected.std() > 0.01
    assert np.abs(answers - expected).max() <= 1e-5 * expected.std()
    assert exported["float32"].verification.max_difference <= 1e-5
    assert exported["float32"].verification.agreement == 1


def test_quantised_files_stay_close(exported):
    assert exported["float16"].verification.max_difference < 1e-2
    assert exported["dynamic_int8"].verification.max_difference < 0.3
    assert exported["int8"].verification.max_difference < 1
    for precision in export.PRECISIONS:
        assert exported[precision].verification.agreement >= 0.9


def test_sixteen_bits_for_activations_are_nearer_than_eight(exported):
    assert exported["int16x8"].verification.max_difference < 0.5 * exported["int8"].verification.max_difference
    assert exported["int16x8"].float_operators == {}


@pytest.mark.slow
def test_sizes_follow_the_bits(mixer, images, tmp_path):
    larger = mixer(dim=128)  # so that the graph itself weighs little
    size = {
        precision: export.to_tflite(larger, tmp_path / "model.tflite", precision, given).size_bytes
        for precision, given in (("float32", None), ("float16", None), ("dynamic_int8", None), ("int8", images))
    }
    assert 0.49 < size["float16"] / size["float32"] < 0.53
    assert 0.24 < size["dynamic_int8"] / size["float32"] < 0.3
    assert 0.24 < size["int8"] / size["float32"] < 0.3


@pytest.mark.slow
def test_what_a_file_says_of_many_channels_alike_it_says_once(mixer, images, tmp_path, monkeypatch):
    """Zero points, eight bytes a channel, are all zero. Weights begin where sixteen bytes can be read at once."""

    def file(name):
        result = export.to_tflite(mixer(dim=128), tmp_path / name, "int8", images)
        return result.size_bytes, export.Runner(result.path)(images), (tmp_path / name).read_bytes()

    size, answers, content = file("shared.tflite")
    monkeypatch.setattr("keras_mlp.export.tflite.shared", lambda content, change: content)
    whole, expected, _ = file("whole.tflite")
    assert size < 0.95 * whole
    np.testing.assert_array_equal(answers, expected)
    model = schema_py_generated.Model.GetRootAsModel(content, 0)
    data = [model.Buffers(i).DataAsNumpy() for i in range(model.BuffersLength()) if model.Buffers(i).DataLength()]
    start = np.frombuffer(content, "uint8").ctypes.data
    assert len(data) > 10 and not any((weights.ctypes.data - start) % 16 for weights in data)


def test_only_built_in_operators(exported):
    for result in exported.values():
        assert result.operators == export.operators(result.path)
        assert result.operators["FULLY_CONNECTED"] == 9  # 2 blocks of 4, and the head
        assert result.operators["GELU"] == 4  # fused
        assert not [name for name in result.operators if name.startswith("Flex") or name == "CUSTOM"]
        assert not {"SHAPE", "PACK", "GATHER", "BATCH_MATMUL"} & set(result.operators)  # static shapes


def test_int8_is_integer_throughout(exported):
    result = exported["int8"]
    assert result.float_operators == {}
    assert (result.operators["QUANTIZE"], result.operators["DEQUANTIZE"]) == (1, 1)  # of the float input and output
    # These two have no fast integer kernel: Keras' own layer norm would leave one of each at every norm.
    assert not {"NEG", "SQUARED_DIFFERENCE"} & set(result.operators)
    assert exported["dynamic_int8"].float_operators["FULLY_CONNECTED"] == 9


@pytest.mark.parametrize(("precision", "input_dtype"), [("float32", "uint8"), ("int8", "float32")])
def test_a_model_is_fused_unless_told_not_to(model, images, precision, input_dtype, tmp_path):
    """The preprocessing goes into the stem: the file takes pixels still, and is compared with the model itself."""
    given = dict(representative=images if precision == "int8" else None, input_dtype=input_dtype, verify_with=images)
    fused, whole = (
        export.to_tflite(model, tmp_path / f"{fuse}.tflite", precision, **given, fuse=fuse) for fuse in (True, False)
    )
    assert (fused.fused, whole.fused) == (True, False)
    assert sum(fused.operators.values()) < sum(whole.operators.values())
    assert fused.size_bytes < whole.size_bytes
    if precision == "float32":
        assert max(fused.verification.max_difference, whole.verification.max_difference) <= 1e-5
    else:
        assert fused.float_operators == whole.float_operators == {}
        assert fused.verification.agreement >= whole.verification.agreement


@pytest.mark.parametrize(
    "policy",
    ["mixed_float16", *(pytest.param(p, marks=pytest.mark.slow) for p in ("mixed_bfloat16", "float16", "float64"))],
)
def test_any_dtype_policy_exports_in_float32(mixer, policy, images, tmp_path):
    model = mixer(dtype=policy)
    before = [weight.copy() for weight in model.get_weights()]
    policies = [layer.dtype_policy.name for layer in model.layers]
    result = export.to_tflite(model, tmp_path / "model.tflite", verify_with=images)
    assert result.verification.max_difference <= 1e-5
    assert "CAST" not in result.operators
    assert [layer.dtype_policy.name for layer in model.layers] == policies
    assert keras.config.dtype_policy().name == "float32"
    for weight, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, was)


def test_global_dtype_policy_is_put_back(model, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        export.to_tflite(model, tmp_path / "model.tflite")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("precision", ["float32", "dynamic_int8", "int8"])
def test_pixels_as_bytes(model, images, exported, precision, tmp_path):
    representative = images if precision == "int8" else None
    result = export.to_tflite(model, tmp_path / "model.tflite", precision, representative, input_dtype="uint8")
    runner = export.Runner(result.path)
    assert runner.input_dtype == "uint8"
    np.testing.assert_allclose(runner(images), export.Runner(exported[precision].path)(images), atol=1e-6)
    with pytest.raises(ValueError, match="whole numbers in 0–255"):
        runner(images + 0.5)
    with pytest.raises(ValueError, match="whole numbers in 0–255"):
        runner(images.astype("int32") + 256)


def test_integer_input_and_output(model, images, tmp_path):
    result = export.to_tflite(
        model, tmp_path / "model.tflite", "int8", images, input_dtype="int8", verify_with=(images, np.arange(64) % 10)
    )
    assert export.Runner(result.path).input_dtype == "int8"
    assert not {"QUANTIZE", "DEQUANTIZE", "CAST"} & set(result.operators)
    assert result.verification.agreement >= 0.9


@pytest.mark.parametrize("batch_size", [1, 5, None])
def test_batch_of_any_length_runs(model, images, batch_size, tmp_path):
    result = export.to_tflite(model, tmp_path / "model.tflite", batch_size=batch_size)
    runner = export.Runner(result.path, threads=2)
    assert runner.input_shape == (batch_size, 32, 32, 3)
    answers = runner(images[:7])
    assert answers.shape == (7, 10)
    assert answers.dtype == "float32"
    np.testing.assert_allclose(answers, model.predict(images[:7].astype("float32"), verbose=0), atol=1e-6)
    if batch_size is None:
        with pytest.raises(ValueError, match="needs a known number of images"):
            export.profile_tflite(result.path)


@pytest.mark.slow
def test_products_of_activations_stay_in_float_where_eight_bits_would_be_slower(images, tmp_path):
    """Attention's, that is. Integers throughout are had if asked for."""
    keras.utils.set_random_seed(0)
    attention = keras_mlp.SPACH(
        8, 16, ((("attention", 1),),), heads=2, input_shape=(32, 32, 3), classes=10, classifier_activation=None
    )
    head = attention.get_layer("head").kernel
    head.assign(keras.random.normal(head.shape))
    given = dict(precision="int8", representative=images, verify_with=images)
    mixed = export.to_tflite(attention, tmp_path / "mixed.tflite", **given)
    assert mixed.float_operators["BATCH_MATMUL"] == mixed.operators["BATCH_MATMUL"] == 2
    assert "FULLY_CONNECTED" not in mixed.float_operators
    labels = attention.predict(images.astype("float32"), verbose=0).argmax(-1)
    searched = export.to_tflite(
        attention,
        tmp_path / "searched.tflite",
        "int8",
        images,
        verify_with=(images, labels),
        max_accuracy_drop=1.0,
    )
    assert searched.float_operators["BATCH_MATMUL"] == 2 and searched.float_layers == ()
    whole = export.to_tflite(attention, tmp_path / "whole.tflite", **given, input_dtype="int8")
    assert "BATCH_MATMUL" not in whole.float_operators


def test_features_nested_and_sequential_models(mixer, images, tmp_path):
    features = mixer(include_top=False)
    result = export.to_tflite(features, tmp_path / "features.tflite", verify_with=images)
    assert result.verification.max_difference <= 1e-5
    assert result.verification.agreement is None
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, name="head")]
    sequential = keras.Sequential([keras.Input((32, 32, 3)), features, *head])
    result = export.to_tflite(sequential, tmp_path / "sequential.tflite", verify_with=images)
    assert result.verification.max_difference <= 1e-5


def test_open_input_size_is_asked_for(images, tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, activation="gelu")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
    with pytest.raises(ValueError, match=r"leaves its input size open: \(None, None, 3\).*`input_shape`"):
        export.to_tflite(model, tmp_path / "model.tflite")
    with pytest.raises(ValueError, match="must fit the model's input"):
        export.to_tflite(model, tmp_path / "model.tflite", input_shape=(32, 32, 1))
    result = export.to_tflite(model, tmp_path / "model.tflite", input_shape=(32, 32, 3), verify_with=images)
    assert result.verification.max_difference <= 1e-5


def test_a_file_tells_what_it_takes_and_gives(model, images, exported, tmp_path):
    classes = [f"class {i}" for i in range(10)]
    about = {"model": "mine", "licence": "Apache-2.0"}
    path = tmp_path / "model.tflite"
    result = export.to_tflite(model, path, classes=classes, metadata=about)
    assert result.size_bytes == path.stat().st_size
    shape = {"input_shape": [1, 32, 32, 3], "input_dtype": "float32", "precision": "float32"}
    shape["output"] = {"kind": "exclusive", "activation": "softmax"}
    assert export.read_metadata(path) == (about | shape, classes)
    with zipfile.ZipFile(path) as archive:  # as any app can
        assert archive.read("labels.txt").decode().split("\n") == [*classes, ""]
    np.testing.assert_array_equal(export.Runner(path)(images), export.Runner(exported["float32"].path)(images))
    assert export.read_metadata(exported["int8"].path)[0]["precision"] == "int8"


ERRORS = {
    "too few class names": (dict(classes=["a"]), "must name the 10 outputs of the model. Received: 1 names"),
    "unknown precision": (
        dict(precision="int4"),
        "must be one of float32, float16, dynamic_int8, int8, int16x8.*'int4'",
    ),
    "int8 without images": (dict(precision="int8"), "needs `representative`"),
    "images without int8": (dict(representative=np.zeros((2, 32, 32, 3))), "needs `representative`"),
    "images of another size": (
        dict(precision="int8", representative=np.zeros((2, 16, 16, 3))),
        r"shape \(n, 32, 32, 3\).*\(2, 16, 16, 3\)",
    ),
    "a single image": (dict(precision="int8", representative=np.zeros((32, 32, 3))), r"shape \(n, 32, 32, 3\)"),
    "no images": (dict(precision="int8", representative=np.zeros((0, 32, 32, 3))), "n > 0"),
    "images of text": (dict(precision="int8", representative=np.full((2, 32, 32, 3), "a")), "finite numbers"),
    "images not finite": (dict(precision="int8", representative=np.full((2, 32, 32, 3), np.nan)), "finite numbers"),
    "images not bytes": (
        dict(precision="int8", representative=np.full((2, 32, 32, 3), -0.5), input_dtype="uint8"),
        "whole pixel values",
    ),
    "fewer images than a batch": (
        dict(precision="int8", representative=np.zeros((2, 32, 32, 3)), batch_size=4),
        "at least one batch of 4",
    ),
    "unknown input dtype": (dict(input_dtype="float64"), "must be one of float32, uint8, int8"),
    "integer input of a float file": (dict(input_dtype="int8"), 'needs `precision="int8"`'),
    "no batch": (dict(batch_size=0), "`batch_size` must be a positive integer"),
    "another input shape": (dict(input_shape=(64, 64, 3)), r"must fit the model's input \(32, 32, 3\)"),
    "verification of another size": (dict(verify_with=np.zeros((2, 16, 16, 3))), "`verify_with` must be images"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_arguments_are_refused(model, case, tmp_path):
    arguments, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        export.to_tflite(model, tmp_path / "model.tflite", **arguments)
    assert not list(tmp_path.iterdir())


def test_bad_paths_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r'must end in "\.tflite".*model\.onnx'):
        export.to_tflite(model, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"There is no folder .*missing"):
        export.to_tflite(model, tmp_path / "missing" / "model.tflite")
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        export.to_tflite(model, tmp_path / "folder.tflite")


def test_models_that_cannot_be_exported_are_refused(tmp_path):
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    inputs = keras.Input((4,))
    two = keras.Model(inputs, [inputs, inputs])
    quantised = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    quantised.quantize("int8")
    for model, message in (
        ("model.keras", "must be a functional Keras model.*'model.keras'.*str"),
        (Subclassed(), "must be a functional Keras model.*Subclassed"),
        (keras.Sequential([keras.layers.Dense(3)]), "must be a functional Keras model, or a sequential one"),
        (two, "1 inputs and 2 outputs"),
        (quantised, "quantised by Keras already"),
    ):
        with pytest.raises(ValueError, match=message):
            export.to_tflite(model, tmp_path / "model.tflite")


def test_another_backend_is_refused():
    script = (
        "import keras, keras_mlp.export\n"
        "model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])\n"
        "keras_mlp.export.to_tflite(model, 'model.tflite')"
    )
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert 'ValueError: Export to TFLite needs the TensorFlow backend. Received: the backend "jax"' in done.stderr


class Matrices(keras.layers.Layer):
    """An operator that TFLite does not have."""

    def call(self, x):
        return keras.ops.slogdet(x)[1]


def test_operators_beyond_the_built_in_ones_leave_no_file(tmp_path):
    inputs = keras.Input((3, 3))
    model = keras.Model(inputs, Matrices()(inputs))
    path = tmp_path / "model.tflite"
    path.write_text("precious")
    with pytest.raises(export.ExportError, match=r"(?s)refused the model.*LogMatrixDeterminant"):
        export.to_tflite(model, path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.tflite"]
    assert path.read_text() == "precious"


def test_failed_verification_leaves_no_file(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.layers[0].kernel.assign(1e6 * np.eye(4))  # beyond what half precision holds
    inputs = np.random.default_rng(0).normal(size=(8, 4))
    with pytest.raises(export.ExportError, match=r"float16 file does not compute like the model: found .*allowed"):
        export.to_tflite(model, tmp_path / "model.tflite", "float16", verify_with=inputs)
    assert not list(tmp_path.iterdir())
    export.to_tflite(model, tmp_path / "model.tflite", "float32", verify_with=inputs)


def test_a_compiled_model_is_exported_without_a_warning(mixer, tmp_path):
    model = mixer()
    model.compile("adam", "categorical_crossentropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert export.to_tflite(model, tmp_path / "model.tflite").fused
    assert model.compiled


def test_conversion_is_silent(mixer, tmp_path, capfd):
    export.to_tflite(mixer(), tmp_path / "model.tflite", "dynamic_int8")
    export.Runner(tmp_path / "model.tflite")
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err == ""


def test_import_is_light():
    script = "import keras_mlp.export, sys; print([m for m in ('ai_edge_litert', 'tensorflow') if m in sys.modules])"
    environment = os.environ | {"KERAS_BACKEND": "jax"}  # under TensorFlow Keras itself imports it
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_file_that_litert_would_die_of_is_refused(images, tmp_path):
    """The difference of numbers ten million times as large: LiteRT aborts where it should multiply them back."""
    image = keras.Input((32, 32, 3))
    large = keras.layers.DepthwiseConv2D(1, use_bias=False, name="large")(image)
    other = keras.layers.DepthwiseConv2D(1, use_bias=False, name="other")(image)
    model = keras.Model(image, keras.layers.Add()([keras.layers.ReLU()(large), keras.layers.ReLU()(other) * -1.0]))
    for name in ("large", "other"):
        model.get_layer(name).kernel.assign(np.full((1, 1, 3, 1), 1e7))
    with pytest.raises(export.ExportError, match="LiteRT cannot load the int8 file"):
        export.to_tflite(model, tmp_path / "model.tflite", "int8", images)
    assert not list(tmp_path.iterdir())
