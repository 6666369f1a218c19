"""The load of the experts: what is counted, and how it changes in training."""

import math

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis.experts import Load, LoadHistory, expert_load, plot_expert_load

IMAGES = np.random.RandomState(0).standard_normal((4, 8, 8, 3)).astype("float32")


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras_mlp.SparseMLP(
        patch_size=2, dim=8, depths=(0, 1), input_shape=(8, 8, 3), classes=2, include_preprocessing=False
    )


def test_a_router_that_knows_one_expert_only_leaves_the_others_idle(model):
    """Of 32 tokens and two choices each, all first ones go to one expert, which has room for 1.05 * 32 * 2 / 4."""
    mixture = model.get_layer("blocks_0_channel_mixing")
    norm = model.get_layer("blocks_0_norm2")
    norm.gamma.assign(np.zeros(4))
    norm.beta.assign(np.ones(4))
    mixture.router_kernel.assign(np.ones((4, 1)) * [0.0, 3.0, 1.0, 2.0])
    load = expert_load(model, IMAGES)["blocks_0_channel_mixing"]
    assert load.shares == (0.5, 0.5, 0.0, 0.0)
    assert load.left_out == pytest.approx((32 - 17) / 32)
    assert load.used == pytest.approx(2)


def test_use_is_counted_in_experts():
    assert Load((0.25,) * 4, 0.0).used == pytest.approx(4)
    assert Load((1.0, 0.0), 0.0).used == 1
    assert Load((0.75, 0.25), 0.0).used == pytest.approx(math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4)))


def test_the_history_of_a_training_can_be_drawn(model, tmp_path):
    history = LoadHistory(IMAGES)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(IMAGES, np.array([0, 1, 0, 1]), epochs=2, verbose=0, callbacks=[history])
    assert len(history.epochs) == 3
    for loads in history.epochs:
        assert list(loads) == ["blocks_0_token_mixing", "blocks_0_channel_mixing"]
        for load in loads.values():
            assert sum(load.shares) == pytest.approx(1) and list(load.shares) == sorted(load.shares, reverse=True)
    plot_expert_load({"one run": history.epochs, "another": history.epochs}, tmp_path / "load.png")
    picture = keras.utils.img_to_array(keras.utils.load_img(tmp_path / "load.png"))
    assert picture.shape[0] > 400 and picture.std() > 20


def test_a_model_without_experts_is_refused():
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match="'plain' has no MixtureOfExperts layers"):
        expert_load(plain, np.zeros((1, 4)))
