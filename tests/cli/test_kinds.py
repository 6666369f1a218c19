"""`predict` and `export` of exclusive, binary and multi-label classifiers, however they end."""

import keras
import numpy as np
import pytest
from endings import CASES, SHAPE, images, model_of, truth

from keras_mlp import export
from keras_mlp.classifiers import BINARY, EXCLUSIVE, KINDS, MULTI_LABEL, Output
from keras_mlp.export import runtime


@pytest.mark.parametrize("kind", KINDS)
def test_predict_gives_the_probabilities_of_every_ending(command, tmp_path, kind):
    picture = tmp_path / "colour.png"
    keras.utils.save_img(picture, np.full((9, 9, 3), (200, 30, 90)), scale=False)
    pixels = np.full((1, *SHAPE), (200, 30, 90), "float32")
    probabilities = truth(kind, pixels)[1][0]
    for number, ending in enumerate(ending for of, ending in CASES if of == kind and ending != "an unknown function"):
        file = tmp_path / f"{number}.keras"
        model_of(kind, ending).save(file)
        words = ["--threshold=0.000001"] if kind == MULTI_LABEL else []
        (row,) = command("predict", f"--model={file}", *words, picture).rows
        scores = {int(prediction["id"]): prediction["score"] for prediction in row["predictions"]}
        assert scores == pytest.approx(dict(enumerate(probabilities)), abs=1e-5), ending
        order = [prediction["score"] for prediction in row["predictions"]]
        assert order == sorted(order, reverse=True)
    if kind == MULTI_LABEL:
        (row,) = command("predict", f"--model={file}", f"--threshold={probabilities.max() - 1e-3}", picture).rows
        assert [prediction["id"] for prediction in row["predictions"]] == [str(probabilities.argmax())]
        (row,) = command("predict", f"--model={file}", "--threshold=0.999999", picture).rows
        assert row["predictions"] == []
        (row,) = command("predict", f"--model={file}", "--nomulti_label", picture).rows
        assert sum(prediction["score"] for prediction in row["predictions"]) == pytest.approx(1, abs=1e-4)
    if kind == BINARY:
        above, below = (
            command("predict", f"--model={file}", f"--threshold={probabilities[1] + step}", picture).rows[0]
            for step in (1e-3, -1e-3)
        )
        assert [row["predictions"][0]["id"] for row in (above, below)] == ["0", "1"]
    if kind == EXCLUSIVE:
        outcome = command("predict", f"--model={file}", "--threshold=0.5", picture)
        assert outcome.code == 2 and "--threshold goes with" in outcome.err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", ["half of a sum of two", "logits"])
def test_exported_files_are_verified_and_know_what_they_give(command, tmp_path, kind, ending):
    given = np.rint(images(64))
    model, file = model_of(kind, ending), tmp_path / "model.tflite"
    output = Output.of(model)
    answers = model.predict(given, verbose=0)
    labels = output.decisions(answers)
    flipped = labels.copy()
    flipped[:16] = (flipped[:16] + 1) % 2  # another class, whichever it was
    classes = ["one", "other", "third"][: output.classes]
    exported = export.to_tflite(
        model, file, "int8", given, verify_with=(given, flipped), max_accuracy_drop=0.1, classes=classes
    )
    found = exported.verification
    assert found.keras_accuracy == 0.75 and found.agreement > 0.9 and found.tflite_accuracy >= 0.65
    told, _ = export.read_metadata(file)
    assert told["output"] == {"kind": kind, "activation": output.activation}

    picture = tmp_path / "colour.png"
    keras.utils.save_img(picture, np.full((9, 9, 3), (200, 30, 90)), scale=False)
    probabilities = truth(kind, np.full((1, *SHAPE), (200, 30, 90), "float32"))[1][0]
    words = ["--threshold=0.000001"] if kind == MULTI_LABEL else []
    (row,) = command("predict", f"--model={file}", *words, picture).rows
    scores = {prediction["class"]: prediction["score"] for prediction in row["predictions"]}
    assert scores == pytest.approx(dict(zip(classes, probabilities, strict=True)), abs=0.05)

    answers = runtime.Runner(file)(given)  # as of a file that tells nothing
    unknown = Output.of_numbers(answers, MULTI_LABEL if (kind, ending) == (MULTI_LABEL, "logits") else None)
    assert unknown == output


