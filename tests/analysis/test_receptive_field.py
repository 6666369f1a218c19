"""Which pixels reach a position, and how much each counts."""

import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis import Field, effective_receptive_field, inner, plot_receptive_fields, receptive_field


def patches(field, size) -> np.ndarray:
    """Rows and columns, counted from the centre, of the patches that are reached; every patch as a whole."""
    rows, columns = (side // size for side in field.pixels.shape)
    blocks = field.pixels.reshape(rows, size, columns, size).swapaxes(1, 2)
    assert ((blocks.min((2, 3)) == 0) | (blocks.max((2, 3)) == 1)).all()
    assert (blocks.min((2, 3)) == blocks.max((2, 3))).all()
    return np.argwhere(blocks.max((2, 3))) - (rows // 2, columns // 2)


def cross(*steps):
    return {(0, 0), *((step, 0) for step in steps), *((0, step) for step in steps)}


def as_mlp(shift_size, **options):
    small = dict(patch_size=4, dim=20, depths=(1, 1), input_shape=(64, 64, 3), include_top=False)
    return keras_mlp.ASMLP(**small | options, shift_size=shift_size, weights=None)


def test_a_block_of_as_mlp_with_shift_5_reaches_a_cross_of_five_positions_an_axis():
    model = as_mlp(5)
    field = receptive_field(model, "stages_0_0")
    assert set(map(tuple, patches(field, 4).tolist())) == cross(-2, -1, 1, 2)
    assert field.shape == "cross" and field.layer == "stages_0_0"
    assert receptive_field(model, "stages_0_0", statistics=True).shape == "whole image", "its group norms do"


def test_a_block_of_mixer_reaches_everything_and_its_stem_one_patch():
    model = keras_mlp.MLPMixer(patch_size=8, dim=8, depth=1, input_shape=(32, 48, 3), classes=2, dtype="mixed_bfloat16")
    assert receptive_field(model, "blocks_0").reached == 1
    stem = receptive_field(model, "stem", position=(0, 5))
    assert stem.shape == "rectangle" and stem.pixels[:8, 40:].all() and stem.reached == 1 / 24


def test_a_block_of_cycle_mlp_reaches_its_neighbours_along_both_axes():
    model = keras_mlp.CycleMLP(
        dims=(8,), depths=(1,), mlp_ratios=(1,), patch_size=2, input_shape=(32, 32, 3), include_top=False
    )
    stem, block = (receptive_field(model, name).pixels.astype(bool) for name in ("stem", "stages_0_0"))
    expected = np.zeros_like(stem)
    for step in (-2, 0, 2):  # a position is two pixels
        expected |= np.roll(stem, step, 0) | np.roll(stem, step, 1)
    np.testing.assert_array_equal(block, expected)


@pytest.mark.parametrize("border", ["circular", "zeros"])
def test_hire_mlp_reaches_the_opposite_border_where_it_shifts_in_a_circle(border):
    """The second block shifts by one, so that the first and the last position of an axis fall into one region."""
    small = dict(patch_size=4, dims=(8,), depths=(2,), region_sizes=(2,), shift_periods=(2,), shift_sizes=(1,))
    small |= dict(mlp_ratios=(1,), input_shape=(32, 32, 3), include_top=False)
    model = keras_mlp.HireMLP(**small, shift_border=border)
    corner = receptive_field(model, "stages_0_1", position=(0, 0)).pixels
    assert corner[:, -1].any() == corner[-1].any() == (border == "circular")
    regions = receptive_field(model, "stages_0_0", position=(0, 0)).pixels
    assert regions[:8, :4].any() and not regions[12:].any() and not regions[:, 12:].any(), (
        "a region and the patches' overlap"
    )


def test_blocks_of_tokens_and_models_behind_others_are_looked_into():
    """A class token and a sequence of positions become a map; attention reaches everything."""
    model = keras_mlp.ViT(patch_size=8, dim=8, depth=2, heads=2, input_shape=(16, 24, 3), classes=2)
    behind = keras.Sequential([keras.Input((16, 24, 3)), keras.layers.RandomFlip(), model])
    for given in model, behind:
        assert list(inner.maps(given).output) == ["stem", "blocks_0", "blocks_1"]
        assert receptive_field(given, "blocks_0").shape == "whole image"


def test_weights_of_zero_count_as_connections():
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="zeros")(image))
    assert receptive_field(model).pixels.sum() == 9


def test_a_model_of_another_package_is_taken(tmp_path):
    """Expected: three convolutions of 3×3, one of them after a pooling of 2×2."""
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = keras.layers.MaxPooling2D(2)(keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x))
    x = keras.layers.Conv2D(4, 3, padding="same", name="last")(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    field = receptive_field(model)
    assert (field.layer, field.shape, field.pixels.sum()) == ("last", "rectangle", 100)
    plot_receptive_fields({"small": {"last": field}}, tmp_path / "field.png")
    assert (tmp_path / "field.png").read_bytes().startswith(b"\x89PNG")


def test_the_effective_field_is_the_gradient_of_the_centre_over_real_images():
    """A blur of known weights: contributions are those weights, and log10(1 + x) of them if asked."""
    weights = np.outer((1.0, 2.0, 1.0), (1.0, 2.0, 1.0))
    image = keras.Input((9, 9, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", use_bias=False, name="blur")(image))
    model.get_layer("blur").kernel.assign(weights[..., None, None])
    images = np.random.default_rng(0).uniform(1, 9, (3, 9, 9, 1))
    field = effective_receptive_field(model, images, logarithm=False)
    expected = np.zeros((9, 9))
    expected[3:6, 3:6] = weights
    np.testing.assert_allclose(field.pixels, expected, rtol=1e-6)
    logarithmic = effective_receptive_field(model, images)
    np.testing.assert_allclose(logarithmic.pixels, np.log10(1 + expected) / np.log10(5), rtol=1e-6)
    assert field.square(0.5) == (3, 9 / 81)


def test_contributions_are_of_normalised_pixels():
    """The same network with and without preprocessing inside has the same field."""
    options = dict(patch_size=8, dim=8, depth=1, input_shape=(32, 32, 3), include_top=False)
    inside = keras_mlp.MLPMixer(**options)
    outside = keras_mlp.MLPMixer(**options, include_preprocessing=False)
    outside.set_weights(inside.get_weights())
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    scale, offset = keras_mlp.model_card("mlp_mixer_b16").preprocessing.scale_and_offset
    fields = [effective_receptive_field(inside, images), effective_receptive_field(outside, images * scale + offset)]
    np.testing.assert_allclose(fields[0].pixels, fields[1].pixels, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.99])
def test_the_square_of_a_share_is_the_smallest_odd_one_that_holds_more(share):
    pixels = np.random.default_rng(0).uniform(size=(40, 60))
    side, area = Field(pixels, "x").square(share)
    held = [(2 * i + 1, pixels[max(0, 20 - i) : 21 + i, 30 - i : 31 + i].sum() / pixels.sum()) for i in range(1, 31)]
    assert side == next(side for side, part in held if part > share)
    assert 0 < area <= 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (dict(layer="stages_9_9"), "`layer` must be a block or a layer that gives a map: stem, stages_0_0"),
        (dict(position=(16, 0)), "`position` must be a row and a column of a map of 16×16"),
        (dict(image_size=(32, 32)), "`image_size` must be two positive integers that the model takes"),
    ],
)
def test_wrong_arguments_are_told(arguments, told):
    with pytest.raises(ValueError, match=told):
        receptive_field(as_mlp(3), **{"layer": "stages_0_0"} | arguments)
