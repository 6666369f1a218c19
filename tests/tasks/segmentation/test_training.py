"""Segmenters are trained, resumed, measured and shown by what is there for classifiers."""

import csv
import dataclasses

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp import tasks
from keras_mlp.tasks import scenes
from keras_mlp.training import train

RECIPE = tasks.SegmentationRecipe(
    "a test", epochs=2, batch_size=4, warmup_epochs=0, learning_rate=3e-3, random_scale=(0.8, 1.25), schedule="poly"
)


def segmenter(auxiliary=False, seed=0):
    keras.utils.set_random_seed(seed)
    backbone = keras_mlp.ASMLP(
        patch_size=2, dim=6, depths=(1, 1), shift_size=3, include_top=False, input_shape=(32, 32, 3)
    )
    return tasks.SemanticFPN(
        backbone, len(scenes.CLASSES), neck_channels=8, channels=8, auxiliary=auxiliary, auxiliary_channels=8
    )


def loaded(split, recipe=None):
    source = scenes.source(split, 12 if split == "train" else 6, 32)
    return tasks.load(source, split, image_size=32, batch_size=4, recipe=recipe)


@pytest.mark.parametrize("auxiliary", [pytest.param(False, marks=golden.HUGE), True])
def test_a_segmenter_is_trained_into_a_folder_and_measured(auxiliary, tmp_path):
    model, test = segmenter(auxiliary), loaded("test")
    objective = tasks.Segmentation()
    data, options = loaded("train", RECIPE), dict(objective=objective, verbose=0, jit_compile=False)
    history = train.fit(model, data, test, RECIPE, tmp_path, **options).history
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"loss", "miou", "accuracy", "val_loss", "val_miou", "val_accuracy"} <= set(rows[0])
    assert "| epoch | loss | mIoU | pixel accuracy |" in (tmp_path / "report.md").read_text()
    assert objective.best_epoch(history) == int(np.argmax(history["val_miou"]))
    best = keras.models.load_model(tmp_path / "best.keras")
    scores = tasks.evaluate(best, test, verbose=0)
    assert scores["mIoU"] == pytest.approx(max(history["val_miou"]), abs=1e-6)
    assert scores["IoU"].shape == (11,)
    found = train.evaluate(best, test, verbose=0, objective=tasks.Segmentation())
    name = "logits_accuracy" if auxiliary else "accuracy"
    assert found[name] == pytest.approx(scores["aAcc"], abs=1e-6)
    if auxiliary:  # whose loss counts 0.4
        parts = found["logits_loss"] + 0.4 * found["auxiliary_loss"]
        assert found["loss"] == pytest.approx(
            parts, rel=1e-3
        )  # Keras weighs a smaller last batch otherwise in the parts


@pytest.mark.slow
def test_a_run_that_was_broken_off_comes_to_the_same_weights(tmp_path):
    class Crash(Exception):
        pass

    class CrashInTheSecondEpoch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 5:
                raise Crash

    def run(folder, seed, *callbacks):
        model = segmenter(seed=seed)
        options = dict(objective=tasks.Segmentation(), verbose=0, checkpoint_seconds=0, callbacks=callbacks)
        train.fit(model, loaded("train", RECIPE), None, RECIPE, tmp_path / folder, **options)
        return model.get_weights()

    whole = run("whole", 0)
    with pytest.raises(Crash):
        run("broken", 0, CrashInTheSecondEpoch())
    for one, other in zip(whole, run("broken", 1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_models_and_data_that_do_not_fit_are_refused(tmp_path):
    other = tasks.SemanticFPN(keras_mlp.ASMLP(2, 6, (1, 1), include_top=False, input_shape=(32, 32, 3)), 3, channels=8)
    with pytest.raises(ValueError, match=r"The data have 11 classes, the model's logits are .*classes=11"):
        tasks.evaluate(other, loaded("test"), verbose=0)
    unlabelled = dataclasses.replace(loaded("test"), dataset=loaded("test").dataset.map(lambda x, y: (x, y["masks"])))
    with pytest.raises(ValueError, match="needs data with masks"):
        tasks.evaluate(segmenter(), unlabelled, verbose=0)


def test_a_picture_shows_the_classes_and_names_them():
    drawn = scenes.draw("test", 1, 32)
    image, mask = drawn.images[0], drawn.masks[0].copy()
    mask[:4] = 255
    picture = np.asarray(tasks.draw(image, mask))
    np.testing.assert_array_equal(picture[:4], image[:4])
    thing = mask == mask[mask < 255].max()
    assert np.abs(picture[thing].astype(int) - image[thing]).max() > 20
    legend = tasks.draw(image, mask, scenes.CLASSES)
    assert legend.width > 32 and legend.height >= 32
    with pytest.raises(ValueError, match="do not fit"):
        tasks.draw(image, mask[:5])
