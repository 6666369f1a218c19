"""Tables that are generated cannot lie."""

import pathlib
import urllib.parse

import golden
import numpy as np
import pytest
from absl.testing import flagsaver

from keras_mlp import cards, model_card, zoo
from weights import mirror, tables


@pytest.mark.parametrize("path", tables.GENERATED)
def test_tables_are_as_the_cards_say(path):
    assert tables.render(path) == (tables.ROOT / path).read_text(encoding="utf-8"), "run `make tables`"


def test_cards_that_are_read_are_those_that_are_declared():
    assert cards.from_file() == zoo.all_cards()


def test_a_mirror_is_made_verified_and_told_of_what_failed(tmp_path, cache, monkeypatch, capsys):
    """From one mirror, which has only one of the two files of Mixer-S, to another."""
    url = urllib.parse.urlsplit(model_card("mlp_mixer_s32").weights["imagenet"].url)
    source = tmp_path / "source" / f"{url.netloc}{url.path}"
    source.parent.mkdir(parents=True)
    case = golden.load("mlp_mixer/mixer_s32_224_npz.json")
    with open(source, "wb") as file:
        np.savez(file, **case.state_dict())
    monkeypatch.setenv("KERAS_MLP_MIRROR", str(tmp_path / "source"))
    with flagsaver.as_parsed(output=str(tmp_path / "copy")), pytest.raises(SystemExit, match="1 checkpoints could not"):
        mirror.main(["mirror", "mlp_mixer_s*"])
    copy = pathlib.Path(tmp_path / "copy" / f"{url.netloc}{url.path}")
    assert copy.read_bytes() == source.read_bytes()
    printed = capsys.readouterr()
    assert str(copy) in printed.out and "FAILED  mlp_mixer_s16 imagenet_gsam" in printed.err
