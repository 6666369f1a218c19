"""Training into a folder, and evaluation."""

import csv
import dataclasses
import json
import re

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from keras_mlp.training import callbacks, train
from keras_mlp.training.folder import FILES


def test_a_run_writes_its_folder_and_learns(digits, small_model, tmp_path, plain):
    model, data, test = small_model(), digits(batch_size=256), digits("test")
    history = train.fit(model, data, test, plain, tmp_path / "run", verbose=0)
    assert not model.jit_compile  # "auto" on a CPU, where XLA is slow at depthwise convolutions
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(FILES)

    assert history.history["loss"][-1] < history.history["loss"][0]
    assert history.history["val_top1"][-1] > 0.7
    with open(tmp_path / "run" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["val_top1"]) for row in rows] == pytest.approx(history.history["val_top1"])
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    # The rate of the last step, for a batch twice the recipe's.
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"]) < 0.02

    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe == json.loads(
        json.dumps(
            dataclasses.asdict(dataclasses.replace(plain, batch_size=256, learning_rate=0.02, final_learning_rate=2e-5))
        )
    )
    assert (tmp_path / "run" / "classes.txt").read_text().split() == list("0123456789")
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")

    (file,) = (tmp_path / "run" / "tensorboard" / "validation").iterdir()
    events = [event_pb2.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))]
    assert [event.step for event in events for value in event.summary.value if value.tag == "epoch_top1"] == [0, 1, 2]
    report = (tmp_path / "run" / "report.md").read_text()
    best = int(np.argmax(history.history["val_top1"]))
    accuracy = f"{history.history['val_top1'][best]:.2%}"
    assert re.search(rf"\| best, {best + 1} \|.* {accuracy} \| `best.keras` \|", report)
    assert "| learning_rate | 0.02 |" in report


def test_videos_are_trained_on_as_images_are(digits, tmp_path, plain):
    def still(images):
        videos = images.dataset.map(lambda images, labels: (tf.repeat(images[:, tf.newaxis], 3, axis=1), labels))
        return dataclasses.replace(images, dataset=videos)

    layers = [keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((3, 8, 8, 1)), *layers])
    train.fit(model, still(digits()), still(digits("test")), plain, tmp_path, verbose=0)
    assert "3 frames of 8×8 pixels in 1 channels" in (tmp_path / "report.md").read_text()
    assert train.evaluate(model, still(digits("test")), verbose=0)["top1"] > 0.5


def test_tensorboard_has_each_epoch_as_soon_as_it_ends(digits, small_model, tmp_path, plain):
    """So that a killed run has lost none."""
    known = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            (file,) = (tmp_path / "tensorboard" / "train").iterdir()
            records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
            known.append({event_pb2.Event.FromString(record).step for record in records})

    recipe = dataclasses.replace(plain, epochs=2)
    train.fit(small_model(), digits(), None, recipe, tmp_path, callbacks=[Look()], verbose=0)
    assert known == [{0}, {0, 1}]


def test_best_is_the_epoch_of_highest_validation_accuracy(digits, small_model, tmp_path, plain):
    """A rate that is far too high at the end ruins the last epochs."""
    recipe = dataclasses.replace(plain, epochs=4, schedule="linear", learning_rate=1e-2, final_learning_rate=30.0)
    test = digits("test")
    history = train.fit(small_model(), digits(), test, recipe, tmp_path, verbose=0)
    accuracies = history.history["val_top1"]
    assert accuracies[-1] < max(accuracies), accuracies
    best, last = (keras.models.load_model(tmp_path / f"{name}.keras") for name in ("best", "last"))
    assert train.evaluate(best, test, verbose=0)["top1"] == pytest.approx(max(accuracies))
    assert train.evaluate(last, test, verbose=0)["top1"] == pytest.approx(accuracies[-1])


def test_best_loads_in_a_process_that_has_only_imported_the_package(digits, small_model, tmp_path, plain):
    train.fit(small_model(), digits(), None, dataclasses.replace(plain, epochs=1), tmp_path, verbose=0)
    code = f"import keras, keras_mlp; print(keras.models.load_model({str(tmp_path / 'best.keras')!r}).count_params())"
    found = processes.run(["-c", code])
    assert int(found.stdout) == small_model().count_params()


@pytest.mark.parametrize("stop_early", [pytest.param(False, marks=pytest.mark.slow), True])
def test_with_a_moving_average_all_results_are_the_averages(digits, small_model, tmp_path, stop_early, plain):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = stop_early and epoch == 1

    model, test = small_model(), digits("test")
    recipe = dataclasses.replace(plain, ema_decay=0.9, schedule="constant")
    history = train.fit(model, digits(), test, recipe, tmp_path, callbacks=[Stop()], verbose=0)
    assert len(history.history["loss"]) == (2 if stop_early else 3)
    for found in (model, *(keras.models.load_model(tmp_path / f"{name}.keras") for name in ("best", "last"))):
        assert train.evaluate(found, test, verbose=0)["loss"] == pytest.approx(
            history.history["val_loss"][-1], rel=1e-4
        )


