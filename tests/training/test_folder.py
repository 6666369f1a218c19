"""A run's folder knows its run, whatever version wrote it."""

import dataclasses
import json

import pytest

from keras_mlp.cards import DetectionRecipe, Recipe, SegmentationRecipe
from keras_mlp.training.folder import Folder


def as_written(recipe):
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


@pytest.mark.parametrize("kind", [Recipe, SegmentationRecipe, DetectionRecipe])
def test_what_an_older_version_did_not_write_had_its_default(kind, tmp_path):
    recipe, folder = kind("a test"), Folder(tmp_path)
    for name in kind.defaults():
        then = as_written(recipe)
        del then[name]
        folder.write("recipe.json", json.dumps(then))
        assert not folder.check(as_written(recipe), False, kind.defaults()), name
    changed = as_written(dataclasses.replace(recipe, weight_decay=0.25))
    folder.write("recipe.json", json.dumps({name: value for name, value in changed.items() if name != "epochs"}))
    with pytest.raises(ValueError, match=r"other settings \(weight_decay: 0\.25, now"):
        folder.check(as_written(recipe), False, kind.defaults())
