"""An objective of one's own is trained, resumed, measured and reported as those that there are."""

import csv
import dataclasses
import json
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.training import objectives, train
from keras_mlp.training.data import Data
from keras_mlp.training.folder import FILES
from keras_mlp.training.objective import Measure, Objective
from keras_mlp.training.objectives.classification import Classification
from keras_mlp.training.objectives.contrastive import Contrastive

BATCH, STEPS = 32, 20


class Outlining(Objective):
    """To tell which pixels are those of a bright square; the masks are `(batch, height, width, 1)`."""

    name = "outlining"
    measures = Measure("iou", "IoU", axis="intersection over union"), Measure("error", "error", percent=False)
    caption = "Loss, overlap and error"

    def fitted(self, model, data):
        masks = data.dataset.element_spec[1].shape[1:]
        if not masks.is_compatible_with(model.output_shape[1:]):
            raise ValueError(f"The masks are {tuple(masks)}, the model gives {model.output_shape[1:]}.")
        return super().fitted(model, data)

    def loss(self, model, recipe=None):
        return keras.losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing if recipe else 0.0)

    def metrics(self, model):
        iou = keras.metrics.BinaryIoU(target_class_ids=[1], name="iou")
        return [iou, keras.metrics.MeanAbsoluteError(name="error")]

    def judge(self, model, data):
        return {"area": np.mean([np.mean(model(images, training=False)) for images, _ in data.dataset])}

    def columns(self, logs):
        return {**logs, "miss": 1 - logs["iou"]}


def squares(count, seed, side=12):
    """Images with noise and a bright square, and its mask."""
    random = np.random.default_rng(seed)
    masks = np.zeros((count, side, side, 1), "float32")
    for mask, (top, left, size) in zip(masks, random.integers((0, 0, 4), (6, 6, 7), (count, 3)), strict=True):
        mask[top : top + size, left : left + size] = 1
    images = 90 + 70 * masks + random.normal(0, 35, masks.shape)
    return images.clip(0, 255).astype("float32"), masks


def load(split, seed=0):
    """The images as data; they need neither classes nor files."""
    count = BATCH * STEPS if split == "train" else 4 * BATCH
    dataset = tf.data.Dataset.from_tensor_slices(squares(count, (seed, split == "train"))).batch(BATCH)
    steps = count // BATCH
    return Data(dataset.repeat() if split == "train" else dataset, [], count, steps, BATCH)


def make_model(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            keras.layers.Rescaling(1 / 255, -0.5),
            keras.layers.Conv2D(16, 5, padding="same", activation="relu"),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ],
        name="outliner",
    )


@pytest.fixture(scope="module")
def recipe(plain):
    return dataclasses.replace(plain, batch_size=BATCH, learning_rate=1e-2, epochs=4)


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """The model, the log and the folder of a run without a break."""
    folder, model = tmp_path_factory.mktemp("whole") / "run", make_model()
    options = dict(verbose=0, objective=Outlining(), settings={"seed": 0})
    return model, train.fit(model, load("train"), load("test"), recipe, folder, **options).history, folder


def test_it_learns_what_only_its_targets_tell(whole):
    """Pixels alone do not tell it, at whichever level they are taken for bright."""
    _, history, _ = whole
    images, masks = squares(4 * BATCH, (0, False))
    bright = [images > level for level in range(256)]
    alone = max((found & (masks > 0)).mean() / (found | (masks > 0)).mean() for found in bright)
    assert history["val_iou"][-1] > alone + 0.1, (history["val_iou"], alone)


def test_its_run_has_all_files_and_they_say_what_it_says(whole, recipe):
    _, history, folder = whole
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["miss"]) for row in rows] == pytest.approx([1 - iou for iou in history["iou"]])
    assert "top1" not in rows[0]
    settings = json.loads((folder / "recipe.json").read_text())
    assert (settings["objective"], settings["seed"]) == ("outlining", 0)

    report = (folder / "report.md").read_text()
    assert "| epoch | loss | IoU | error | validation loss | validation IoU | validation error | file |" in report
    last = f"{history['val_loss'][-1]:.4f} | {history['val_iou'][-1]:.2%} | {history['val_error'][-1]:.4f}"
    assert re.search(rf"\| last, 4 \|.*\| {last} \| `last.keras` \|", report)
    assert "![Loss, overlap and error](curves.png)" in report and "classes" not in report.partition("##")[0]


def test_its_score_chooses_the_best_epoch(whole):
    _, history, folder = whole
    best = int(np.argmax(history["val_iou"]))
    assert Outlining().best_epoch(history) == best
    found = train.evaluate(keras.models.load_model(folder / "best.keras"), load("test"), 0, objective=Outlining())
    assert set(found) == {"loss", "iou", "error", "area"}
    assert found["iou"] == pytest.approx(history["val_iou"][best])
    assert found["area"] == pytest.approx(history["val_area"][best])


def test_what_it_measures_beside_metrics_is_of_the_average_where_there_is_one(recipe, tmp_path):
    areas = []
    for decay in (0.98, None):
        model, test, changed = make_model(), load("test"), dataclasses.replace(recipe, epochs=1, ema_decay=decay)
        folder = tmp_path / str(decay)
        history = train.fit(model, load("train"), test, changed, folder, verbose=0, objective=Outlining()).history
        areas.append(history["val_area"][-1])
        assert Outlining().judge(model, test)["area"] == pytest.approx(areas[-1], rel=1e-5)
    assert abs(areas[0] - areas[1]) > 0.01  # or the test could not fail