def test_the_same_seed_gives_the_same_weights(digits, small_model, tmp_path, plain):
    found = []
    for name in ("one", "other"):
        model = small_model()
        train.fit(model, digits(mixup=0.2), None, dataclasses.replace(plain, epochs=1), tmp_path / name, verbose=0)
        found.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_allclose(*found, atol=1e-6)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_what_was_saved(digits, small_model, tmp_path, plain):
    class Poison(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if (self.epoch, batch) == (1, 3):
                self.model.get_layer("head").bias.assign(np.full(10, np.nan))

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

    with pytest.raises(ArithmeticError, match=r"loss became nan in epoch 2, step 4.*lower learning rate"):
        train.fit(small_model(), digits(), digits("test"), plain, tmp_path, callbacks=[Poison()], verbose=0)
    for name in ("best", "last"):
        model = keras.models.load_model(tmp_path / f"{name}.keras")
        assert all(np.isfinite(weights).all() for weights in model.get_weights())
    assert (tmp_path / "curves.png").exists()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_a_save_that_fails_leaves_the_file_before_whole(small_model, tmp_path):
    class Unsaveable(keras.layers.Layer):
        def get_config(self):
            raise OSError("disk full")

    save = callbacks.Save(tmp_path / "last.keras")
    save.set_model(small_model())
    save.on_epoch_end(0, {})
    before = (tmp_path / "last.keras").read_bytes()
    save.set_model(keras.Sequential([*small_model().layers, Unsaveable()]))
    with pytest.raises(OSError, match="disk full"):
        save.on_epoch_end(1, {})
    assert (tmp_path / "last.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.keras"]


def test_a_run_is_not_overwritten_unless_asked(digits, small_model, tmp_path, plain):
    (tmp_path / "best.keras").write_text("weeks of work")
    recipe = dataclasses.replace(plain, epochs=1)
    with pytest.raises(ValueError, match=r"holds a run already \(best.keras\), of which too little is left"):
        train.fit(small_model(), digits(), None, recipe, tmp_path, verbose=0)
    assert (tmp_path / "best.keras").read_text() == "weeks of work"
    train.fit(small_model(), digits(), None, recipe, tmp_path, overwrite=True, verbose=0)
    keras.models.load_model(tmp_path / "best.keras")


def test_model_and_data_must_fit_together(digits, small_model, tmp_path, plain):
    with pytest.raises(ValueError, match=r"data have 10 classes, the model's output is \(None, 7\).*classes=10"):
        train.fit(small_model(classes=7), digits(), None, plain, tmp_path)
    with pytest.raises(ValueError, match=r"images are \(16, 16, 1\), the model takes \(8, 8, 1\)"):
        train.evaluate(small_model(), digits("test", image_size=16))
    assert not list(tmp_path.iterdir())


def test_evaluation_leaves_the_model_as_it_was_compiled(digits, small_model):
    model, test = small_model(), digits("test", batch_size=100)
    model.compile("sgd", "mse")
    found = train.evaluate(model, test, verbose=0)
    assert set(found) == {"loss", "top1", "top5"}
    assert model.loss == "mse"
    images, labels = (np.concatenate(part) for part in zip(*test.dataset.as_numpy_iterator(), strict=True))
    predicted = model.predict(images, verbose=0)
    assert found["top1"] == pytest.approx(np.mean(predicted.argmax(-1) == labels.argmax(-1)))
    assert found["loss"] == pytest.approx(-np.mean(np.log((predicted * labels).sum(-1))), rel=1e-4)


@pytest.mark.parametrize("verbose", [1, 2])
def test_the_terminal_shows_loss_accuracy_speed_and_the_time_left(
    digits, small_model, tmp_path, capsys, plain, verbose
):
    train.fit(small_model(), digits(), digits("test"), plain, tmp_path, verbose=verbose)
    lines = [line.rpartition("\r")[2].rstrip() for line in capsys.readouterr().out.split("\n") if "epoch" in line]
    assert len(lines) == 3
    number = r"[\d.]+"
    for epoch, line in enumerate(lines, 1):
        measured = f"loss {number}  top-1 {number} %"
        pattern = rf"epoch {epoch}/3  {measured}  validation {measured}  \d+ images/s  \d+ s left"
        assert re.fullmatch(pattern, line), line