def test_an_onnx_file_knows_what_only_the_saved_loss_tells(command, tmp_path):
    model_of(BINARY, "logits").save(tmp_path / "model.keras")
    result = command("export", f"--model={tmp_path}/model.keras", f"--output={tmp_path}/model.onnx")
    assert result.code == 0, result.err
    told, classes = export.read_onnx_metadata(tmp_path / "model.onnx")
    assert told["output"]["kind"] == BINARY and len(classes) == 2


def test_a_file_that_tells_nonsense_of_its_output_is_refused(command, tmp_path, picture):
    file = tmp_path / "model.tflite"
    export.to_tflite(model_of(BINARY, "an operation"), file, metadata={"model": "mine"})
    content = file.read_bytes()
    for told in ({"kind": "fuzzy"}, [], {"kind": "exclusive", "activation": "softmax"}):
        file.write_bytes(content[: content.index(b"PK\x03\x04")])
        export.attach_metadata(file, {"output": told})
        outcome = command("predict", f"--model={file}", picture)
        assert outcome.code == 1 and len(outcome.err.splitlines()) == 1 and "Traceback" not in outcome.err


TRAIN = ("train", "--model=mlp_mixer", "--image_size=8", "--recipe=digits", "--precision=float32", "--batch_size=16")
TRAIN += ("--change=mixup=0.2,random_resized_crop=None", "--epochs=6", "--learning_rate=0.02", "--warmup_epochs=0")
SMALL = "--config=patch_size=4,dim=16,depth=1"


