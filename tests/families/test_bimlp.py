"""What is BiMLP's alone: its levels, its operations, its answer in double precision, how it learns."""

import golden
import keras
import pytest

import keras_mlp
from keras_mlp.analysis import cost
from keras_mlp.layers.binary import BinaryLayer

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


@pytest.mark.slow
@pytest.mark.parametrize("case", [golden.load(f"bimlp/bimlp_{size}.json") for size in "sm"], ids=lambda case: case.key)
def test_published_variants_answer_like_the_reference_in_double_precision(case):
    """In float32 a level flips now and then, so that only a coarse comparison is possible there."""
    keras.config.set_dtype_policy("float64")
    assert case.error(golden.build(case)(case.images())) < 1e-5
