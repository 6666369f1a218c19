"""The data set that needs no network: scikit-learn's handwritten digits, as a tensorflow-datasets builder.

Importing this module registers it, so that `tfds.builder("digits")` finds it as any other.
"""

import numpy as np

from keras_mlp.extras import need
from keras_mlp.training.data.splits import held_out

tfds = need("tensorflow_datasets", extra="train")


class Digits(tfds.core.GeneratorBasedBuilder):
    """1797 scanned digits of 43 people, 8×8 pixels, grey, in splits "train" and "test" (a fifth of each class)."""

    VERSION = tfds.core.Version("1.0.0")
    SOUND = True  # the images are made of arrays here, so they can be decoded

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
            citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, 1998, doi:10.24432/C50P49",
        )

    def _split_generators(self, dl_manager):
        digits = need("sklearn.datasets", extra="train").load_digits()
        test = held_out(digits.target)
        return {
            split: self._generate_examples(digits.images, digits.target, np.flatnonzero(chosen))
            for split, chosen in (("train", ~test), ("test", test))
        }

    def _generate_examples(self, images, labels, indices):
        for index in indices:
            pixels = np.rint(images[index] * (255 / 16)).astype(np.uint8)  # published as 0–16
            yield int(index), {"image": pixels[..., np.newaxis], "label": int(labels[index])}
