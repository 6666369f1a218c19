"""The public API as a user's type checker sees it: `mypy` reads this file, and nothing runs it."""

from typing import assert_type

import numpy as np

import keras_mlp
from keras_mlp import export
from keras_mlp.cards import ModelCard

names = keras_mlp.list_models("*mixer*", weights="imagenet")
assert_type(names, list[str])
card = keras_mlp.model_card(names[0])
assert_type(card, ModelCard)
model = keras_mlp.create_model(names[0], weights=None)
other = keras_mlp.MLPMixerB16(weights=None)
keras_mlp.enable_lora(keras_mlp.replace_head(model, 10), rank=8)
keras_mlp.features(model, blocks=(0, -1))
decoded = keras_mlp.decode_predictions(np.zeros((1, 1000)))
assert_type(decoded, list[list[tuple[str, str, float]]])
exported = export.to_tflite(other, "model.tflite", precision="float16")
assert_type(exported, export.Exported)
