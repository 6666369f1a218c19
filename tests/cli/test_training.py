"""`train` and `evaluate`, and what can be done with the model that they leave."""

import csv
import json

import keras
import numpy as np
import pytest

import keras_mlp

TRAIN = (
    "train",
    "--model=mlp_mixer",
    "--config=patch_size=2,dim=16,depth=1",
    "--dataset=digits",
    "--image_size=8",
    "--precision=float32",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return f"--data_dir={tmp_path_factory.mktemp('data')}"


def test_train_then_evaluate_predict_and_export(command, data_dir, picture, tmp_path):
    run = tmp_path / "run"
    outcome = command(
        *TRAIN,
        "--epochs=3",
        "--batch_size=128",
        "--learning_rate=0.01",
        "--change=mixup=0.1",
        f"--output={run}",
        data_dir,
    )
    assert outcome.code == 0, outcome.err
    recipe = json.loads((run / "recipe.json").read_text())
    assert (recipe["epochs"], recipe["batch_size"], recipe["learning_rate"], recipe["mixup"]) == (3, 128, 0.01, 0.1)
    with open(run / "log.csv") as file:
        best = max(float(row["val_top1"]) for row in csv.DictReader(file))
    assert best > 0.2
    assert f"best.keras: top-1 {100 * best:.2f} % of 359 images" in outcome.out

    (result,) = command("evaluate", f"--model={run / 'best.keras'}", "--dataset=digits", data_dir).rows
    assert result["images"] == 359 and result["top1"] == pytest.approx(best)
    file = run / "best.tflite"
    exported = command(
        "export", f"--model={run / 'best.keras'}", f"--output={file}", "--representative=digits", "--samples=20"
    )
    assert exported.code == 0 and "on 20 representative images" in exported.out
    assert command("evaluate", f"--model={file}", "--dataset=digits", data_dir).rows == [result]

    (row,) = command("predict", f"--model={file}", "--top=20", picture).rows
    assert {prediction["class"] for prediction in row["predictions"]} == set("0123456789")

    other = command(*TRAIN, "--epochs=1", f"--output={run}", data_dir)
    assert other.code == 1 and "holds a run with other settings (" in other.err and "epochs: 3, now 1" in other.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--config=patch_sise=2"], 2, "patch_sise"),
        (["--config=deep"], 2, "--config is a list of name=value"),
        (["--recipe=mine"], 2, "mine"),
        (["--change=mixupp=0.1"], 2, "a recipe has no mixupp. It has: source, optimizer"),
        (["--dataset=digitz", "--recipe=digits"], 1, "near it: digits"),
        (["--split=tran"], 1, "no split 'tran'"),
        (["--model=mlp_mixr"], 1, "Did you mean 'mlp_mixer"),
        (["--image_size=9"], 1, "multiple of the patch size 2"),
        (["--weights=imagenet"], 1, "no weights are published"),
        (["--teacher=none.keras"], 1, "no file none.keras"),
        (["--distillation=warm"], 2, "warm"),
    ],
)
def test_mistakes_are_told_in_one_line(command, data_dir, tmp_path, words, code, told):
    outcome = command(*TRAIN, *words, "--epochs=1", f"--output={tmp_path / 'run'}", data_dir)
    assert outcome.code == code and told in outcome.err.splitlines()[-1] and "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_student_learns_from_a_teacher_in_a_file(command, data_dir, tmp_path):
    """It is wrong in all it says, and the student then, too."""
    inputs = keras.Input((4, 4, 3))
    teacher = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    teacher.layers[-1].set_weights([np.zeros((48, 10)), np.eye(10)[7]])
    teacher.save(tmp_path / "teacher.keras")
    words = [*TRAIN, f"--teacher={tmp_path / 'teacher.keras'}", "--epochs=1", "--learning_rate=0.02", data_dir]
    words += [f"--output={tmp_path / 'run'}", "--distillation=soft", "--temperature=0.1"]
    outcome = command(*words, "--teacher-share=1")
    assert outcome.code == 0, outcome.err
    student = keras.models.load_model(tmp_path / "run" / "best.keras")
    pixels = np.random.default_rng(0).uniform(0, 255, (20, 8, 8, 3))
    assert (student.predict(pixels, verbose=0).argmax(-1) == 7).all()
    other = command(*words, "--teacher-share=0.5")
    assert other.code == 1 and "teacher_share: 1.0, now 0.5" in other.err
    (tmp_path / "classes.txt").write_text("\n".join("0123456798"))
    other = command(*words)
    assert other.code == 1 and "are not those of digits, or in another order" in other.err


