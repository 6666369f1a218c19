"""CMT's own: a number for each pair of positions, at other input sizes; and what of its head goes with the backbone."""

import golden
import numpy as np
import pytest

import keras_mlp
from keras_mlp.checkpoints import resample
from keras_mlp.families.cmt import PairPositions

CASE = golden.load("cmt/tiny.json")
AXES = PairPositions.grid_axes["positions"]


def test_numbers_of_pairs_are_interpolated_over_both_grids():
    """A product over positions and keys becomes the product of what both factors become; heads stay apart."""
    draw = np.random.default_rng(0)
    queries, keys, heads = draw.normal(size=8 * 6), draw.normal(size=4 * 3), np.array([1.0, -2.0])[:, None, None]
    moved = resample.resample(heads * queries[:, None] * keys, AXES, (8, 6), (4, 10), reduction=2)
    by_query = resample.resample(queries, ("embedding",), (8, 6), (4, 10))
    by_key = resample.resample(keys, ("embedding",), (4, 3), (2, 5))
    np.testing.assert_allclose(moved, heads * by_query[:, None] * by_key, atol=1e-12)


def test_a_layer_has_a_number_for_each_head_and_pair_and_refuses_what_it_cannot_reduce():
    layer = PairPositions(2, 2)
    images = np.zeros((3, 8, 6, 5))
    assert layer(images).shape == (2, 48, 12) == layer.compute_output_shape(images.shape)
    with pytest.raises(ValueError, match="multiples of the reduction, 4. Received: width=6. The nearest .*: 4 and 8"):
        PairPositions(2, 4)(images)


def test_blocks_of_a_stage_share_their_numbers():
    model = golden.build(CASE)
    stages = len(CASE.config["depths"])
    assert sum(isinstance(layer, PairPositions) for layer in model.layers) == stages < sum(CASE.config["depths"])


@pytest.mark.parametrize("size", [(128, 64), (32, 96)])
def test_checkpoints_load_into_models_of_another_grid_with_their_numbers_resampled(size):
    builder, arguments = golden.arguments(CASE)
    model = builder(**arguments | {"input_shape": (*size, 3)}, classes=10)
    report = keras_mlp.load_checkpoint(model, CASE.state_dict())
    places = "stem_position", *(f"down_{stage}_position" for stage in (1, 2, 3))
    assert set(report.resampled) == {f"{place}/positions" for place in places}
    resized = keras_mlp.resize(golden.build(CASE), size)
    for layer in (layer for layer in model.layers if isinstance(layer, PairPositions)):
        np.testing.assert_array_equal(layer.positions, resized.get_layer(layer.name).positions)


def test_a_new_head_keeps_the_published_projection_and_its_norm():
    builder, arguments = golden.arguments(CASE)
    model = builder(**arguments, classes=3)
    report = keras_mlp.load_checkpoint(model, CASE.state_dict(), new_head=True)
    assert report.fresh == ("head/bias", "head/kernel")
    kernel = golden.tensor("_fc.weight", CASE.tensors["_fc.weight"])[:, :, 0, 0].T
    np.testing.assert_array_equal(model.get_layer("head_projection").kernel, kernel)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(input_shape=(48, 64, 3)), "multiples of 32. Received: height=48. The nearest that work: 32 and 64"),
        (dict(input_shape=(None, None, 3)), "pairs of positions of a fixed grid.*static `input_shape`"),
        (dict(heads=(3, 2, 4, 8)), r"multiple of its `heads` times `qk_ratio`.* 64 is no multiple of 3"),
        (dict(reductions=(0, 4, 2, 1)), r"positive whole numbers. Received: reductions=\(0, 4, 2, 1\)"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.CMT(**arguments)
