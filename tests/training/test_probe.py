"""Classifiers on features."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.classifiers import Output
from keras_mlp.training import data, probe, recipes
from keras_mlp.training.data.views import two_views
from keras_mlp.training.moco_v3 import MoCoV3


def encoder():
    """One in which training would show: statistics and dropout, and maps to be averaged."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(6, 2, 2), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers], name="small")


IMAGES = np.random.default_rng(0).normal(3, 2, (64, 8, 8, 1)).astype("float32")


def fit(model):
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(IMAGES, np.arange(64) % 3, verbose=0)
    return [np.abs(old - new).max() > 0 for old, new in zip(before, model.get_weights(), strict=True)]


def test_of_a_linear_probe_the_head_alone_is_trained_on_features_in_inference_mode(tmp_path):
    source = encoder()
    model = probe.classifier(source, 3, train_encoder=False)
    features = source(IMAGES).numpy().mean((1, 2))
    head = model.get_layer("head")
    expected = keras.ops.softmax(features @ head.kernel + head.bias)
    np.testing.assert_allclose(model(IMAGES, training=True), expected, atol=1e-5)
    assert float(np.std(head.kernel)) < 0.02
    assert sum(fit(model)) == 2
    assert source.trainable and source.get_layer(index=0).trainable
    model.save(tmp_path / "probe.keras")
    again = keras.models.load_model(tmp_path / "probe.keras")
    np.testing.assert_allclose(again(IMAGES), model(IMAGES), atol=1e-6)
    assert len(again.trainable_variables) == 2


def test_fine_tuning_trains_a_copy_of_the_encoder_and_all_of_it():
    source = encoder()
    before = source.get_weights()
    model = probe.classifier(source, 3)
    assert all(fit(model))
    for old, new in zip(before, source.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_is_no_encoder_is_refused():
    with pytest.raises(ValueError, match="built functional or sequential"):
        probe.classifier(keras.Sequential([keras.layers.Dense(3)]), 3)
    with pytest.raises(ValueError, match="positive. Received: 0"):
        probe.classifier(encoder(), 0)
    with pytest.raises(ValueError, match='one unit is always 1: take `activation="sigmoid"`, or classes=2'):
        probe.classifier(encoder(), 1)


def test_probes_may_have_one_unit_or_several_labels():
    for classes, kind in ((1, "binary"), (3, "multi_label")):
        for train_encoder in (False, True):
            model = probe.classifier(encoder(), classes, activation="sigmoid", train_encoder=train_encoder)
            assert Output.of(model) == Output(kind, "sigmoid", classes)


@pytest.mark.slow
def test_a_probe_on_features_learnt_without_labels_beats_one_on_random_features(digits, prepared, capsys):
    """Of the digits, with one encoder before and after it has learnt, in the mean of two; accuracies are printed."""
    test = digits("test")
    images, labels = next(iter(digits("train", batch_size=1438).dataset))
    changes = dict(batch_size=256, learning_rate=1e-2, epochs=20, warmup_epochs=2, random_resized_crop=(0.3, 1.0))
    recipe = dataclasses.replace(recipes.pretrain(), **changes)

    def top1(encoder):
        model = probe.classifier(encoder, 10, train_encoder=False)
        model.compile(keras.optimizers.Adam(0.02), "categorical_crossentropy", metrics=["accuracy"])
        model.fit(images, labels, batch_size=128, epochs=40, verbose=0)
        return model.evaluate(test.dataset, verbose=0, return_dict=True)["accuracy"]

    def before_and_after(seed):
        keras.utils.set_random_seed(seed)
        small = dict(patch_size=2, dim=32, depth=2, input_shape=(8, 8, 1), include_top=False, pooling="avg")
        encoder = keras_mlp.MLPMixer(**small)
        random = top1(encoder)
        options = dict(image_size=8, channels=1, batch_size=256, seed=seed, data_dir=prepared)
        pairs = data.load("digits", "train", recipe=recipe, augmentation=two_views, **options)
        model = MoCoV3(encoder, dim=64, hidden=256, steps=recipe.epochs * pairs.steps)
        model.compile(recipes.optimizer(recipe, model, pairs.steps))
        model.fit(pairs.dataset, steps_per_epoch=pairs.steps, epochs=recipe.epochs, shuffle=False, verbose=0)
        return random, top1(encoder)

    found = [before_and_after(seed) for seed in range(2)]
    with capsys.disabled():
        for random, learnt in found:
            print(f"\nlinear probe, top-1: {random:.2%} on random features, {learnt:.2%} on learnt ones")
    random, learnt = np.mean(found, axis=0)
    assert learnt > random + 0.05
