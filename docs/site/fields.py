"""Pictures of what the families' first block, and whole network, reach in an image: `docs/site/fields/`.

    python -m docs.site.fields "*mlp*"

A picture is a theoretical receptive field, as `keras_mlp.analysis.receptive_field` finds it in the smallest model of a
family: a bit for each pixel. They are kept because a build of the site should take few minutes; a test draws them anew.
"""

import fnmatch
import pathlib
import sys

import numpy as np
from absl import app

from keras_mlp import files, names, zoo
from keras_mlp.cli import console
from keras_mlp.family import Family

FOLDER = pathlib.Path(__file__).parent / "fields"
PARTS = ("first", "whole")


def drawn() -> dict[str, Family]:
    """The families that have pictures: the analysis is of models of images."""
    return {name: family for name, family in zoo.FAMILIES.items() if family.input == "image"}


def smallest(family: Family) -> str:
    """The name of its model with the fewest parameters."""
    return min(family.variants, key=lambda name: family.variants[name].parameters)


def path(family: str, part: str) -> pathlib.Path:
    """Where the picture of a family is kept."""
    return FOLDER / f"{family}_{part}.png"


def draw(family: Family) -> dict[str, np.ndarray]:
    """Which pixels reach the centre of the map after the first block, and of the last map.

    Args:
        family: a family of models of images.

    Returns:
        `(height, width)` of booleans, by `PARTS`.
    """
    import keras

    from keras_mlp.analysis import receptive_field

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)  # what is learnt may shape a field
    model = zoo.create_model(smallest(family), weights=None)
    places = ((names.parse(layer.name), names.block(layer.name)) for layer in model.layers)
    first = next(block for place, block in places if place and place.part == "block")
    return {part: receptive_field(model, map).pixels > 0 for part, map in zip(PARTS, (first, None), strict=True)}


def load(family: str, part: str) -> np.ndarray:
    """A picture that is kept, as `draw` gives it."""
    from PIL import Image

    with Image.open(path(family, part)) as picture:
        return np.asarray(picture.convert("1"))


def main(argv):
    from PIL import Image

    patterns = argv[1:] or ["*"]
    chosen = [name for name in drawn() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not chosen:
        sys.exit(f"error: No family of images matches {' or '.join(patterns)}. There are: {', '.join(drawn())}.")
    for name in console.progress(chosen, "Receptive fields", total=len(chosen)):
        for part, pixels in draw(zoo.FAMILIES[name]).items():
            with files.atomic_path(path(name, part)) as temporary:
                Image.fromarray(pixels).save(temporary, format="png", optimize=True)
        print(path(name, PARTS[0]), flush=True)


if __name__ == "__main__":
    app.run(main)
