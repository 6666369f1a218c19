"""Runs on videos: broken off, on broken files, and what is learnt of motion."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from clips import REASONS, write_broken, write_frames

import keras_mlp
from keras_mlp.training import recipes, train
from keras_mlp.training.callbacks import Waiting
from keras_mlp.training.data import videos
from keras_mlp.training.data.source import Supply
from keras_mlp.training.data.videos import moving_digits

CLASSES = len(moving_digits.CLASSES)


class Crash(Exception):
    """What a test does to a run."""


class CrashAfter(keras.callbacks.Callback):
    """Ends a run after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Crash


def linear(shape, classes):
    """The least that can be trained."""
    keras.utils.set_random_seed(0)
    inner = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(classes, "softmax")]
    return keras.Sequential([keras.Input(shape), *inner])


@pytest.mark.parametrize("late, told", [(3, True), (2, False)])
def test_a_model_that_waits_for_more_than_half_of_its_batches_is_told_of(late, told):
    """Of four batches so many are the last that is made; of the others the next one is there, too."""
    supply, said = Supply(), []
    waiting = Waiting(supply, said.append)
    waiting.on_train_begin()
    waiting.on_epoch_begin(0)
    for step in range(4):
        supply.made = step + 1 + (step >= late)
        waiting.on_train_batch_end(step)
    waiting.on_epoch_end(0)
    assert bool(said) == told
    assert not told or said[0].startswith("the model waited for data after 3 of 4 steps: ")


def test_batches_that_are_made_are_counted():
    supply = Supply()
    assert len([*supply.counted(tf.data.Dataset.range(3))]) == supply.made == 3


@pytest.mark.slow
def test_a_run_that_is_broken_off_three_times_ends_as_a_whole_one(plain, tmp_path):
    changes = dict(random_resized_crop=(0.5, 1.0), mixup=0.2, repeated_augmentation=2, epochs=2)
    recipe = dataclasses.replace(plain, **changes, batch_size=60)
    options = dict(frames=2, image_size=8, batch_size=60)

    def run(name, *callbacks):
        data = videos.load("moving_digits", "test", recipe=recipe, **options)
        model = linear((2, 8, 8, 3), CLASSES)
        given = dict(callbacks=callbacks, checkpoint_seconds=0, verbose=0)
        train.fit(model, data, None, recipe, tmp_path / name, **given)
        return model.get_weights()

    for steps in (2, 3, 4):
        with pytest.raises(Crash):
            run("broken", CrashAfter(steps))
    for one, other in zip(run("broken"), run("whole"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_run_on_broken_files_ends_and_names_them(plain, tmp_path, capsys):
    for name, level in (("dark", 20), ("light", 200)):
        for i in range(6):
            write_frames(tmp_path / "clips" / name / f"{i}", np.full((4, 8, 8, 3), level, "uint8"))
    names = {kind: f"dark/{kind}.mp4" for kind in REASONS}
    write_broken(tmp_path / "clips", names)
    options = dict(frames=2, image_size=8, batch_size=4, broken_share=0.4)
    recipe = dataclasses.replace(plain, batch_size=4)
    data = videos.load(tmp_path / "clips", "all", recipe=recipe, **options)
    train.fit(linear((2, 8, 8, 3), 2), data, None, recipe, tmp_path / "run", verbose=2)
    out, report = capsys.readouterr().out, (tmp_path / "run" / "report.md").read_text()
    for told in (out, report):
        assert "4 of 16 videos cannot be read: " in told
        assert all(f"{tmp_path / 'clips' / name}: {REASONS[kind]}" in told for kind, name in names.items())
    assert " videos/s" in out and " frames/s" in out


SMALL = {
    "morph_mlp": dict(dims=(32, 64), depths=(2, 2), chunks=(4, 4), mlp_ratios=(3, 3)),
    "mvit": dict(dims=(32, 64), depths=(1, 2), heads=(1, 2), strides=(1, 2), key_stride=2),
}
"""Of images, and of videos."""


def small(name, shape, **options):
    """A small model of the moving digits."""
    config = SMALL[name.removesuffix("_video")]
    return keras_mlp.create_model(name, **config, input_shape=shape, classes=CLASSES, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["morph_mlp_video", "mvit_video"])
def test_a_run_in_mixed_precision_learns_as_one_in_float32(name, plain, tmp_path):
    losses = []
    for precision in ("float32", "mixed_bfloat16"):
        recipe = dataclasses.replace(plain, batch_size=60, epochs=2, precision=precision)
        data = videos.load("moving_digits", "test", recipe=recipe, frames=4, image_size=16, batch_size=60)
        keras.utils.set_random_seed(0)
        model = small(name, (4, 16, 16, 3), dtype=precision)
        losses.append(train.fit(model, data, None, recipe, tmp_path / precision, verbose=0).history["loss"])
    assert json.loads((tmp_path / "mixed_bfloat16" / "recipe.json").read_text())["precision"] == "mixed_bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    np.testing.assert_allclose(*losses, rtol=0.02)


def learnt(name, folder, seed=0, frames=8):
    """A small model trained on the moving digits by their recipe, and its accuracy on the test clips."""
    recipe = recipes.moving_digits()
    options = dict(frames=frames, image_size=32, batch_size=recipe.batch_size, seed=seed)
    data = [
        videos.load("moving_digits", split, recipe=r, **options) for split, r in (("train", recipe), ("test", None))
    ]
    shape = (frames, 32, 32, 3)
    if frames == 1:
        data = [
            dataclasses.replace(one.mapped(lambda clips, labels: (clips[:, 0], labels)), things="images")
            for one in data
        ]
        shape = shape[1:]
    keras.utils.set_random_seed(seed)
    model = small(name, shape)
    history = train.fit(model, *data, recipe, folder, verbose=0).history
    return model, history["val_top1"][-1]


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["morph_mlp_video", "mvit_video"])
def test_a_small_model_learns_the_motion_of_digits(name, seed, tmp_path):
    """And more clips in time do not harm."""
    model, accuracy = learnt(name, tmp_path / "run", seed)
    assert accuracy >= 0.95
    looks = videos.VideoPreprocessing(clips=3)
    options = dict(frames=8, image_size=32, batch_size=32, preprocessing=looks)
    scores = []
    for views in (False, True):
        data, right = videos.load("moving_digits", "test", views=views, **options), []
        for clips, labels in data.dataset.as_numpy_iterator():
            found = model.predict(clips.reshape(-1, 8, 32, 32, 3), verbose=0)
            found = np.log(found).reshape(len(labels), -1, CLASSES).mean(1)
            right += (found.argmax(-1) == labels.argmax(-1)).tolist()
        scores.append(np.mean(right))
    assert scores[1] >= scores[0] - 0.01


@pytest.mark.slow
@pytest.mark.huge
def test_a_model_of_single_frames_does_not(tmp_path):
    _, accuracy = learnt("morph_mlp", tmp_path / "run", frames=1)
    assert 1 / CLASSES < accuracy < 0.6
