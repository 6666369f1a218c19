"""The picture of the token-mixing weights."""

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis.mixing import plot_token_mixing

RED, BLUE = (103, 0, 31), (5, 48, 97)  # the ends of the colour map


@pytest.fixture
def model():
    """Three blocks on a grid of 2×4 with 6 units each; all weights are zero."""
    model = keras_mlp.MLPMixer(patch_size=8, dim=8, depth=3, token_dim=6, input_shape=(16, 32, 3), classes=2)
    for i in range(3):
        kernel = model.get_layer(f"blocks_{i}_token_mixing").fc1.kernel
        kernel.assign(np.zeros(kernel.shape))
    return model


def patches(path, colour) -> list[tuple[int, int]]:
    """Row and column, in the picture's pixels, of the centre of each patch of one colour, top to bottom."""
    pixels = keras.utils.img_to_array(keras.utils.load_img(path))
    rows, columns = np.nonzero((pixels == colour).all(-1))
    left = columns < 0.85 * pixels.shape[1]  # the scale on the right has these colours, too
    return sorted({(int(r) // 10, int(c) // 10) for r, c in zip(rows[left], columns[left], strict=True)})


def set_unit(model, block, unit, row, column, value):
    kernel = model.get_layer(f"blocks_{block}_token_mixing").fc1.kernel
    weights = keras.ops.convert_to_numpy(kernel).copy().reshape(2, 4, -1)
    weights[row, column, unit] = value
    kernel.assign(weights.reshape(kernel.shape))


def test_a_weight_is_drawn_at_its_place_in_the_grid(model, tmp_path):
    """Row-major positions: (0, 3) is the right upper corner of a unit's picture, (1, 0) the left lower one."""
    set_unit(model, block=1, unit=4, row=0, column=3, value=2.0)
    set_unit(model, block=1, unit=4, row=1, column=0, value=-2.0)
    plot_token_mixing(model, tmp_path / "weights.png")
    red, blue = patches(tmp_path / "weights.png", RED), patches(tmp_path / "weights.png", BLUE)
    assert red and blue
    assert max(r for r, _ in red) <= min(r for r, _ in blue)
    assert max(c for _, c in blue) < min(c for _, c in red)


def test_units_of_largest_norm_come_first(model, tmp_path):
    set_unit(model, block=0, unit=2, row=0, column=0, value=0.5)
    set_unit(model, block=0, unit=5, row=0, column=0, value=-1.0)
    plot_token_mixing(model, tmp_path / "one.png", layer=0, units=1)
    assert patches(tmp_path / "one.png", BLUE) and not patches(tmp_path / "one.png", RED)


def test_a_layer_is_chosen_by_number_or_name(model, tmp_path):
    for name, layer in (("number", 2), ("name", "blocks_2_token_mixing")):
        plot_token_mixing(model, tmp_path / f"{name}.png", layer=layer, units=3)
    assert (tmp_path / "number.png").read_bytes() == (tmp_path / "name.png").read_bytes()


def test_the_weights_of_a_mixed_precision_model_are_drawn(tmp_path):
    model = keras_mlp.MLPMixer(patch_size=8, dim=8, depth=1, input_shape=(16, 16, 3), classes=2, dtype="mixed_bfloat16")
    plot_token_mixing(model, tmp_path / "weights.png")
    assert (tmp_path / "weights.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"layer": 3}, "a number below 3 or one of blocks_0_token_mixing"),
        ({"layer": "stem"}, "Received: layer='stem'"),
        ({"units": 0}, "`units` must be a positive integer"),
    ],
)
def test_wrong_arguments_leave_an_old_picture_alone(model, tmp_path, arguments, told):
    path = tmp_path / "weights.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=told):
        plot_token_mixing(model, path, **arguments)
    assert path.read_bytes() == b"old"


def test_a_model_without_token_mixing_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="plain")
    with pytest.raises(ValueError, match="'plain' has no TokenMLP layers"):
        plot_token_mixing(model, tmp_path / "weights.png")
