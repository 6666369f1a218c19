"""RoIAlign and masks inside boxes: exact to mmcv and mmdetection, in turns, compiled, with gradients."""

import pathlib

import golden
import keras
import numpy as np
import pytest
from keras import ops

from keras_mlp.tasks.detection import masks, roi_align, sparse_products

CASE = golden.load(pathlib.Path(__file__).parent / "cases" / "roi_align.json")
RNG = np.random.default_rng(0)
MAPS = [RNG.normal(size=(2, *sides, 3)).astype("float32") for sides in ((16, 20), (8, 10), (4, 5))]
STRIDES = (4, 8, 16)
BOXES = RNG.uniform((-4, -4, 20, 20), (40, 30, 90, 70), (2, 9, 4)).astype("float32")


@pytest.mark.parametrize("dtype, limit", [("float64", 1e-6), ("float32", 1e-4)])
def test_roi_align_computes_what_mmcv_does(dtype, limit):
    keras.config.set_floatx(dtype)
    try:
        found = golden.compute(CASE)
    finally:
        keras.config.set_floatx("float32")
    for ours, stored in zip(found["cases"], CASE.cases, strict=True):
        assert np.asarray(ours["output"]).shape == np.asarray(stored["output"]).shape
        np.testing.assert_allclose(ours["output"], stored["output"], rtol=0, atol=limit)
    assert found["levels"] == CASE.levels


def sampled(x, y, column):
    """A map at a point, by the definition: bilinear, the edge up to one position outside, 0 beyond."""
    height, width = x.shape[:2]
    if not (-1 <= y <= height and -1 <= column <= width):
        return np.zeros(x.shape[-1])
    y, column = min(max(y, 0), height - 1), min(max(column, 0), width - 1)
    top, left = int(y), int(column)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = x[top, left] + (x[top, right] - x[top, left]) * (column - left)
    lower = x[bottom, left] + (x[bottom, right] - x[bottom, left]) * (column - left)
    return upper + (lower - upper) * (y - top)


def by_definition(x, box, size):
    """RoIAlign of one box, point by point."""
    x1, y1, x2, y2 = box.astype("float64") - 0.5
    sides = np.array([y2 - y1, x2 - x1]) / size
    counts = np.ceil(sides).astype(int)
    bins = np.zeros((size, size, x.shape[-1]))
    for i, j in np.ndindex(size, size):
        for k, m in np.ndindex(*counts):
            y = y1 + (i + (k + 0.5) / counts[0]) * sides[0]
            bins[i, j] += sampled(x, y, x1 + (j + (m + 0.5) / counts[1]) * sides[1])
    return bins / max(counts.prod(), 1)


@pytest.mark.parametrize("size", [2, 7])
def test_any_box_is_the_mean_over_its_points(size):
    rng, x = np.random.default_rng(size), MAPS[0][0].astype("float64")
    corners = rng.uniform(-30, 50, (40, 2))
    boxes = np.concatenate([corners, corners + rng.exponential(12, (40, 2))], -1)
    boxes[0, 2:] = boxes[0, :2]  # empty
    found = roi_align.roi_align([ops.convert_to_tensor(x[None])], ops.convert_to_tensor(boxes[None]), size, [1])
    expected = [by_definition(x, box, size) for box in boxes]
    np.testing.assert_allclose(found[0], expected, atol=1e-9)


def test_boxes_take_turns_on_large_maps_and_are_seen_the_same_when_compiled(monkeypatch):
    def pooled(*maps):
        return roi_align.roi_align(maps, ops.convert_to_tensor(BOXES), 3, STRIDES, finest_size=15)

    expected = pooled(*map(ops.convert_to_tensor, MAPS))
    monkeypatch.setattr(sparse_products, "takes", lambda x: False)
    np.testing.assert_allclose(pooled(*map(ops.convert_to_tensor, MAPS)), expected, atol=1e-6)
    assert len(np.unique(roi_align.level_of(BOXES, 3, 15))) == 3
    monkeypatch.setattr(roi_align, "_MOST_NUMBERS", 2 * 3 * 20 * 3)
    np.testing.assert_allclose(pooled(*map(ops.convert_to_tensor, MAPS)), expected, atol=1e-6)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def slopes_of(*maps):
            with tf.GradientTape() as tape:
                tape.watch(maps)
                total = tf.reduce_sum(pooled(*maps) ** 2)
            return tape.gradient(total, maps)

        slopes, step = slopes_of(*map(tf.constant, MAPS)), 1e-2
        for x, slope in zip(MAPS, slopes, strict=True):
            place = np.unravel_index(np.argmax(np.abs(slope)), slope.shape)
            values = []
            for sign in (1, -1):
                moved = x.copy()
                moved[place] += sign * step
                values.append(np.sum(np.square(pooled(*[moved if y is x else y for y in MAPS]), dtype="float64")))
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(slope[place]), rel=1e-2)


def test_a_mask_pasted_into_its_box_and_seen_through_it_is_the_same_mask():
    grid = np.zeros((1, 3, 28, 28), "float32")
    grid[:, 0, 4:20, 9:25], grid[:, 1, :14], grid[:, 2] = 1, 1, 1
    where = np.array([[[8, 4, 64, 60], [30, 20, 86, 48], [10, 10, 10, 30]]], "float32")
    pasted = np.asarray(masks.paste(grid, where, (64, 90)))
    assert pasted.shape == (1, 3, 64, 90) and pasted.dtype == bool
    expected = np.zeros((64, 90), bool)
    expected[4 + 8 : 4 + 40, 8 + 18 : 8 + 50] = True
    np.testing.assert_array_equal(pasted[0, 0], expected)
    assert not pasted[0, 2].any()  # the box is empty
    again = masks.targets(pasted.astype("uint8"), np.array([[1, 0]]), where[:, [1, 0]])
    np.testing.assert_array_equal(again, grid[:, [1, 0]])


def test_gradients_of_sparse_products_are_those_of_dense_ones(monkeypatch):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("sparse products are TensorFlow's")
    import tensorflow as tf

    def slopes():
        with tf.GradientTape() as tape:
            maps = list(map(tf.Variable, MAPS))
            y = roi_align.roi_align(maps, tf.Variable(BOXES), 3, STRIDES, finest_size=15)
            total = tf.reduce_sum(y**2)
        return tape.gradient(total, maps)

    assert sparse_products.takes(tf.constant(MAPS[0]))
    found = slopes()
    monkeypatch.setattr(sparse_products, "takes", lambda x: False)
    for slope, expected in zip(found, slopes(), strict=True):
        np.testing.assert_allclose(slope, expected, atol=1e-5)