def test_it_goes_on_after_a_break_to_the_same_weights(whole, recipe, tmp_path):
    class Crash(Exception):
        pass

    class CrashInTheSecondEpoch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == STEPS + 7:
                raise Crash

    def run(seed, *callbacks):
        model = make_model(seed)
        options = dict(verbose=0, checkpoint_seconds=0, objective=Outlining(), settings={"seed": 0})
        history = train.fit(model, load("train"), load("test"), recipe, tmp_path, callbacks=callbacks, **options)
        return model, history.history

    with pytest.raises(Crash):
        run(0, CrashInTheSecondEpoch())
    resumed, log = run(1)
    model, history, _ = whole
    for one, other in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("loss", "val_loss", "val_iou", "val_error", "val_area"):
        np.testing.assert_allclose(log[name], history[name], rtol=1e-5)
    # Of the epoch that was broken off it is the mean of its two parts, which for an IoU is not quite that of the whole.
    np.testing.assert_allclose(log["iou"], history["iou"], rtol=0.01)


def test_another_objective_does_not_go_on_with_its_run(whole, recipe):
    class Other(Outlining):
        name = "other"

    _, _, folder = whole
    with pytest.raises(ValueError, match=r"holds a run with other settings \(objective: outlining, now other\)"):
        train.fit(make_model(), load("train"), load("test"), recipe, folder, settings={"seed": 0}, objective=Other())


def test_its_longer_run_goes_on_from_the_finished_one(whole, recipe, tmp_path):
    _, history, folder = whole
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    longer = dataclasses.replace(recipe, epochs=5)
    options = dict(verbose=0, extend=True, objective=Outlining(), settings={"seed": 0})
    log = train.fit(make_model(), load("train"), load("test"), longer, copy, **options).history
    assert len(log["miss"]) == 5
    np.testing.assert_allclose(log["iou"][:4], history["iou"])


def test_what_does_not_fit_is_refused_before_anything_is_written(recipe, tmp_path):
    model = keras.Sequential([keras.Input((12, 12, 1)), keras.layers.Conv2D(1, 3)])
    with pytest.raises(ValueError, match=r"masks are \(12, 12, 1\), the model gives \(10, 10, 1\)"):
        train.fit(model, load("train"), None, recipe, tmp_path, objective=Outlining())
    model = keras.Sequential([keras.Input((10, 10, 1)), keras.layers.ZeroPadding2D()])
    with pytest.raises(ValueError, match=r"images are \(12, 12, 1\), the model takes \(10, 10, 1\)"):
        train.fit(model, load("train"), None, recipe, tmp_path, objective=Outlining())
    assert not list(tmp_path.iterdir())


def test_the_terminal_shows_its_measures(recipe, tmp_path, capsys):
    short = dataclasses.replace(recipe, epochs=1)
    train.fit(make_model(), load("train"), load("test"), short, tmp_path, verbose=2, objective=Outlining())
    measured = r"loss [\d.]+  IoU [\d.]+ %  error 0\.\d{4}"
    assert re.search(rf"epoch 1/1  {measured}  validation {measured}  \d+ images/s", capsys.readouterr().out)


def test_less_may_be_better():
    class Regression(Objective):
        measures = (Measure("error", "error", percent=False, higher=False),)

    history = {"loss": [3, 2, 1, 0], "val_loss": [3, 2, 1, 0], "val_error": [2.0, 1.0, 1.0, 4.0], "error": [4, 3, 2, 1]}
    assert Regression().best_epoch(history) == 2  # of the least error, and there the least loss
    assert Regression().stagnates(history, 1) and not Regression().stagnates(history, 2)
    assert Regression().best_epoch({"loss": [2, 1, 3], "error": [1.0, 2.0, 3.0]}) == 0
    assert Regression().best_epoch({"loss": [2, 1, 3]}) == 1


def test_a_model_of_several_outputs_is_trained_and_saved_with_their_names(recipe, tmp_path):
    """As a detector is: each output has targets, a loss and metrics of its own."""

    class Both(Objective):
        name = "both"
        measures = (Measure("mask_iou", "IoU"),)

        def loss(self, model, recipe=None):
            return {"mask": "binary_crossentropy", "size": "mse"}

        def metrics(self, model):
            return {"mask": [keras.metrics.BinaryIoU(target_class_ids=[1], name="iou")]}

    def targets(images, masks):
        return images, {"mask": masks, "size": tf.reduce_mean(masks, (1, 2))}

    body = make_model()
    images = keras.Input((12, 12, 1))
    masks = body(images)
    sizes = keras.layers.GlobalAveragePooling2D()(masks)
    model = keras.Model(images, {"mask": masks, "size": sizes})
    data = [load(split).mapped(targets) for split in ("train", "test")]
    history = train.fit(
        model, *data, dataclasses.replace(recipe, epochs=2), tmp_path, verbose=0, objective=Both()
    ).history
    assert {"mask_loss", "size_loss", "val_mask_iou"} <= set(history)
    best = keras.models.load_model(tmp_path / "best.keras")
    found = train.evaluate(best, data[1], verbose=0, objective=Both())
    assert found["mask_iou"] == pytest.approx(max(history["val_mask_iou"]))
    assert set(best.predict(squares(2, 0)[0], verbose=0)) == {"mask", "size"}


def test_a_recipe_has_the_objective_that_its_loss_is_for(plain):
    assert isinstance(objectives.of(plain), Classification)
    assert isinstance(objectives.of(dataclasses.replace(plain, loss="sigmoid")), Classification)
    assert isinstance(objectives.of(dataclasses.replace(plain, loss="contrastive")), Contrastive)
    assert objectives.of(plain, multi_label=True).activation(plain) == "sigmoid"
