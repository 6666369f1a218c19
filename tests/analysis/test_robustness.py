"""What a model makes of pictures as phones take them."""

import itertools

import keras
import numpy as np
import pytest

from keras_mlp.analysis import changed, plot_robustness, robustness
from keras_mlp.analysis.robustness import STEPS

IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 24, 32, 3)).round().astype("float32")


def brightness():
    """A classifier of two classes: whether the average pixel is above 80."""
    image = keras.Input((24, 32, 3))
    mean = keras.layers.GlobalAveragePooling2D()(image)
    head = keras.layers.Dense(2, name="head")
    model = keras.Model(image, head(mean))
    head.set_weights([np.array([[0, 1 / 3]] * 3), np.array([80.0, 0.0])])
    return model


@pytest.mark.parametrize("change", STEPS)
def test_a_change_grows_with_its_steps(change):
    """On a smooth picture, whatever its number of channels."""
    bowl = np.add.outer(np.arange(24.0) ** 2, np.arange(32.0) ** 2)[..., None] * np.array((0.15, 0.1, 0.16))
    strong = 0
    for image in (bowl, bowl[..., :1]):
        away = [np.abs(changed(image, change, strength).astype(float) - image).mean() for strength in STEPS[change]]
        assert away[0] < away[-1] and all(a < 1.25 * b + 0.5 for a, b in itertools.pairwise(away))
        assert changed(image, change, STEPS[change][0]).shape == image.shape
        strong = max(strong, away[-1])
    assert strong > 0.2


def test_darkness_turns_the_class_of_a_model_that_looks_at_brightness(tmp_path):
    labels = np.array([1, 1, 1, 1, 1, 0])
    steps = robustness(brightness(), IMAGES, labels, {"darkness": (0.9, 0.3), "crop": (0.9,)})
    assert [(s.change, s.strength) for s in steps] == [("none", 0), ("darkness", 0.9), ("darkness", 0.3), ("crop", 0.9)]
    assert [s.agreement for s in steps] == [1, 1, 0, 1]
    assert [round(6 * s.accuracy) for s in steps] == [5, 5, 1, 5]
    plot_robustness({"brightness": steps}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (dict(labels=[0]), r"`labels` must be \(6,\)"),
        (dict(steps={"fog": (1,)}), "`steps` must name jpeg, blur"),
    ],
)
def test_wrong_arguments_are_told(arguments, told):
    with pytest.raises(ValueError, match=told):
        robustness(brightness(), IMAGES, **arguments)
