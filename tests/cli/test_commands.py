"""`list`, `info`, `predict`, `convert`, `export` and `benchmark`."""

import json
import shutil

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import export
from keras_mlp.checkpoints import readers
from keras_mlp.cli import console, forms, models


@pytest.fixture
def terminal(monkeypatch):
    """As if a person saw the output."""
    monkeypatch.setattr(console, "for_a_person", lambda: True)


def test_list_writes_a_model_a_line(command):
    rows = command("list").rows
    assert [row["name"] for row in rows] == keras_mlp.list_models()
    row = next(row for row in rows if row["name"] == "mlp_mixer_b16")
    card = keras_mlp.model_card("mlp_mixer_b16")
    assert (row["parameters"], row["macs"], row["weights"]) == (card.parameters, card.macs, list(card.weights))
    assert (row["best_top1"], row["best_top1_exact"]) == (82.314, True)


def test_list_filters(command):
    assert [row["name"] for row in command("list", "b*", "--family=mlp_mixer").rows] == []
    assert [row["name"] for row in command("list", "mlp_mixer_b*").rows] == ["mlp_mixer_b16", "mlp_mixer_b32"]
    large = command("list", "*mixer*", "--weights=imagenet21k").rows
    assert {row["name"] for row in large} == {"mlp_mixer_b16", "mlp_mixer_l16"}
    assert {len(row["input_shape"]) for row in command("list", "--input=video").rows} == {4}


def test_list_shows_a_person_a_table(command, terminal):
    header, first, *_ = command("list", "--family=mlp_mixer").out.splitlines()
    assert header.split() == ["name", "title", "params", "MACs", "input", "top-1", "weights"]
    assert first.startswith("mlp_mixer_b16  Mixer-B/16   59.9 M   12.60 G  224×224  82.31 %  imagenet")


def test_list_marks_what_is_not_exact_and_says_what_the_mark_means(command, terminal):
    out = command("list", "bimlp_s").out
    assert "~70.00 %" in out and "~ is not exact" in out
    assert "~" not in command("list", "mlp_mixer*").out
    out = command("info", "bimlp_s").out
    assert "~70.00 % (ImageNet-1k)" in out and "not exact: remembered" in out


def test_info_tells_all_that_the_card_holds(command):
    out = command("info", "mlp_mixer_b16").out
    card = keras_mlp.model_card("mlp_mixer_b16")
    for value in (card.paper.url, f"{card.parameters:,}", f"{card.macs:,}", card.recipe.source):
        assert value in out
    for tag, weights in card.weights.items():
        assert f'weights="{tag}"' in out and weights.url in out
    assert json.loads(command("info", "mlp_mixer_b16", "--json").out)["weights"]["imagenet_miil"]["top1"] == 82.314