@pytest.mark.slow
def test_a_dynamic_vit_learns_the_tokens_of_its_backbone(command, data_dir, tmp_path):
    """It begins with the teacher's weights, at next to no rate here."""
    sizes = dict(kind="convnext", patch_size=2, dims=(8, 12, 16), depths=(1, 1, 2), layer_scale=None)
    teacher = keras_mlp.DynamicViT(**sizes, pruning=(), input_shape=(16, 16, 3), classes=10)
    teacher.save(tmp_path / "teacher.keras")
    config = ",".join(f"{name}={value!r}" for name, value in (sizes | {"pruning": (1,)}).items())
    words = [*TRAIN[:1], "--model=dynamic_vit", *TRAIN[2:], f"--config={config}", "--image_size=16", data_dir]
    words += [f"--teacher={tmp_path / 'teacher.keras'}", "--distillation=tokens", f"--output={tmp_path / 'run'}"]
    rate = ["--learning_rate=1e-12", "--change=final_learning_rate=0.0", "--epochs=1", "--warmup_epochs=0"]
    outcome = command(*words, *rate)
    assert outcome.code == 0, outcome.err
    student = keras.models.load_model(tmp_path / "run" / "last.keras")
    kernels = [model.get_layer("stages_2_1_channel_mixing_fc1").kernel for model in (student, teacher)]
    np.testing.assert_allclose(*kernels, atol=1e-6)
    plain = command(*words, *TRAIN[1:3], "--overwrite")
    assert plain.code == 1 and "chooses among tokens" in plain.err


@pytest.mark.slow
def test_a_classifier_begins_with_what_was_learnt_without_labels(command, data_dir, tmp_path):
    """At next to no rate, so that what it begins with is seen."""
    method = ("--epochs=1", "--warmup_epochs=0", "--batch_size=256", "--dim=8", "--hidden=16")
    learnt = command("pretrain", *TRAIN[1:], *method, f"--output={tmp_path / 'learnt'}", data_dir)
    assert learnt.code == 0, learnt.err
    assert "contrastive loss" in learnt.out
    assert "| epoch | loss | validation loss | file |" in (tmp_path / "learnt" / "report.md").read_text()
    encoder = keras.models.load_model(tmp_path / "learnt" / "last.keras")
    weights = tmp_path / "learnt" / "encoder.safetensors"
    words = [f"--weights={weights}", "--new_head", "--learning_rate=1e-12", "--change=final_learning_rate=0.0"]
    words += ["--epochs=1", "--warmup_epochs=0"]
    outcome = command(*TRAIN, *words, f"--output={tmp_path / 'run'}", data_dir)
    assert outcome.code == 0, outcome.err
    classifier = keras.models.load_model(tmp_path / "run" / "last.keras")
    for old, new in zip(encoder.get_weights(), classifier.get_weights(), strict=False):
        np.testing.assert_allclose(old, new, atol=1e-6)
    again = command("pretrain", *TRAIN[1:], *method, "--momentum=0.5", f"--output={tmp_path / 'learnt'}", data_dir)
    assert again.code == 1 and "momentum: 0.99, now 0.5" in again.err


