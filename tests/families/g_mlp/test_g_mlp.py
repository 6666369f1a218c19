"""gMLP's gate."""

import numpy as np
import pytest

from keras_mlp.families import g_mlp


def test_the_spatial_gate_begins_as_a_multiplication_by_one():
    x = np.random.RandomState(0).standard_normal((2, 3, 4, 6)).astype("float32")
    np.testing.assert_allclose(g_mlp.SpatialGatingUnit(epsilon=1e-5)(x), x[..., :3], atol=1e-4)
    with pytest.raises(ValueError, match="even.*Received: 5"):
        g_mlp.SpatialGatingUnit(epsilon=1e-5)(x[..., :5])
