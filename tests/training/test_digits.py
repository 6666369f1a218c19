"""The embedded data set: scikit-learn's handwritten digits as a tensorflow-datasets builder."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from keras_mlp.training.data import digits as _registers_it  # noqa: F401
from keras_mlp.training.data.splits import held_out


@pytest.fixture(scope="module")
def builder(prepared):
    builder = tfds.builder("digits", data_dir=prepared)
    builder.download_and_prepare()
    return builder


def examples(builder, split):
    return list(tfds.as_numpy(builder.as_dataset(split=split)))


def test_it_describes_itself(builder):
    assert builder.info.features["image"].shape == (8, 8, 1)
    assert builder.info.features["label"].names == list("0123456789")
    assert builder.info.supervised_keys == ("image", "label")


def test_the_splits_are_the_published_digits_and_share_no_example(builder):
    pixels, labels = load_digits(return_X_y=True)
    published = sorted(
        (label, *np.rint(image * 255 / 16).astype(int)) for image, label in zip(pixels, labels, strict=True)
    )
    found = examples(builder, "train") + examples(builder, "test")
    assert sorted((e["label"], *e["image"].ravel().astype(int)) for e in found) == published
    assert builder.info.splits["train"].num_examples == 1438
    assert builder.info.splits["test"].num_examples == 359


def test_the_test_split_has_a_fifth_of_each_class(builder):
    train = np.bincount([e["label"] for e in examples(builder, "train")])
    test = np.bincount([e["label"] for e in examples(builder, "test")])
    assert len(test) == 10
    np.testing.assert_array_equal(test, np.rint((train + test) / 5))


def test_preparing_again_gives_the_same_splits_in_the_same_order(builder, tmp_path):
    again = tfds.builder("digits", data_dir=tmp_path)
    again.download_and_prepare()
    for one, other in zip(examples(builder, "test"), examples(again, "test"), strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_held_out_keeps_classes_whole_where_it_can():
    labels = np.repeat([0, 1, 2], [10, 2, 1])
    chosen = held_out(labels)
    assert [chosen[labels == label].sum() for label in range(3)] == [2, 1, 0]


def test_held_out_is_the_same_for_ever():
    """Whoever changes this moves examples of users' folders from the test to the training split."""
    assert np.flatnonzero(held_out(np.zeros(20, int))).tolist() == [1, 8, 18, 19]