def test_a_multi_label_model_is_trained_measured_used_and_exported(command, tmp_path):
    colours, run = tmp_path / "colours", tmp_path / "run"
    colours.mkdir()
    table = ["file,red,green,blue"]
    for number in range(80):
        truth = [number // 2**place % 2 for place in range(3)]
        keras.utils.save_img(colours / f"{number}.png", np.full((9, 9, 3), np.multiply(truth, 200)), scale=False)
        table.append(",".join([f"{number}.png", *map(str, truth)]))
    (colours / "labels.csv").write_text("\n".join(table))

    outcome = command(*TRAIN, SMALL, "--multi_label", "--check_data", f"--dataset={colours}", f"--output={run}")
    assert outcome.code == 0, outcome.err
    assert f"{run}/best.keras: mean average precision " in outcome.out and "validation loss" in outcome.out
    assert "| epoch | loss | mean average precision |" in (run / "report.md").read_text()
    assert (run / "classes.txt").read_text().split() == ["red", "green", "blue"]
    last = keras.models.load_model(run / "last.keras")
    assert Output.of(last) == Output(MULTI_LABEL, "sigmoid", 3)

    measured = []
    exported = command(
        "export",
        f"--model={run / 'best.keras'}",
        f"--output={run / 'best.tflite'}",
        "--precision=int8",
        f"--representative={colours}",
        "--max_accuracy_drop=0.1",
    )
    assert exported.code == 0, exported.err
    assert "the same decision on a class for " in exported.out
    for file in ("best.keras", "best.tflite"):
        (result,) = command("evaluate", f"--model={run / file}", f"--dataset={colours}").rows
        assert result["images"] == 16
        assert result["average_precision"] > 0.9
        measured.append(result["average_precision"])
        (row,) = command("predict", f"--model={run / file}", "--threshold=0.0001", colours / "5.png").rows
        assert {found["class"] for found in row["predictions"][:2]} == {"red", "blue"}
    assert measured[0] == pytest.approx(measured[1], abs=0.1)
    outcome = command(*TRAIN, SMALL, f"--dataset={colours}", f"--output={tmp_path / 'other'}")
    assert outcome.code == 1 and "--multi_label" in outcome.err and not (tmp_path / "other").exists()
    outcome = command(*TRAIN, SMALL, "--multi_label", "--weights=x.npz", f"--dataset={colours}", f"--output={run}")
    assert outcome.code == 2 and "add --new_head" in outcome.err


def test_two_classes_are_trained_with_one_unit(command, tmp_path):
    for name, level in (("dark", 40), ("light", 210)):
        (tmp_path / "two" / name).mkdir(parents=True)
        for number in range(24):
            pixels = np.full((9, 9, 3), level + number)
            keras.utils.save_img(tmp_path / "two" / name / f"{number}.png", pixels, scale=False)
    words = [*TRAIN, f"--dataset={tmp_path / 'two'}"]
    outcome = command(*words, f"{SMALL},classes=1", f"--output={tmp_path / 'refused'}")
    assert outcome.code == 1 and "classes=2, or with classes=1 and classifier_activation" in outcome.err
    assert not (tmp_path / "refused").exists()

    run = tmp_path / "run"
    outcome = command(*words, f"{SMALL},classes=1,classifier_activation=sigmoid", f"--output={run}")
    assert outcome.code == 0, outcome.err
    assert "best.keras: accuracy " in outcome.out
    (result,) = command("evaluate", f"--model={run / 'best.keras'}", f"--dataset={tmp_path / 'two'}").rows
    assert result["accuracy"] == result["auc"] == 1
    for name in ("dark", "light"):
        (row,) = command("predict", f"--model={run / 'best.keras'}", tmp_path / "two" / name / "3.png").rows
        first, second = row["predictions"]
        assert first["class"] == name and first["score"] + second["score"] == pytest.approx(1, abs=1e-5)
    outcome = command("predict", f"--model={run / 'best.keras'}", "--threshold=1", tmp_path / "two")
    assert outcome.code == 2


def test_a_table_of_one_class_is_as_good_as_two_classes(command, tmp_path):
    table = ["file,bright"]
    for number in range(10):
        keras.utils.save_img(tmp_path / f"{number}.png", np.full((9, 9, 3), 250 * (number % 2)), scale=False)
        table.append(f"{number}.png,{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(table))
    (tmp_path / "classes.txt").write_text("bright\n")
    inputs = keras.Input(SHAPE)
    brightness = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255, -0.5)(inputs))
    head = keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")
    keras.Model(inputs, head(brightness)).save(tmp_path / "best.keras")
    words = [f"--model={tmp_path / 'best.keras'}", "--threshold=0.6"]
    (result,) = command("evaluate", *words, f"--dataset={tmp_path}", "--split=all").rows
    assert result == {"images": 10, "accuracy": 1.0, "auc": 1.0}
    (row,) = command("predict", *words, tmp_path / "1.png").rows
    assert [found["class"] for found in row["predictions"]] == ["bright", "not bright"]


def test_a_multi_label_model_is_measured_on_data_of_one_class_an_image_too(command, tmp_path):
    for name, colour in (("blue", 2), ("green", 1), ("red", 0)):
        (tmp_path / "pure" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.zeros((9, 9, 3)) + 250 * (np.arange(3) == colour)
            keras.utils.save_img(tmp_path / "pure" / name / f"{number}.png", pixels, scale=False)
    inputs = keras.Input(SHAPE)
    colours = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255, -0.5)(inputs))
    head = keras.layers.Dense(3, "sigmoid", kernel_initializer=lambda shape, dtype=None: np.eye(3)[:, ::-1])
    model = keras.Model(inputs, head(colours))
    head.kernel_initializer = keras.initializers.Zeros()
    model.save(tmp_path / "model.keras")
    words = ["evaluate", f"--model={tmp_path / 'model.keras'}", f"--dataset={tmp_path / 'pure'}", "--split=all"]
    assert command(*words).rows == [{"images": 6, "top1": 1.0}]
    outcome = command(*words, "--threshold=0.4")
    assert outcome.code == 2 and "--threshold has no meaning" in outcome.err
    outcome = command(*words, "--multi_label")
    assert outcome.code == 1 and "There is no labels.csv in" in outcome.err
