"""Where a model looks."""

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis import grad_cam, occlusion, plot_attribution

IMAGE = np.random.default_rng(0).uniform(60, 255, (32, 48, 3)).astype("float32")


def corner_watcher():
    """The first class's logit is the brightness of the upper left eighth; the second's is constant."""
    image = keras.Input((32, 48, 3))
    x = keras.layers.AveragePooling2D(8, name="map")(image)
    head = keras.layers.Dense(2, activation="softmax", name="head")
    model = keras.Model(image, head(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))))
    weights = np.zeros((4, 6, 3, 2))
    weights[:2, :3, :, 0] = 0.2
    head.set_weights([weights.reshape(-1, 2), np.zeros(2)])
    return model


def test_occlusion_lights_the_corner_that_a_network_looks_at(tmp_path):
    heat = occlusion(corner_watcher(), IMAGE, label=0, side=8, stride=8)
    assert heat[:16, :24].min() < 0 or heat[:16, :24].max() > 0
    assert np.abs(heat[16:]).max() < 1e-6 and np.abs(heat[:, 24:]).max() < 1e-6
    plot_attribution(IMAGE, {"occlusion": heat}, tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_grad_cam_lights_the_corner_that_a_network_looks_at():
    """One channel sees the upper left corner of the image alone, the other the rest; the class counts the first."""
    image = keras.Input((32, 48, 1))
    x = keras.layers.Conv2D(2, 8, 8, use_bias=False, name="map")(image)
    head = keras.layers.Dense(2, activation="softmax", name="head")
    model = keras.Model(image, head(keras.layers.GlobalAveragePooling2D()(x)))
    model.get_layer("map").kernel.assign(np.stack([np.full((8, 8, 1), 1 / 64), np.full((8, 8, 1), -1 / 64)], -1))
    head.set_weights([np.array([[5.0, 0.0], [0.0, 5.0]]), np.zeros(2)])
    lit = np.zeros((32, 48, 1), "float32")
    lit[:16, :24] = 200
    heat = grad_cam(model, lit, label=0)
    assert heat.shape == (32, 48) and heat.max() == 1
    assert heat[:12, :20].min() > 0.9 and heat[20:].max() == heat[:, 28:].max() == 0
    assert grad_cam(model, lit, label=1).max() == 0, "nothing speaks for the other class"


def test_the_gradient_is_that_of_the_logit_with_and_without_a_softmax():
    """A softmax of almost 1 has no gradient left; Grad-CAM looks at what it is given."""
    options = dict(patch_size=8, dim=8, depth=1, input_shape=(32, 48, 3), classes=3)
    keras.utils.set_random_seed(0)
    squashed = keras_mlp.MLPMixer(**options)
    logits = keras_mlp.MLPMixer(**options, classifier_activation=None)
    logits.set_weights(squashed.get_weights())
    for label in range(3):
        np.testing.assert_allclose(grad_cam(squashed, IMAGE, label), grad_cam(logits, IMAGE, label), atol=1e-5)


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        (grad_cam, dict(label=2), "`label` must be the number of a class, 0 to 1"),
        (occlusion, dict(side=0), "`side` and `stride` must be positive integers"),
        (grad_cam, dict(layer="nothing"), "`layer` must be a block or a layer"),
    ],
)
def test_wrong_arguments_are_told(function, arguments, told):
    with pytest.raises(ValueError, match=told):
        function(corner_watcher(), IMAGE, **arguments)
