"""Declaring a family: variants, heads."""

import keras
import pytest

from keras_mlp import cards
from keras_mlp.family import Family
from keras_mlp.heads import classify

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


def test_options_of_the_head_are_options_of_the_builders():
    def two_heads(features, classes, activation, *, heads_apart=False):
        """Two heads.

        Args:
            heads_apart: whether both are outputs.
        """
        outputs = [classify(features[of], classes, activation, name=f"head_{of}") for of in ("class_token", "other")]
        return outputs if heads_apart else keras.layers.Average(name="head_average")(outputs)

    family = Family("tokens", title="Tokens", paper=PAPER, preprocessing=cards.Preprocessing(), head=two_heads)

    @family.builder
    def Tokens(x, width=8):
        """A network.

        Args:
            width: of it.
        """
        x = keras.layers.Conv2D(width, 1, name="stem")(x)
        return {"map": x, "class_token": x[:, 0, 0], "other": x[:, 1, 1]}

    assert "heads_apart: whether both are outputs." in Tokens.__doc__
    shape = dict(input_shape=(8, 8, 3), classes=5)
    assert Tokens(**shape).output.shape == (None, 5)
    assert [output.shape for output in Tokens(**shape, heads_apart=True).outputs] == [(None, 5)] * 2
    assert Tokens(**shape, include_top=False).output.shape == (None, 8, 8, 8)
    assert Tokens(**shape, include_top=False, pooling="avg").output.shape == (None, 8)
