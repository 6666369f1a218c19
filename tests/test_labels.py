"""Class names, without a network."""

import numpy as np
import pytest

import keras_mlp
from keras_mlp.labels import class_names


def test_the_best_classes_are_named_with_their_scores():
    predictions = np.zeros((2, 1000), "float32")
    predictions[0, [282, 281]] = 0.7, 0.2
    predictions[1, 0] = 1.0
    first, second = keras_mlp.decode_predictions(predictions, top=2)
    assert first == [("n02123159", "tiger_cat", pytest.approx(0.7)), ("n02123045", "tabby", pytest.approx(0.2))]
    assert second[0] == ("n01440764", "tench", 1.0)


def test_classes_of_videos_are_named_by_their_number_or_by_their_list():
    kinetics, something = np.eye(400, dtype="float32")[[5, 399]], np.eye(174, dtype="float32")[[0]]
    assert [best for (best,) in keras_mlp.decode_predictions(kinetics, top=1)] == [
        ("5", "archery", 1.0),
        ("399", "zumba", 1.0),
    ]
    assert keras_mlp.decode_predictions(something, top=1, classes="ssv1") == [
        [("0", "Approaching something with your camera", 1.0)]
    ]
    with pytest.raises(ValueError, match="1000, 21843, 11221, 400 classes"):
        keras_mlp.decode_predictions(something)
    with pytest.raises(ValueError, match=r"174 classes in 'ssv1'. Received an array of shape \(2, 400\)"):
        keras_mlp.decode_predictions(kinetics, classes="ssv1")
    with pytest.raises(
        ValueError, match="by name for 1k, 21k, 21k-P, k400, ssv1, ade20k, ade20k-100, cityscapes. Received: 'ssv2'"
    ):
        keras_mlp.decode_predictions(something, classes="ssv2")


@pytest.mark.parametrize("classes", [1000, 11221, 21843])
def test_lists_are_complete_and_in_the_order_of_their_ids(classes):
    names = class_names(classes)
    ids = [wnid for wnid, _ in names]
    assert len(names) == classes and ids == sorted(set(ids)) and all(name for _, name in names)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"1000, 21843, 11221, 400 classes. Received an array of shape \(1, 10\)"):
        keras_mlp.decode_predictions(np.zeros((1, 10)))
    with pytest.raises(ValueError, match=r"Received an array of shape \(1000,\)"):
        keras_mlp.decode_predictions(np.zeros(1000))
