"""Which families show how they mix positions, and which have nothing to show."""

import re

import golden
import pytest

from keras_mlp.analysis.mixing import mixings
from keras_mlp.zoo import FAMILIES
from weights import tables

NOTHING = {
    *("as_mlp", "s2_mlp", "s2_mlp_v2", "cycle_mlp", "shift_vit"),  # channels that move by fixed steps
    "pool_former",  # averages
    "hire_mlp",  # linear layers over the channels of a few positions at once
    "sequencer2d",  # the states of LSTMs
}
"""Families of which nothing is drawn."""


def test_the_page_names_the_families_of_which_nothing_is_drawn():
    text = (tables.ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    section = text.partition("## Families of which `mixing` draws nothing\n")[2].partition("\n## ")[0]
    titles = {title for row in re.findall(r"^\| (.+?) \|", section, re.MULTILINE) for title in row.split(", ")}
    assert {FAMILIES[name].title for name in NOTHING} == titles - {"family", "---"}


@pytest.mark.slow
def test_all_other_families_draw_something():
    drawn = set()
    for name in FAMILIES:
        case = golden.small(name)
        if mixings(golden.build(case, load=False), case.images()[0]):
            drawn.add(name)
    assert set(FAMILIES) - drawn == NOTHING