@pytest.fixture
def pictures(tmp_path, picture):
    """A folder as people have them: images, folders in it, hidden files, other files, broken ones."""
    folder = tmp_path / "pictures"
    random = np.random.default_rng(0)
    for name in ("b.jpg", "deep/er/a.png", "deep/c.bmp", ".hidden.png", ".hidden/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(folder / name, random.uniform(0, 255, (60, 48, 3)), scale=False)
    (folder / "notes.txt").write_text("not an image")
    (folder / "half.jpg").write_bytes((folder / "b.jpg").read_bytes()[:500])
    return folder


def test_predict_names_what_it_cannot_read_and_goes_on(command, tiny, pictures):
    result = command("predict", f"--model={tiny}", "--batch_size=2", pictures, "nowhere.png")
    assert result.code == 1
    assert [row["file"] for row in result.rows] == [
        str(pictures / name) for name in ("b.jpg", "deep/c.bmp", "deep/er/a.png")
    ]
    *errors, summary = result.err.splitlines()
    assert len(errors) == 3 and summary == "keras-mlp: 3 of 6 files could not be read"
    for name, line in zip(("half.jpg", "notes.txt", "nowhere.png"), sorted(errors), strict=True):
        assert name in line


def test_predict_gives_the_scores_of_the_model(command, tiny, picture):
    result = command("predict", f"--model={tiny}", "--top=2", picture)
    (row,) = result.rows
    assert result.code == 0 and not result.err
    grey = np.full((1, 32, 32, 3), 128, "float32")
    expected = keras.models.load_model(tiny).predict(grey, verbose=0)[0]
    best = np.argsort(-expected)[:2]
    assert [prediction["id"] for prediction in row["predictions"]] == [str(i) for i in best]
    np.testing.assert_allclose([prediction["score"] for prediction in row["predictions"]], expected[best], atol=1e-4)


def test_predict_takes_another_image_size(command, tiny, picture):
    assert command("predict", f"--model={tiny}", "--image_size=48,64", picture).code == 0
    result = command("predict", f"--model={tiny}", "--image_size=30", picture)
    assert result.code == 1 and "multiple of the patch size 8" in result.err


def test_export_then_predict_and_benchmark_the_file(command, tiny, pictures, tmp_path):
    for precision in ("float32", "int8"):
        file = tmp_path / f"{precision}.tflite"
        result = command(
            "export", f"--model={tiny}", f"--output={file}", f"--precision={precision}", f"--representative={pictures}"
        )
        assert result.code == 0 and f"{precision}, " in result.out
        assert "on 3 representative images: the same class for " in result.out
    (keras_row,) = command("predict", f"--model={tiny}", pictures / "b.jpg").rows
    (file_row,) = command("predict", f"--model={tmp_path / 'float32.tflite'}", pictures / "b.jpg").rows
    assert [p["score"] for p in file_row["predictions"]] == pytest.approx(
        [p["score"] for p in keras_row["predictions"]], abs=1e-5
    )

    rows = command("benchmark", tmp_path / "int8.tflite", "--threads=1,2", "--runs=3", "--json").rows
    assert [row["threads"] for row in rows] == [1, 2] and all(0 < row["median_ms"] <= row["p90_ms"] for row in rows)
    assert all(row["peak_memory_MB"] > 0 for row in rows)
    rows = command("benchmark", tmp_path / "float32.tflite", "--threads=1", "--runs=3", "--profile", "--json").rows
    assert {row["threads"] for row in rows} == {1} and "GELU (NC)" in {row["operator"] for row in rows}
    table = command("benchmark", tmp_path / "float32.tflite", "--threads=1", "--runs=3", "--profile").out.splitlines()
    assert table[0].split() == ["threads", "operator", "kernels", "count", "ms", "percent"] and len(table) > 5
    assert "goes with a .tflite file" in command("benchmark", tiny, "--profile").err


def test_an_exported_file_knows_its_classes_and_preprocessing(command, tiny, picture, tmp_path):
    """Though nothing else goes with it."""
    from keras_mlp import export

    (tmp_path / "trained").mkdir()
    shutil.copy(tiny, tmp_path / "trained" / "best.keras")
    (tmp_path / "trained" / "classes.txt").write_text("ant\nbee\ncat\n")
    assert command("export", f"--model={tmp_path}/trained/best.keras", f"--output={tmp_path}/insects.tflite").code == 0
    (row,) = command("predict", f"--model={tmp_path}/insects.tflite", picture).rows
    assert {prediction["class"] for prediction in row["predictions"]} == {"ant", "bee", "cat"}
    told, classes = export.read_metadata(tmp_path / "insects.tflite")
    assert classes == ["ant", "bee", "cat"] and told["preprocessing"]["crop_pct"] == 0.875


def test_export_measures_what_int8_costs(command, tiny, tmp_path):
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("ant", "bee", "cat"):
            (tmp_path / "insects" / part / name).mkdir(parents=True)
            for i in range(2):
                pixels = random.integers(0, 256, (32, 32, 3))
                keras.utils.save_img(tmp_path / "insects" / part / name / f"{i}.png", pixels, scale=False)
    words = ["export", f"--model={tiny}", f"--output={tmp_path}/tiny.tflite", f"--representative={tmp_path}/insects"]
    result = command(*words, "--precision=int8", "--max_accuracy_drop=1", "--layer_errors")
    assert result.code == 0 and "on 6 evaluation images" in result.out and "kept in float: none" in result.out
    header, *rows = result.out[result.out.index("layer  ") :].splitlines()
    assert header.split() == ["layer", "error", "in", "%", "in", "its", "operator"]
    errors = [float(row.split()[1]) for row in rows]
    assert len(errors) > 5 and errors == sorted(errors, reverse=True)
    for flag in ("--max_accuracy_drop=0.1", "--layer_errors"):
        result = command(*words, flag)
        assert result.code == 2 and "go with --precision=int8" in result.err
    assert command(*words, "--precision=int8", "--max_accuracy_drop=5").code == 2


def test_a_pyramid_is_exported_and_is_no_classifier(command, tiny, pictures, tmp_path):
    keras_mlp.feature_pyramid(keras.models.load_model(tiny)).save(tmp_path / "pyramid.keras")
    path = tmp_path / "pyramid.tflite"
    out = command("export", f"--model={tmp_path / 'pyramid.keras'}", f"--output={path}").out
    assert "largest difference" in out and "the same class" not in out
    assert list(export.Runner(path).output_names) == export.read_metadata(path)[0]["named_outputs"]
    for model in ("pyramid.keras", "pyramid.tflite"):
        assert "is no classifier" in command("predict", f"--model={tmp_path / model}", pictures).err


def test_export_to_onnx_and_to_a_saved_model(command, tiny, tmp_path):
    result = command("export", f"--model={tiny}", f"--output={tmp_path}/tiny.onnx")
    assert result.code == 0 and "on 16 random images: largest difference" in result.out
    assert "fused" not in result.out
    assert "fused: " in command("export", f"--model={tiny}", f"--output={tmp_path}/tiny.onnx", "--fuse").out
    result = command("export", f"--model={tiny}", f"--output={tmp_path}/served", "--frozen")
    assert result.code == 0 and (tmp_path / "served" / "saved_model.pb").is_file()


@pytest.mark.slow
def test_openvinos_files_take_the_place_of_the_model(command, tiny, tmp_path):
    picture = tmp_path / "noise.png"
    keras.utils.save_img(picture, np.random.default_rng(0).integers(0, 256, (32, 32, 3)), scale=False)
    path = tmp_path / "tiny.openvino"
    result = command("export", f"--model={tiny}", f"--output={path}", "--precision=float16")
    assert result.code == 0 and "float16, fused" in result.out and "on 16 random images: the same class" in result.out
    answers = [command("predict", f"--model={model}", picture).rows[0]["predictions"] for model in (tiny, path)]
    kept, read = ({row["class"]: row["score"] for row in rows} for rows in answers)
    assert read == pytest.approx(kept, abs=1e-2) and kept.keys() == read.keys()
    result = command("export", f"--model={tiny}", f"--output={tmp_path}/tiny.onnx", "--precision=float16")
    assert result.code == 2 and "--precision goes with a .tflite file and with OpenVINO's" in result.err


def test_a_model_that_is_asked_often_is_frozen_and_computes_the_same(tiny, monkeypatch):
    monkeypatch.setattr(models, "_PAYS", 3)
    ask = models._Network(keras.saving.load_model(tiny), batch_size=2)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    before, after = ask(images), ask(images)
    assert ask._frozen is not None and before.shape == after.shape == (3, 3)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_export_of_the_fused_model_computes_alike(command, tiny, tmp_path):
    picture = tmp_path / "noise.png"  # an even grey would be all rounding error to layer norm
    keras.utils.save_img(picture, np.random.default_rng(0).integers(0, 256, (32, 32, 3)), scale=False)
    for flags, said in (((), ", fused, "), (("--nofuse",), ", not fused, ")):
        file = tmp_path / f"model{''.join(flags)}.tflite"
        result = command("export", f"--model={tiny}", f"--output={file}", *flags)
        assert result.code == 0 and said in result.out
    answers = [
        command("predict", f"--model={tmp_path}/model{flag}.tflite", picture).rows[0] for flag in ("", "--nofuse")
    ]
    fused, whole = ([prediction["score"] for prediction in row["predictions"]] for row in answers)
    assert fused == pytest.approx(whole, abs=1e-5)


def test_benchmark_of_a_keras_model(command, tiny):
    rows = command("benchmark", tiny, "--batch_size=1,4", "--runs=3", "--json").rows
    assert [row["batch_size"] for row in rows] == [1, 4] and all(row["images_per_second"] > 0 for row in rows)


def test_benchmark_tells_the_fastest_form_for_each_batch(command, tiny, monkeypatch):
    monkeypatch.setattr(forms, "_SHARE", 6000)  # a form is timed shortly, and the time is not over on a slow machine
    result = command("benchmark", tiny, "--forms=graph,frozen", "--batch_size=1,2", "--seconds=600", "--json")
    assert [row["batch_size"] for row in result.rows] == [1, 1, 2, 2]
    for first, second in zip(result.rows[::2], result.rows[1::2], strict=True):
        assert {first["form"], second["form"]} == {"graph", "frozen"}
        assert first["images_per_second"] >= second["images_per_second"] > 0
    told = forms.recommendation(result.rows).splitlines()
    assert [line.partition(" in a call: ")[0] for line in told] == [
        "fastest here with 1 image",
        "fastest here with 2 images",
    ]


def test_benchmark_names_forms_that_it_leaves_out(command, tiny):
    result = command("benchmark", tiny, "--forms=onnxruntime", "--precision=bfloat16")
    assert result.code == 1 and "onnxruntime: left out, it computes in float32" in result.err
    result = command("benchmark", tiny, "--forms=graph,litert", "--seconds=0")
    assert result.code == 1 and "graph: left out, the 0 seconds are over; --seconds gives more" in result.err
    result = command("benchmark", tiny, "--forms=fast")
    assert result.code == 2 and "--forms: 'fast' is not known. It takes: all, graph, frozen" in result.err
    assert command("benchmark", tiny, "--precision=int8").code == 2


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize(
    ("precision", "fit"),
    [("float32", ["openvino", "litert", "onnxruntime", "jax", "frozen_xla"]), ("int8", ["openvino", "litert"])],
)
def test_benchmark_times_the_forms_of_all_runtimes(command, tiny, precision, fit):
    words = [f"--forms={','.join(fit)}", f"--precision={precision}", "--batch_size=2", "--seconds=200", "--json"]
    result = command("benchmark", tiny, *words)
    assert {row["form"] for row in result.rows} == set(fit), result.err


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file in the authors' layout, for Mixer-S/32 with a head of seven classes."""
    state = golden.load("mlp_mixer/mixer_s32_224_npz.json").state_dict()
    state["head/kernel"], state["head/bias"] = state["head/kernel"][:, :7], state["head/bias"][:7]
    path = tmp_path_factory.mktemp("published") / "mixer.npz"
    np.savez(path, **state)
    return path


def test_convert_writes_what_loads_to_the_same_weights(command, published, tmp_path):
    output = tmp_path / "mixer.safetensors"
    result = command("convert", published, "--model=mlp_mixer_s32", f"--output={output}")
    assert result.code == 0
    assert "npz, layout mlp_mixer/flax, 102 tensors, 7 classes" in result.out and "102 variables" in result.out
    assert readers.read(output).metadata["activation"] == "gelu_tanh"
    models = [keras_mlp.MLPMixerS32(weights=str(path), classes=7) for path in (published, output)]
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_convert_refuses_what_does_not_fit(command, published, tmp_path):
    output = tmp_path / "mixer.safetensors"
    result = command("convert", published, "--model=mlp_mixer_s16", f"--output={output}")
    assert result.code == 1 and "stem/kernel is (32, 32, 3, 512) in the checkpoint" in result.err
    result = command("convert", published, "--model=mlp_mixer_s32", "--image_size=64", f"--output={output}")
    assert result.code == 1 and "--image_size" in result.err
    assert not output.exists()
