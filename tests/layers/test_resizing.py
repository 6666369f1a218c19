"""Maps of another size."""

import keras
import numpy as np
import pytest

from keras_mlp.layers import AdaptiveAveragePooling, Resize, resized


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def expected(x, size, interpolation, align_corners):
    """Each position by itself."""
    y = np.zeros((len(x), *size, x.shape[-1]))
    for row, column in np.ndindex(*size):
        at = []
        for i, old, new in ((row, x.shape[1], size[0]), (column, x.shape[2], size[1])):
            if interpolation == "nearest":
                at.append({i * old // new: 1.0})
                continue
            place = i * (old - 1) / max(new - 1, 1) if align_corners else max((i + 0.5) * old / new - 0.5, 0)
            low = min(int(place), old - 1)
            at.append({low: 1 - (place - low)})
            high = min(low + 1, old - 1)
            at[-1][high] = at[-1].get(high, 0) + place - low
        for r, weight in at[0].items():
            for c, other in at[1].items():
                y[:, row, column] += weight * other * x[:, r, c]
    return y


@pytest.mark.parametrize("size", [(8, 14), (5, 3), (4, 7), (2, 30)])
@pytest.mark.parametrize("how", [("bilinear", False), ("bilinear", True), ("nearest", False)])
def test_maps_are_resized_as_pytorch_does_it(size, how):
    x = normal(2, 4, 7, 3)
    np.testing.assert_allclose(resized(keras.ops.convert_to_tensor(x), size, *how), expected(x, size, *how), atol=1e-6)
    single = resized(keras.ops.convert_to_tensor(x.astype("float32")), size, *how)
    np.testing.assert_allclose(single, expected(x, size, *how), atol=1e-5)


@pytest.mark.parametrize("layer", [Resize(3), Resize(2, align_corners=True), AdaptiveAveragePooling(3)])
def test_maps_of_unknown_size_are_resized_alike(layer):
    x = normal(2, 4, 7, 3).astype("float32")
    unknown = keras.Model(source := keras.Input((None, None, 3)), layer(source))
    np.testing.assert_allclose(unknown.predict(x, verbose=0), layer(x), atol=1e-6)
    two = keras.Model(like := [keras.Input((None, None, 3)), keras.Input((None, None, 1))], Resize()(like))
    given = [x, normal(2, 9, 5, 1).astype("float32")]
    np.testing.assert_allclose(two.predict(given, verbose=0), resized(x, (9, 5)), atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 4, 6])
def test_parts_of_a_map_overlap_where_they_must(size):
    x = normal(1, 4, 7, 2).astype("float32")
    y = np.asarray(AdaptiveAveragePooling(size)(x))
    for i, j in np.ndindex(size, size):
        rows, columns = (slice(k * n // size, -(-(k + 1) * n // size)) for k, n in ((i, 4), (j, 7)))
        np.testing.assert_allclose(y[0, i, j], x[0, rows, columns].mean((0, 1)), atol=1e-6)


def test_another_interpolation_is_refused():
    with pytest.raises(ValueError, match="one of bilinear, nearest. Received: interpolation='cubic'"):
        Resize(2, interpolation="cubic")
