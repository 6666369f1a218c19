"""What training tests share: the digits, prepared once, and a model that trains in seconds."""

import dataclasses

import keras
import pytest

from keras_mlp.cards import Preprocessing, Recipe
from keras_mlp.training import data

# The least that can be asked of a recipe; tests change what they are about.
PLAIN = Recipe(
    source="test",
    learning_rate=1e-2,
    batch_size=128,
    epochs=3,
    warmup_epochs=0,
    weight_decay=0.0,
    label_smoothing=0.0,
    horizontal_flip=False,
    random_resized_crop=None,
    precision="float32",
)


@pytest.fixture(scope="session")
def plain():
    """A recipe without any augmentation or regularisation."""
    return PLAIN


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Folder in which tensorflow-datasets keeps the digits."""
    return tmp_path_factory.mktemp("tensorflow_datasets")


@pytest.fixture(scope="session")
def digits(prepared):
    """Load a split of the digits at 8×8 pixels; keyword arguments change the recipe."""

    def load(split="train", batch_size=128, seed=0, image_size=8, channels=1, worker=(0, 1), **recipe):
        return data.load(
            "digits",
            split,
            image_size=image_size,
            channels=channels,
            batch_size=batch_size,
            recipe=dataclasses.replace(PLAIN, **recipe) if split.startswith("train") else None,
            preprocessing=Preprocessing(crop_pct=1.0),
            seed=seed,
            data_dir=prepared,
            worker=worker,
        )

    return load


@pytest.fixture
def small_model():
    """Make a classifier of 8×8 grey pixels with a variable of every kind that weight decay treats differently."""

    def make(activation="softmax", classes=10):
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Rescaling(1 / 255, dtype="float32"),
                keras.layers.Flatten(),
                keras.layers.Dense(32, activation="relu", name="hidden"),
                keras.layers.LayerNormalization(name="norm"),
                keras.layers.Dense(classes, activation=activation, dtype="float32", name="head"),
            ]
        )

    return make