@pytest.mark.slow
@pytest.mark.parametrize("task", ["train", "pretrain"])
def test_rematerialised_mlps_change_nothing_but_the_memory(command, data_dir, tmp_path, monkeypatch, task):
    recomputed = []
    remat = keras.remat
    monkeypatch.setattr(keras, "remat", lambda function: recomputed.append(function) or remat(function))
    folders = {name: tmp_path / name for name in ("kept", "remat")}
    # Not AdamW, which makes steps of full length of what gradients that should be 0 round to.
    method = ["--change=optimizer=sgd", "--epochs=1", "--warmup_epochs=0", "--batch_size=256"]
    method += {"train": ["--learning_rate=1"], "pretrain": ["--learning_rate=0.1", "--dim=8", "--hidden=16"]}[task]
    for name, folder in folders.items():
        words = [task, *TRAIN[1:], *method, f"--output={folder}", data_dir]
        outcome = command(*words, *(["--remat"] if name == "remat" else []))
        assert outcome.code == 0, outcome.err
        assert bool(recomputed) == (name == "remat")
    kept, remat = (keras.models.load_model(folder / "last.keras").get_weights() for folder in folders.values())
    for one, other in zip(kept, remat, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_broken_images_are_reported_before_skipped_while_and_named_after_training(command, tmp_path):
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(40):
            keras.utils.save_img(
                tmp_path / "pictures" / name / f"{i}.png", np.full((9, 9, 3), 128 * label + i), scale=False
            )
    (tmp_path / "pictures" / "dark" / "no.png").write_bytes(b"no picture")
    (tmp_path / "pictures" / "dark" / "notes.txt").write_text("no picture")
    words = ["train", "--model=mlp_mixer", "--config=patch_size=4,dim=8,depth=1", "--recipe=digits", "--image_size=8"]
    words += [f"--dataset={tmp_path / 'pictures'}", "--split=all", "--validation=none", "--batch_size=20", "--epochs=2"]
    outcome = command(*words, "--check-data", "--broken_share=0.02", f"--output={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    assert "81 images of 2 classes, 40 to 41 each\n  dark 41, light 40\n  1 unreadable" in outcome.out
    report = (tmp_path / "run" / "report.md").read_text()
    assert "1 of 81 images cannot be read: " in outcome.out and "dark/no.png: not an image" in outcome.out
    assert "no.png" in report and "no.png: not an image" in report
    told = f"1 file is left out: 1 not an image ({tmp_path}/pictures/dark/notes.txt)"
    assert outcome.out.count(told) == 2 and told in report  # once by the check, and once in the log

    (tmp_path / "pictures" / "light" / "no.png").write_bytes(b"no picture")
    refused = command(*words, f"--output={tmp_path / 'other'}")
    assert refused.code == 1 and "2 of 82 images cannot be read" in refused.err and "At most 1" in refused.err
    found = command("evaluate", f"--model={tmp_path / 'run' / 'best.keras'}", *words[5:7])
    assert found.code == 1 and "2 of 82 images cannot be read" in found.err


def test_evaluate_refuses_data_of_other_classes(command, data_dir, tiny):
    outcome = command("evaluate", f"--model={tiny}", "--dataset=digits", data_dir)
    assert outcome.code == 1 and "digits has 10 classes" in outcome.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "--weights=imagnet_gsam"], "Did you mean 'imagenet_gsam'"),
        (["train", "--weights=imagenet"], "'imagenet_gsam' of 'mlp_mixer_s32' could not be fetched"),
        (["train", "--weights=none.pth"], "path of an existing weights file"),
        (["train", "--teacher=none.keras"], "There is no file none.keras"),
        (["train", "--teacher=mlp_mixer_b61"], "Did you mean 'mlp_mixer_b16'"),
        (["train", "--teacher=mlp_mixer_s16"], "'imagenet_gsam' of 'mlp_mixer_s16' could not be fetched"),
        (["pretrain", "--weights=imagenet"], "'imagenet_gsam' of 'mlp_mixer_s32' could not be fetched"),
    ],
)
def test_what_training_starts_from_is_looked_for_before_the_data(command, cache, tmp_path, monkeypatch, words, told):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("KERAS_MLP_MIRROR", str(tmp_path / "empty"))
    folder = tmp_path / "data"
    outcome = command(*words, "--model=mlp_mixer_s32", "--dataset=digits", f"--data_dir={folder}", "--output=run")
    assert outcome.code == 1 and outcome.err.count("\n") == 1 and told in outcome.err
    assert not folder.exists()


def test_too_few_images_for_the_recipe_are_told_with_what_to_do(command, data_dir, tmp_path):
    words = ["--model=mlp_mixer_s32", "--dataset=digits", "--split=train[:288]", "--recipe=published"]
    outcome = command("train", *words, data_dir, f"--output={tmp_path / 'run'}")
    assert outcome.code == 1 and not outcome.out
    for part in ("has 288 images, too few for one batch of 4096", "--batch_size=32", "--recipe=finetune"):
        assert part in outcome.err
