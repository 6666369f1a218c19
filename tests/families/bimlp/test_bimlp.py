"""What is BiMLP's alone: its levels, its operations, how it learns."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis import cost
from keras_mlp.families.bimlp import binary
from keras_mlp.families.bimlp.binary import BinaryLayer
from keras_mlp.training import data, recipes
from keras_mlp.training.distill import Distiller
from keras_mlp.training.train import evaluate, fit

ONE_BLOCK = dict(patch_size=2, dims=(64,), depths=(1,), transitions=(True,), input_shape=(16, 16, 3), classes=10)


def test_operations_are_those_of_the_paper():
    """OPs = BOPs / 64 + FLOPs: 1.56e8 and 1.88e8 in its table, which rounds otherwise."""
    for name, operations in {"bimlp_s": 1.550e8, "bimlp_m": 1.873e8}.items():
        card = keras_mlp.model_card(name)
        assert set(card.low_bit_macs) == {"binary"}
        assert card.operations == card.low_bit_macs["binary"] / 64 + card.macs - card.low_bit_macs["binary"]
        assert card.operations == pytest.approx(operations, rel=5e-4)
    assert keras_mlp.model_card("mlp_mixer_b16").operations == keras_mlp.model_card("mlp_mixer_b16").macs


@pytest.mark.parametrize("option", ["activation_levels", "weight_levels"])
def test_products_with_real_numbers_on_one_side_are_not_counted_as_binary(option):
    binary, half = cost(keras_mlp.BiMLP(**ONE_BLOCK)), cost(keras_mlp.BiMLP(**ONE_BLOCK, **{option: None}))
    assert binary.macs == half.macs and binary.low_bit_macs["binary"] > half.low_bit_macs.get("binary", 0) == 0


def test_levels_are_options_of_every_builder():
    model = keras_mlp.BiMLP(**ONE_BLOCK, activation_levels="binary", gradient="bireal")
    layers = [layer for layer in model.layers if isinstance(layer, BinaryLayer)]
    assert {(layer.activation_levels, layer.weight_levels, layer.gradient) for layer in layers} == {
        ("binary", "binary", "bireal")
    }
    assert all(isinstance(layer.kernel.constraint, binary.ClipWeights) for layer in layers)


def test_mixed_precision_leaves_the_thresholds_in_float32():
    for top in (dict(), dict(include_top=False, pooling="avg")):
        model = keras_mlp.BiMLP(**ONE_BLOCK, **top, dtype="mixed_bfloat16")
        assert {layer.compute_dtype for layer in model.layers[1:]} == {"float32"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(dims=(6,)), r"multiples of 4. Received: dims=\(6,\)"),
        (dict(norm="layer"), r"\['batch', 'image'\] or a function. Received: norm='layer'"),
        (dict(dims=(8, 16), depths=(1, 1), transitions=(False, True)), r"set transitions\[0\] to True"),
    ],
)
def test_what_the_architecture_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.BiMLP(**ONE_BLOCK | arguments)


RECIPE = dataclasses.replace(recipes.digits(), precision="float32")
DIGITS = dict(image_size=8, channels=1, batch_size=64)
STUDENT = ONE_BLOCK | dict(input_shape=(8, 8, 1), activation_levels="binary")


@pytest.fixture
def accuracy_after(tmp_path):
    """Train a model, or a student beside its teacher, by a recipe on a split; the share of test images it knows."""

    def accuracy_after(trained, name, recipe, split="train"):
        training = data.load("digits", split, recipe=recipe, data_dir=tmp_path, **DIGITS)
        fit(trained, training, None, recipe, tmp_path / name, verbose=0)
        test = data.load("digits", "test", data_dir=tmp_path, **DIGITS)
        found = evaluate(getattr(trained, "plain", trained), test, verbose=0)["top1"]
        print(f"{name}: {found:.2%} of the test images")
        return found

    return accuracy_after


@pytest.mark.slow
def test_the_binary_form_learns_the_digits(accuracy_after):
    """One block, weights and activations of one bit each."""
    keras.utils.set_random_seed(0)
    assert accuracy_after(keras_mlp.BiMLP(**STUDENT), "binary", RECIPE) >= 0.9


@pytest.mark.slow
@pytest.mark.huge
def test_the_binary_form_learns_more_with_a_teacher_where_images_are_few(accuracy_after):
    """Three runs alone and three with a teacher, on a twentieth of the images, of which the teacher has seen all.

    On all of them the student alone is nearly as good as its teacher, which then has little to add.
    """
    keras.utils.set_random_seed(0)
    teacher = keras_mlp.MLPMixer(patch_size=2, dim=64, depth=3, input_shape=(8, 8, 1), classes=10)
    accuracy_after(teacher, "teacher", RECIPE)
    recipe = dataclasses.replace(RECIPE, epochs=200, mixup=1.0)
    found = {"alone": [], "distilled": []}
    for seed in range(3):
        for name, accuracies in found.items():
            keras.utils.set_random_seed(seed)
            student = keras_mlp.BiMLP(**STUDENT)
            if name == "distilled":
                student = Distiller(student, teacher, "soft", temperature=1.0, share=1.0)
            accuracies.append(accuracy_after(student, f"{name}, seed {seed}", recipe, "train[:5%]"))
    alone, distilled = (np.mean(accuracies) for accuracies in found.values())
    print(f"in the mean {alone:.2%} alone, {distilled:.2%} distilled")
    assert distilled > alone
