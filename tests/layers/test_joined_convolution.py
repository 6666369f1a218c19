"""A convolution of maps of several sizes is that of the resized, joined maps."""

import keras
import numpy as np
import pytest

from keras_mlp.layers import JoinedConv2D, products, resized

SIZES = [(8, 12), (4, 6), (3, 5), (1, 1)]


def maps(dtype="float64", sizes=SIZES):
    random = np.random.default_rng(0)
    return [keras.ops.convert_to_tensor(random.normal(size=(2, *side, i + 2)), dtype) for i, side in enumerate(sizes)]


def built(given, kernel_size=3, **options):
    layer = JoinedConv2D(5, kernel_size, padding="same", bias_initializer="normal", **options)
    layer(given)
    return layer


def expected(layer, given):
    plain = keras.layers.Conv2D(5, layer.kernel_size, padding="same", activation=layer.activation, dtype=layer.dtype)
    joined = keras.ops.concatenate([resized(x, given[0].shape[1:3]) for x in given], axis=-1)
    plain.build(joined.shape)
    plain.set_weights(layer.get_weights())
    return plain(joined)


@pytest.mark.parametrize("kernel_size", [1, 3, (3, 5)])
@pytest.mark.parametrize("sizes", [SIZES, [(4, 4), (3, 4), (2, 2)], [(4, 4), (8, 8)]])  # others do not pay
def test_the_result_is_that_of_the_resized_maps(kernel_size, sizes):
    given = maps(sizes=sizes)
    layer = built(given, kernel_size, activation="relu", dtype="float64")
    np.testing.assert_allclose(layer(given), expected(layer, given), atol=1e-12)


def test_sizes_may_be_unknown_and_the_layer_is_saved(tmp_path):
    given = maps("float32")
    inputs = [keras.Input((None, None, x.shape[-1])) for x in given]
    layer = JoinedConv2D(5, 3, padding="same")
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 5)
    found = model.predict(given, verbose=0)
    np.testing.assert_allclose(found, layer(given), atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras").predict(given, verbose=0), found)


def test_a_file_for_litert_has_the_convolution_itself():
    given = maps("float32")
    layer = built(given)
    usual = np.asarray(layer(given))
    with products.for_litert(integers=False):
        np.testing.assert_allclose(layer(given), usual, atol=1e-5)


def test_what_it_cannot_turn_round_is_refused():
    for options in ({"strides": 2}, {"dilation_rate": 2}, {"kernel_size": 2}, {"padding": "valid"}):
        with pytest.raises(ValueError, match="must have padding=.same., data_format=.channels_last., an odd kernel"):
            JoinedConv2D(**{"filters": 5, "kernel_size": 3, "padding": "same"} | options)(maps("float32"))
