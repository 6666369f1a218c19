"""Declaring a family: variants, heads."""

import keras
import pytest

from keras_mlp import cards
from keras_mlp.family import Family

PAPER = cards.Paper("A network", "Nobody", 2026, "nowhere")


def test_a_misspelt_field_of_a_variant_fails_where_it_is_declared():
    family = Family("misspelt", title="Misspelt", paper=PAPER, preprocessing=cards.Preprocessing())

    @family.builder
    def Misspelt(x, width=8):
        """A network.

        Args:
            width: of it.
        """
        return x

    with pytest.raises(TypeError, match="widht"):
        family.variant("MisspeltS", "misspelt_s", title="S", parameters=1, macs=1, widht=4)
    with pytest.raises(TypeError, match="macs"):
        family.variant("MisspeltS", "misspelt_s", title="S", parameters=1, width=4)


def test_a_family_may_have_a_head_of_its_own():
    def two_heads(x, classes, activation):
        pooled = keras.layers.GlobalMaxPooling2D()(x)
        heads = [keras.layers.Dense(classes, activation, name=f"head_{i}")(pooled) for i in range(2)]
        return keras.layers.Average(name="head_average")(heads)

    family = Family("headed", title="Headed", paper=PAPER, preprocessing=cards.Preprocessing(), head=two_heads)

    @family.builder
    def Headed(x, width=8):
        """A network.

        Args:
            width: of it.
        """
        return keras.layers.Conv2D(width, 1, name="stem")(x)

    model = Headed(input_shape=(8, 8, 3), classes=5)
    assert [layer.name for layer in model.layers[-3:]] == ["head_0", "head_1", "head_average"]
    assert model.output.shape == (None, 5)
    assert Headed(input_shape=(8, 8, 3), include_top=False).output.shape == (None, 8, 8, 8)
