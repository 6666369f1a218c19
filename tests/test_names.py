"""Names of layers: their places, prefixes, and what a name may hold."""

import pytest

from keras_mlp import names
from keras_mlp.names import Place


@pytest.mark.parametrize(
    "name, place",
    [
        ("stem", Place("stem")),
        ("stem_0_conv", Place("stem")),
        ("position", Place("stem")),
        ("blocks_11_norm1", Place("block", (11,))),
        ("stages_2_10_token_mixing", Place("block", (2, 10))),
        ("levels_0_2_raft_height", Place("block", (0, 2))),
        ("down_1", Place("down", (1,))),
        ("down_3_norm", Place("down", (3,))),
        ("norm", Place("top")),
        ("level_1_norm", Place("top")),
        ("head", Place("head")),
        ("head_distilled", Place("head")),
        ("left.blocks_1", Place("block", (1,))),
        ("a.b.head", Place("head")),
        ("dense", None),
        ("headless", None),
        ("normalization", None),
        ("blocks", None),
        ("stages_0", None),
        ("downsample", None),
    ],
)
def test_a_name_tells_the_place_in_the_network(name, place):
    assert names.parse(name) == place


def test_a_prefix_is_put_before_a_name_and_taken_off_again():
    name = names.prefixed("left", "stem")
    assert (name, names.prefix(name), names.local(name)) == ("left.stem", "left", "stem")
    assert (names.prefix("stem"), names.local("stem")) == ("", "stem")
