"""Global filters are products in the spectrum, however they are computed, and are resized as their authors do it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.checkpoints.resample import resample
from keras_mlp.layers import GlobalFilter, filtered, global_filter, products

draw = np.random.default_rng(0)


def reference(x, kept):
    """The same by NumPy's transforms."""
    spectrum = np.fft.rfft2(x, axes=(1, 2)) * (kept[..., 0] + 1j * kept[..., 1])
    return np.fft.irfft2(spectrum, x.shape[1:3], axes=(1, 2))


@pytest.mark.parametrize("size", [(1, 9), (4, 6), (5, 4), (7, 7), (50, 3)])
@pytest.mark.parametrize("long", [0, 100], ids=["fast transforms", "products"])
def test_spectra_are_multiplied_as_numpy_does_it(size, long, monkeypatch):
    """With filters of no real map, as learned ones are: their spectra have no symmetry where that of a map has."""
    monkeypatch.setattr(global_filter, "_LONG", long)
    x, kept = draw.normal(size=(2, *size, 3)), draw.normal(size=(size[0], size[1] // 2 + 1, 3, 2))
    expected = reference(x, kept)
    np.testing.assert_allclose(filtered(x, keras.ops.convert_to_tensor(kept)), expected, atol=1e-12)
    with products.for_litert(integers=False):
        np.testing.assert_allclose(filtered(x, keras.ops.convert_to_tensor(kept)), expected, atol=1e-12)


def test_maps_of_a_size_that_only_the_graph_knows_are_filtered_alike():
    layer = GlobalFilter(size=(6, 5))
    layer.build((None, None, None, 4))
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 4))])
    for size in (6, 5), (9, 4), (1, 2):
        x = draw.normal(size=(2, *size, 4)).astype("float32")
        np.testing.assert_allclose(unknown(x), layer(x), atol=1e-6)


@pytest.mark.parametrize("long", [0, 100], ids=["fast transforms", "products"])
def test_files_for_other_runtimes_have_no_fast_transforms(long, monkeypatch):
    monkeypatch.setattr(global_filter, "_LONG", long)
    layer = GlobalFilter()
    layer.build((None, 6, 6, 4))

    def operations():
        graph = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec((None, 6, 6, 4))).graph
        return {operation.type for operation in graph.get_operations()}

    assert ("RFFT" in operations()) == (not long)
    with products.for_export():
        assert "RFFT" not in operations()


def test_filters_are_interpolated_between_their_corners():
    """By cubic convolution for another grid of the model, linearly at each call where the layer has a size."""
    line = np.arange(4.0)
    kept = np.broadcast_to(line[:, None, None, None], (4, 4, 2, 2))
    axes = GlobalFilter.grid_axes["filter"]
    larger = resample(kept, axes, (4, 6), (7, 12))
    assert larger.shape == (7, 7, 2, 2)
    np.testing.assert_allclose(larger[::2, 0, 0, 0], line, atol=1e-12)
    assert np.allclose(larger, larger[:, :1, :1, :1])
    taps = resample(np.eye(4), ("height spectrum", None), (4, 1), (7, 1))
    np.testing.assert_allclose(32 * taps[3], [-3, 19, 19, -3])  # PyTorch's: a = -0.75

    layer = GlobalFilter(size=(4, 6), dtype="float64")
    layer.build((None, 7, 12, 2))
    layer.filter.assign(kept)
    x = draw.normal(size=(2, 7, 12, 2))
    linear = np.broadcast_to(np.linspace(0, 3, 7)[:, None, None, None], (7, 7, 2, 2))
    np.testing.assert_allclose(layer(x), reference(x, linear), atol=1e-12)
