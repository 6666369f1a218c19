"""Another input size with the same weights."""

import golden
import keras
import numpy as np
import pytest
from in_numpy import interpolated

import keras_mlp
from keras_mlp.checkpoints.resample import carry_over, resample

TIMM = golden.load("mlp_mixer/tiny.json")  # a grid of 4 x 4


def features(model):
    """The map before the pooling."""
    return keras.Model(model.input, model.get_layer("norm").output)


GRIDS = pytest.mark.parametrize(
    "old, new", [((4, 4), (6, 6)), ((4, 4), (2, 3)), ((3, 5), (7, 2)), ((14, 14), (24, 20))]
)


@GRIDS
def test_maps_are_carried_over_in_both_directions_and_constants_are_kept(old, new):
    up, down = carry_over(old, new)
    np.testing.assert_allclose(up.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(down.sum(axis=1), 1, atol=1e-12)
    assert up.shape == (new[0] * new[1], old[0] * old[1]) == down.shape[::-1]
    if new >= old and new[1] >= old[1]:
        np.testing.assert_allclose(down @ up, np.eye(old[0] * old[1]), atol=1e-12)


def test_positions_stay_where_they_are_in_the_picture():
    """A ramp along the height, and one along the width, are still ramps of the same slope."""
    for new in ((24, 20), (7, 5)):
        up, _ = carry_over((14, 14), new)
        for axis in (0, 1):
            ramp, expected = (np.indices(grid)[axis] / grid[axis] + 0.5 / grid[axis] for grid in ((14, 14), new))
            np.testing.assert_allclose((up @ ramp.ravel()).reshape(new), expected, atol=0.5 / 14)


def test_the_same_grid_changes_nothing():
    weight = np.random.RandomState(0).standard_normal((16, 16)).astype("float32")
    np.testing.assert_array_equal(resample(weight, ("in", "out"), (4, 4), (4, 4)), weight)


@GRIDS
def test_a_linear_layer_keeps_its_output_for_a_constant(old, new):
    """W' = U W D, b' = U b: a constant map gives the old answer, spread over the new grid."""
    rng = np.random.RandomState(0)
    n, m = np.prod(old), np.prod(new)
    kernel, bias = rng.standard_normal((n, n)), rng.standard_normal(n)
    answer = np.ones(m) @ resample(kernel, ("in", "out"), old, new) + resample(bias, ("out",), old, new)
    np.testing.assert_allclose(answer, carry_over(old, new)[0] @ (np.ones(n) @ kernel + bias), atol=1e-10)


@pytest.mark.parametrize("count", [3, 5, 11])
def test_vectors_along_one_side_are_interpolated_linearly(count):
    table = np.random.RandomState(0).standard_normal((5, 4))
    moved = resample(table, ("frames linear", None), (5, 2, 3), (count, 7, 7))
    np.testing.assert_allclose(moved, interpolated(table, count), atol=1e-12)
    offsets = np.random.RandomState(1).standard_normal((9, 4))
    moved = resample(offsets, ("height offsets linear", None), (2, 5, 3), (2, count, 3))
    np.testing.assert_allclose(moved, interpolated(offsets, 2 * count - 1), atol=1e-12)


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (48, 40)])
def test_an_enlarged_image_keeps_its_features_at_every_position(size):
    """The whole network, not one layer: patch by patch the map is the old one, copied; a constant image is a case."""
    keras.config.set_dtype_policy("float64")
    model = features(golden.build(TIMM))
    patches = TIMM.images().reshape(2, 4, 8, 4, 8, 3)
    constant = np.full_like(patches, 0.7)
    up_h, up_w = (((np.arange(n // 8) + 0.5) * 32 / n).astype(int) for n in size)
    for image in (patches, constant):
        enlarged = image[:, up_h][:, :, :, up_w].reshape(2, *size, 3)
        expected = np.asarray(model(image.reshape(2, 32, 32, 3)))[:, up_h][:, :, up_w]
        np.testing.assert_allclose(keras_mlp.resize(model, size)(enlarged), expected, atol=1e-9)


@pytest.mark.parametrize("size", [(64, 64), (96, 32)])
def test_a_constant_image_keeps_its_output(size):
    model = golden.build(TIMM)
    before, after = model(np.full((1, 32, 32, 3), 0.7)), keras_mlp.resize(model, size)(np.full((1, *size, 3), 0.7))
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (24, 32)])
def test_the_first_token_mixing_keeps_its_output_for_a_constant_on_smaller_grids(size):
    model = golden.build(TIMM)
    first = model.get_layer("blocks_0_token_mixing").output
    mixing = keras.Model(model.input, first)
    before = np.asarray(mixing(np.full((1, 32, 32, 3), 0.7))).reshape(16, -1)
    after = np.asarray(keras_mlp.resize(mixing, size)(np.full((1, *size, 3), 0.7)))
    up, _ = carry_over((4, 4), (size[0] // 8, size[1] // 8))
    np.testing.assert_allclose(after.reshape(len(up), -1), up @ before, atol=1e-5)


def test_published_weights_are_resampled_when_the_shape_differs():
    builder, arguments = golden.arguments(TIMM)
    model = builder(**arguments | {"input_shape": (48, 40, 3)}, include_top=False)
    report = keras_mlp.load_checkpoint(model, TIMM.state_dict())
    assert {"blocks_0_token_mixing/fc1/kernel", "blocks_1_token_mixing/fc2/bias"} <= set(report.resampled)
    assert len(report.resampled) == 3 * 2
    assert model(np.zeros((1, 48, 40, 3))).shape == (1, 6, 5, 32)
    resized = keras_mlp.resize(golden.build(TIMM), (48, 40))
    expected = keras.Model(resized.input, resized.get_layer("norm").output)
    images = np.random.RandomState(0).standard_normal((2, 48, 40, 3))
    np.testing.assert_allclose(model(images), expected(images), atol=1e-5)


def test_a_grid_that_is_no_square_needs_the_size_it_was_trained_at():
    case = golden.load("mlp_mixer/tiny_rect_npz.json")  # 2 x 4 positions
    builder, arguments = golden.arguments(case)
    model = builder(**arguments | {"input_shape": (64, 64, 3)}, include_top=False)
    with pytest.raises(ValueError, match=r"fc1/kernel is \(8, 40\) \(no square grid: pass `input_size`"):
        keras_mlp.load_checkpoint(model, case.state_dict())
    report = keras_mlp.load_checkpoint(model, case.state_dict(), input_size=(32, 64))
    assert report.resampled


def test_grids_of_as_many_positions_in_other_proportions_are_told_apart_by_the_input_size():
    """2 x 8 positions are as many as 4 x 4, and not the same places."""
    builder, arguments = golden.arguments(TIMM)
    model = builder(**arguments | {"input_shape": (16, 64, 3)}, include_top=False)
    report = keras_mlp.load_checkpoint(model, TIMM.state_dict(), input_size=(32, 32))
    assert len(report.resampled) == 3 * 2
    resized = features(keras_mlp.resize(golden.build(TIMM), (16, 64)))
    images = np.random.RandomState(0).standard_normal((2, 16, 64, 3))
    np.testing.assert_allclose(model(images), resized(images), atol=1e-5)
    same = golden.build(TIMM, load=False)
    assert not keras_mlp.load_checkpoint(same, TIMM.state_dict(), input_size=(32, 32)).resampled
    assert TIMM.error(same(TIMM.images())) < 1e-4


def test_resize_takes_a_fine_tuned_model_with_more_layers_and_nested_ones():
    builder, arguments = golden.arguments(TIMM)
    backbone = builder(**arguments, include_top=False)
    outer = keras.Sequential(
        [keras.Input((32, 32, 3)), backbone, keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(4)]
    )
    resized = keras_mlp.resize(outer, (64, 48))
    assert resized.output.shape == (None, 4)
    np.testing.assert_array_equal(outer.layers[-1].kernel, resized.layers[-1].kernel)
    assert outer.inputs[0].shape == (None, 32, 32, 3)


def test_resize_reaches_backbones_in_wrappers_and_in_models_within_models():
    builder, arguments = golden.arguments(TIMM)
    backbone = builder(**arguments, include_top=False, pooling="avg")
    film, image = keras.Input((3, 32, 32, 3)), keras.Input((32, 32, 3))
    halved = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.RandomFlip(), backbone])
    frames = keras.Model(film, keras.layers.TimeDistributed(keras.Model(image, halved(2 * image)))(film))
    resized = keras_mlp.resize(frames, (64, 48))
    images = np.random.RandomState(0).standard_normal((2, 3, 64, 48, 3)).astype("float32")
    alone = keras_mlp.resize(backbone, (64, 48))
    expected = np.stack([alone(2 * images[:, i]) for i in range(3)], axis=1)
    np.testing.assert_allclose(resized(images, training=False), expected, atol=1e-5)
    shrunk = keras.Model(
        film,
        keras.layers.TimeDistributed(backbone)(
            keras.layers.Lambda(lambda x: x[:, :, ::2, ::2])(keras.layers.UpSampling3D((1, 2, 2))(film))
        ),
    )
    images = images[:, :, :32, :32]
    np.testing.assert_allclose(keras_mlp.resize(shrunk, (32, 32))(images), shrunk(images), atol=1e-5)


def test_resize_refuses_what_cannot_work():
    model = golden.build(TIMM)
    for size in (64, (64,), (64, -8), (64.0, 64)):
        with pytest.raises(ValueError, match="two positive integers"):
            keras_mlp.resize(model, size)
    with pytest.raises(ValueError, match="height=60. The nearest that work: 56 and 64"):
        keras_mlp.resize(model, (60, 64))
    with pytest.raises(ValueError, match="functional Keras model"):
        keras_mlp.resize("model.keras", (64, 64))
    flat = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2, name="tied")])
    with pytest.raises(ValueError, match="Layer 'tied' cannot follow the new input size"):
        keras_mlp.resize(flat, (64, 64))
