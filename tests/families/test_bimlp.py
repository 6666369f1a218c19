"""What is BiMLP's alone: its levels, its operations, how it learns."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import keras_mlp
from keras_mlp.analysis import cost
from keras_mlp.layers.binary import BinaryLayer
from keras_mlp.training.data.splits import held_out
from keras_mlp.training.distill import Distiller

ONE_BLOCK = dict(patch_size=2, dims=(64,), depths=(1,), transitions=(True,), input_shape=(16, 16, 3), classes=10)


def test_operations_are_those_of_the_paper():
    """OPs = BOPs / 64 + FLOPs: 1.56e8 and 1.88e8 in its table, which rounds otherwise."""
    for name, operations in {"bimlp_s": 1.550e8, "bimlp_m": 1.873e8}.items():
        card = keras_mlp.model_card(name)
        assert card.operations == card.binary_macs / 64 + card.macs - card.binary_macs
        assert card.operations == pytest.approx(operations, rel=5e-4)
    assert keras_mlp.model_card("mlp_mixer_b16").operations == keras_mlp.model_card("mlp_mixer_b16").macs


@pytest.mark.parametrize("option", ["activation_levels", "weight_levels"])
def test_products_with_real_numbers_on_one_side_are_not_counted_as_binary(option):
    binary, half = cost(keras_mlp.BiMLP(**ONE_BLOCK)), cost(keras_mlp.BiMLP(**ONE_BLOCK, **{option: None}))
    assert binary.macs == half.macs and binary.binary_macs > half.binary_macs == 0


def test_levels_are_options_of_every_builder():
    model = keras_mlp.BiMLP(**ONE_BLOCK, activation_levels="binary", gradient="bireal")
    layers = [layer for layer in model.layers if isinstance(layer, BinaryLayer)]
    assert {(layer.activation_levels, layer.weight_levels, layer.gradient) for layer in layers} == {
        ("binary", "binary", "bireal")
    }
    assert all(isinstance(layer.kernel.constraint, keras_mlp.layers.ClipWeights) for layer in layers)


def test_mixed_precision_leaves_the_thresholds_in_float32():
    model = keras_mlp.BiMLP(**ONE_BLOCK, dtype="mixed_bfloat16")
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(dims=(6,)), r"multiples of 4. Received: dims=\(6,\)"),
        (dict(norm="layer"), r"\['batch', 'image'\]. Received: norm='layer'"),
        (dict(dims=(8, 16), depths=(1, 1), transitions=(False, True)), r"set transitions\[0\] to True"),
    ],
)
def test_what_the_architecture_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.BiMLP(**ONE_BLOCK | arguments)


def digits():
    """The embedded digits as arrays: training images and one-hot labels, test images and labels."""
    found, test = load_digits(), held_out(load_digits().target)
    images = found.images[..., None] * (255 / 16)
    return images[~test], np.eye(10)[found.target[~test]], images[test], found.target[test]


def small_teacher():
    """Any Keras classifier can teach."""
    dense = [keras.layers.Dense(256, "relu"), keras.layers.Dropout(0.3)]
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), *dense, keras.layers.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def accuracy_after(model, trained, epochs, data):
    """Share of the test images that `model` knows once it, or its distiller `trained`, has been fitted."""
    images, labels, test_images, test_labels = data
    batch = 128
    images, labels = images[: len(images) // batch * batch], labels[: len(labels) // batch * batch]
    rate = keras.optimizers.schedules.CosineDecay(5e-3, epochs * len(images) // batch)
    trained.compile(keras.optimizers.Adam(rate), "categorical_crossentropy")
    trained.fit(images, labels, batch_size=batch, epochs=epochs, verbose=0)
    return np.mean(model.predict(test_images, verbose=0).argmax(-1) == test_labels)


@pytest.mark.slow
def test_the_binary_form_learns_the_digits_alone_and_from_a_teacher():
    """One block, weights and activations of one bit each, without augmentation.

    That a teacher makes it better is not shown: in single runs it did not.
    """
    data = digits()
    keras.utils.set_random_seed(0)
    teacher = small_teacher()
    accuracies = {"teacher": accuracy_after(teacher, teacher, 30, data)}
    for name in ("undistilled", "distilled"):
        keras.utils.set_random_seed(0)
        arguments = ONE_BLOCK | dict(dims=(32,), input_shape=(8, 8, 1))
        student = keras_mlp.BiMLP(**arguments, activation_levels="binary")
        trained = Distiller(student, teacher, "hard") if name == "distilled" else student
        accuracies[name] = accuracy_after(student, trained, 40, data)
    print(", ".join(f"{name}: {100 * accuracy:.2f} %" for name, accuracy in accuracies.items()))
    assert min(accuracies.values()) >= 0.9
