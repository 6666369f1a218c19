"""Quantisation-aware training: what the model computes while it learns, and what is left of it afterwards."""

import keras
import numpy as np
import pytest

from keras_mlp import export
from keras_mlp.copying import Copier
from keras_mlp.training.quantization import QuantizationAware

SHAPE = (16, 16, 3)


def classifier():
    """A small convolutional one, a layer of each kind that has a kernel."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 4, 4, name="stem"),
            keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="mixing"),
            keras.layers.BatchNormalization(momentum=0.8, name="norm"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="head"),
        ]
    )


def pixels(count=128, seed=0):
    """Images of one colour and some noise, and which of the four colours it is."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [150, 150, 20]])
    return np.clip(colours[labels][:, None, None] + random.normal(0, 40, (count, *SHAPE)), 0, 255), labels


def uneven(model):
    """Give one channel of the stem numbers hundreds of times the others', which share what steps it leaves them.

    The next layer divides by as much, so that the model answers as before.
    """
    scales = np.array([500.0] + 7 * [1.0])
    stem, mixing = model.get_layer("stem"), model.get_layer("mixing")
    stem.set_weights([weight * scales for weight in stem.get_weights()])
    mixing.kernel.assign(mixing.kernel / scales[:, None])
    return model


def test_it_computes_as_the_int8_file_will(tmp_path):
    model, (images, _) = uneven(classifier()), pixels()
    export.to_tflite(model, tmp_path / "model.tflite", "int8", images, fuse=False)
    file = export.Runner(tmp_path / "model.tflite")(images.astype("float32"))
    exact, aware = (network.predict(images, verbose=0) for network in (model, QuantizationAware(model, images)))
    assert np.abs(aware - file).mean() < 0.3 * np.abs(exact - file).mean()


def test_it_is_the_models_own_weights_that_learn(tmp_path):
    model, (images, labels) = classifier(), pixels()
    aware = QuantizationAware(model, images)
    assert len(aware.trainable_weights) == len(model.trainable_weights)
    learning = [model.get_layer("stem").kernel, model.get_layer("norm").moving_mean, model.get_layer("head").bias]
    before = [weight.numpy() for weight in learning]
    aware.compile(keras.optimizers.AdamW(1e-2), keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    aware.fit(images, labels, batch_size=32, epochs=8, verbose=0)
    assert all((weight.numpy() != was).any() for weight, was in zip(learning, before, strict=True))
    assert (model.predict(images, verbose=0).argmax(-1) == labels).mean() > 0.9
    aware.save(tmp_path / "saved.keras")
    saved = keras.models.load_model(tmp_path / "saved.keras")
    np.testing.assert_array_equal(saved.predict(images, verbose=0), model.predict(images, verbose=0))


def test_losses_of_its_layers_are_its_own():
    regularised = keras.layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l2", name="regularised")
    model = keras.Sequential([keras.Input((4,)), regularised, keras.layers.Dense(2)])
    given = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    found = []
    for network in (model, QuantizationAware(model, given)):
        network(given, training=True)
        found.append(sorted(float(loss) for loss in network.losses))
    assert len(found[0]) == 2
    np.testing.assert_allclose(found[1], found[0], rtol=0.02)


@pytest.mark.slow
def test_it_wins_back_what_quantisation_loses(tmp_path):
    model, (images, labels) = classifier(), pixels(512)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-2), loss)
    model.fit(images, labels, epochs=5, verbose=0)
    uneven(model)

    def accuracies():
        file = tmp_path / "model.tflite"
        export.to_tflite(model, file, "int8", images[:100], fuse=False)
        found = export.verify(model, file, *pixels(512, seed=1))
        print(f"int8 {found.tflite_accuracy:.2%}, float32 {found.keras_accuracy:.2%}")
        return found.tflite_accuracy, found.keras_accuracy

    rounded, exact = accuracies()
    assert rounded < exact - 0.2
    aware = QuantizationAware(model, images[:100])
    aware.compile(keras.optimizers.AdamW(1e-2), loss)
    aware.fit(images, labels, epochs=20, verbose=0)
    rounded, exact = accuracies()
    assert rounded > exact - 0.02


def test_what_cannot_be_rounded_is_refused():
    images, _ = pixels(4)
    nested = keras.Sequential([keras.Input(SHAPE), classifier()])
    for model, given, message in (
        (keras.Sequential([keras.layers.Dense(1)]), images, "built functional or sequential"),
        (nested, images, "should not have models for layers"),
        (classifier(), images[0], r"images \(n, 16, 16, 3\)"),
        (classifier(), images[:0], "n > 0"),
        (classifier(), images[:, :8], r"images \(n, 16, 16, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            QuantizationAware(model, given)


def test_operations_shared_layers_adapters_and_frozen_layers_are_rounded_too():
    """As in the file, which has adapters within the kernels and knows of no freezing."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = keras.ops.flip(image / 127.5 - 1, axis=2)
    twice = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="twice")
    x = keras.layers.Conv2D(8, 4, 4, name="frozen", trainable=False)(x)
    x = keras.ops.concatenate([x, 2 * twice(twice(x))], axis=-1)
    x = keras.layers.Lambda(lambda x: keras.ops.tanh(x))(x)
    answers = keras.layers.Dense(4, name="adapted")(keras.ops.mean(x, axis=(1, 2)))
    model = keras.Model(image, keras.ops.multiply(3.0, answers))
    adapted = model.get_layer("adapted")
    adapted.enable_lora(2)
    adapted.lora_kernel_b.assign(np.random.default_rng(0).normal(size=(2, 4)))
    images, labels = pixels()
    aware = QuantizationAware(model, images)
    rounded, exact = aware.predict(images, verbose=0), model.predict(images, verbose=0)
    assert 1e-3 < np.abs(rounded - exact).max() / exact.std() < 0.2
    merged = Copier(adapters=False)(model)
    merged.trainable = True
    np.testing.assert_allclose(QuantizationAware(merged, images).predict(images, verbose=0), rounded, atol=1e-4)
    before, learning = [weight.numpy() for weight in model.weights], len(model.trainable_weights)
    aware.compile(keras.optimizers.AdamW(1e-2), keras.losses.SparseCategoricalCrossentropy(True))
    aware.fit(images, labels, epochs=1, verbose=0)
    changed = [(weight.numpy() != was).any() for weight, was in zip(model.weights, before, strict=True)]
    assert sum(changed) == learning == len(model.trainable_weights)
