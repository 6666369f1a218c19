"""The picture of the token-mixing weights."""

import golden
import keras
import numpy as np
import pytest

import keras_mlp
from keras_mlp.analysis.mixing import mixings, plot_token_mixing
from keras_mlp.families.ccs_mlp import CirculantMixing
from keras_mlp.layers import GlobalFilter, showing

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
    with pytest.raises(ValueError, match="'plain' has no layers that show how they mix tokens"):
        plot_token_mixing(model, tmp_path / "weights.png")


IMAGE = np.random.default_rng(0).uniform(0, 255, (32, 32, 3)).astype("float32")


def impulses(layer, shape, at=(0, 0)):
    """What a layer answers to a one at a position, in each channel, without what it answers to nothing."""
    x = np.zeros((2, *shape), "float32")
    x[1][at] = 1
    still, answer = keras.ops.convert_to_numpy(layer(x))
    return np.moveaxis(answer - still, -1, 0)


def test_windows_that_are_drawn_are_what_an_impulse_gives():
    """Of circulant matrices from the first position on, of global filters around the middle."""
    groups = CirculantMixing(2)
    answers = impulses(groups, (2, 3, 4))
    np.testing.assert_allclose(showing.weights(groups).values, answers[::2], atol=1e-6)
    filters = GlobalFilter()
    answers = impulses(filters, (4, 6, 3), at=(2, 3))
    norms = np.linalg.norm(answers, axis=(1, 2))
    np.testing.assert_allclose(showing.weights(filters).values, answers[np.argsort(-norms)], atol=1e-6)


def test_what_is_drawn_of_repmlpnet_has_the_convolutions_in_it_once_they_are_merged():
    """The weight of each position for the centre, over tiles of 4 x 4."""
    options = dict(dims=(8,), depths=(1,), tiles=(4,), share_sets=(2,), kernel_sizes=(3,), patch_size=8)
    model = keras_mlp.RepMLPNet(**options, input_shape=(32, 32, 3), classes=2)
    (plain,) = (p for name, p in mixings(model).items() if name.endswith("fc3"))
    merged = keras_mlp.fuse(model)
    (drawn,) = (p for name, p in mixings(merged).items() if name.endswith("fc3"))
    assert drawn.values.shape == plain.values.shape == (2, 4, 4)
    assert np.abs(drawn.values - plain.values).max() > 0.01
    layer = next(layer for layer in merged.layers if layer.name.endswith("fc3"))
    rows = np.zeros((2, 4, 4, 4, 2), "float32")
    rows[1, 1, 2] = 1
    still, answer = keras.ops.convert_to_numpy(layer(rows))
    np.testing.assert_allclose((answer - still)[2, 2, 0], drawn.values[:, 1, 2], atol=1e-6)


def test_attention_and_generated_matrices_are_shares_that_sum_to_one():
    options = dict(patch_size=8, input_shape=(32, 32, 3), classes=2)
    vit = keras_mlp.ViT(**options, dim=8, depth=1, heads=2)
    (seen,) = mixings(vit, IMAGE).values()
    assert seen.values.shape == (2, 17, 17)  # a class token and 4 x 4 positions
    np.testing.assert_allclose(seen.values.sum(-1), 1, rtol=1e-5)
    stages = dict(dims=(8,), depths=(1,), transitions=(False,), mlp_ratios=(1,))
    dynamic = keras_mlp.DynaMixer(**options, **stages, heads=(2,), reduced_dims=(2,))
    made = mixings(dynamic, IMAGE)
    assert [name.rpartition("_")[2] for name in made] == ["height", "width"]
    for pictures in made.values():
        assert pictures.values.shape == (2, 4, 4)
        np.testing.assert_allclose(pictures.values.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "needs_an_image", "count"),
    [("g_mlp", False, 1), ("posmlp", False, 1), ("smlp", False, 3), ("wave_mlp", True, 2), ("sparse_mlp", True, 2)],
)
def test_families_show_gates_relative_positions_phases_and_routes(family, needs_an_image, count, tmp_path):
    case = golden.small(family)
    model = golden.build(case, load=False)
    without, found = mixings(model), mixings(model, case.images()[0])
    assert len(found) - (len(without) if needs_an_image else 0) >= count
    assert all(pictures.values.ndim == 3 and np.isfinite(pictures.values).all() for pictures in found.values())
    plot_token_mixing(model, tmp_path / "picture.png", units=4, image=case.images()[0])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_an_mlp_along_a_sequence_is_drawn_without_its_class_token():
    model = keras_mlp.FeedForward(patch_size=8, dim=8, depth=1, input_shape=(16, 32, 3), classes=2)
    (drawn,) = mixings(model).values()
    kernel = np.asarray(model.get_layer("blocks_0_token_mixing").fc1.kernel)
    strongest = np.linalg.norm(kernel[1:], axis=0).argmax()
    np.testing.assert_array_equal(drawn.values[0], kernel[1:, strongest].reshape(2, 4))


def test_images_and_clips_of_another_size_are_refused(model):
    for image in (IMAGE, IMAGE[0], IMAGE[None]):
        with pytest.raises(ValueError, match=r"`image` must be one image \(16, 32, 3\)"):
            mixings(model, image)
