"""What has a place in an image keeps its place when the image is changed."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.cards import Preprocessing
from keras_mlp.training import data
from keras_mlp.training.data import augment, folders, images, pipeline, rand_augment
from keras_mlp.training.data.geometry import VOID, Cut, Geometry, Mirror, Move, Resize, Steps

SIZE = (48, 64)
LIGHT = 250.0
SIZES = ((60, 90), (90, 60), (30, 40), (200, 130), (48, 64))  # larger and smaller than the result, of other shapes
MOVING = [operation for operation in rand_augment.OPERATIONS if hasattr(operation, "coefficients")]


def painted(whole, seed):
    """A light rectangle on black, the same as a mask, and its box."""
    random = np.random.default_rng(seed)
    top, left = random.integers(0, np.floor_divide(whole, 2))
    bottom, right = np.minimum(np.add((top, left), random.integers(8, whole)), whole)
    mask = np.zeros((*whole, 1), "uint8")
    mask[top:bottom, left:right] = 1
    return (
        tf.constant(LIGHT * mask, tf.float32),
        tf.constant(mask),
        tf.constant([[left, top, right, bottom]], tf.float32),
    )


def misplaced(image, mask) -> int:
    """How many pixels of the mask contradict the image; those on which light and dark are blended have no say.

    What is grey came from out of sight.
    """
    light, dark = image > LIGHT - 1, image < 1
    return int(np.sum(light & (mask != 1)) + np.sum(dark & (mask != 0)))


def hull(mask):
    """Box of what a mask shows."""
    rows, columns = np.flatnonzero((mask == 1).any((1, 2))), np.flatnonzero((mask == 1).any((0, 2)))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) if len(rows) else None


def follow(geometry: Geometry, image, mask, boxes):
    """What a geometry makes of the three."""
    targets = geometry.targets({"masks": mask, "boxes": boxes, "classes": tf.constant([7])})
    assert targets["classes"] == [7]
    return geometry.image(image).numpy(), targets["masks"].numpy(), targets["boxes"].numpy()


def drawn(seed, whole):
    """Each kind of change, as it is drawn."""
    first, second = (seed, 0), (seed, 1)
    return {
        "crop": augment.random_crop(tf.constant(whole), first, SIZE, (0.3, 1.0), "bilinear"),
        "evaluation": pipeline._seen(tf.constant(whole), SIZE, Preprocessing(interpolation="bilinear")),
        "squashed": pipeline._seen(tf.constant(whole), SIZE, Preprocessing(squash=True, interpolation="bilinear")),
        "mirrored crop": Steps(
            augment.random_crop(tf.constant(whole), first, SIZE, (0.3, 1.0), "bilinear"),
            augment.random_mirror(second, SIZE[1]),
        ),
    }


@pytest.mark.parametrize("kind", drawn(0, SIZE))
def test_masks_and_boxes_stay_where_the_image_shows_them(kind):
    shown, shifted, mirrored = 0, 0, 0
    for seed in range(40):
        whole = SIZES[seed % len(SIZES)]
        image, mask, boxes = follow(drawn(seed, whole)[kind], *painted(whole, seed))
        assert image.shape == mask.shape == (*SIZE, 1) and mask.dtype == np.uint8
        assert misplaced(image, mask) == 0, seed
        shifted += misplaced(image, np.roll(mask, 2, 1)) > 0
        mirrored += misplaced(image, mask[:, ::-1]) > 0
        if (found := hull(mask)) is not None and (found[2:] - found[:2]).min() > 2:
            shown += 1
            scale = np.maximum(1, 2 * np.max(np.divide(SIZE, whole)))  # a pixel of the image is so wide in the result
            np.testing.assert_allclose(boxes[0], found, atol=scale, err_msg=str(seed))
    assert shown > 25 and shifted > 25 and mirrored > 25  # or the test could not fail


@pytest.mark.parametrize("operation", MOVING, ids=lambda operation: operation.__name__)
def test_masks_and_boxes_follow_the_operations_that_move_an_image(operation):
    moved = 0
    for seed in range(30):
        signed = np.float32(np.random.default_rng(seed).uniform(-1, 1))
        image, mask, boxes = painted(SIZE, seed)
        which = rand_augment.OPERATIONS.index(operation)
        geometry = rand_augment.Operation(tf.constant(which), tf.constant(abs(signed)), tf.constant(signed), SIZE)
        image, mask, boxes = follow(geometry, image, mask, boxes)
        assert misplaced(image, mask) == 0, (seed, signed)
        moved += misplaced(image, painted(SIZE, seed)[1]) > 0
        if (found := hull(mask)) is not None:
            np.testing.assert_allclose(boxes[0], found, atol=1.6, err_msg=str((seed, signed)))
    assert moved > 15


def test_what_moves_in_from_out_of_sight_is_grey_and_of_no_class():
    image, mask, _ = painted(SIZE, 0)
    geometry = Move(SIZE, (1.0, 0.0, 10.0, 0.0, 1.0, 0.0))  # by ten pixels to the left
    image, mask, _ = follow(geometry, image, mask, tf.zeros((0, 4)))
    assert np.all(mask[:, -10:] == VOID) and not np.any(mask[:, :-10] == VOID)
    assert np.all(image[:, -10:] == 128)


def test_operations_on_colours_move_nothing():
    image, mask, boxes = painted(SIZE, 3)
    for which, operation in enumerate(rand_augment.OPERATIONS):
        if operation not in MOVING:
            geometry = rand_augment.Operation(tf.constant(which), tf.constant(0.9), tf.constant(0.9), SIZE)
            _, left, placed = follow(geometry, image, mask, boxes)
            np.testing.assert_array_equal(left, mask)
            np.testing.assert_allclose(placed, boxes, atol=1e-4)


def test_corners_of_boxes_are_where_they_are_drawn():
    """By hand: a box whose corners are known after each step."""
    box = tf.constant([[10.0, 20.0, 30.0, 50.0]])
    np.testing.assert_allclose(Resize((100, 80), (50, 160), "bilinear").boxes(box), [[20, 10, 60, 25]])
    np.testing.assert_allclose(Cut((25, 5), (20, 20)).boxes(box), [[5, 0, 20, 20]])
    np.testing.assert_allclose(Mirror(80, tf.constant(True)).boxes(box), [[50, 20, 70, 50]])
    np.testing.assert_allclose(Mirror(80, tf.constant(False)).boxes(box), box)
    turned = Move((100, 80), (0.0, -1.0, 79.0, 1.0, 0.0, 0.0))  # the pixel at (x, y) is that at (79 - y, x)
    np.testing.assert_allclose(turned.boxes(box), [[20, 50, 50, 70]], atol=1e-4)


def test_a_box_out_of_sight_has_no_area():
    box = tf.constant([[10.0, 20.0, 30.0, 50.0]])
    for geometry in (Cut((60, 0), (20, 20)), Move((100, 80), (1.0, 0.0, 60.0, 0.0, 1.0, 0.0))):
        left, top, right, bottom = geometry.boxes(box).numpy()[0]
        assert (right - left) * (bottom - top) == 0
    gone = Steps(Cut((60, 0), (20, 20)), Move((20, 20), (0.7, -0.7, 9.0, 0.7, 0.7, 0.0)))
    left, top, right, bottom = gone.boxes(box).numpy()[0]
    assert (right - left) * (bottom - top) == 0


# Through the pipeline


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Files with painted images of several sizes as a source, whose targets are the masks and boxes of them."""
    path, count = tmp_path_factory.mktemp("painted"), 24
    (path / "all").mkdir()
    masks, boxes = [], []
    for number in range(count):
        image, mask, box = painted(SIZES[number % len(SIZES)], number)
        keras.utils.save_img(path / "all" / f"{number:02d}.png", np.repeat(image, 3, -1), scale=False)
        masks.append(mask.numpy())
        boxes.append(box)
    whole = tf.ragged.stack([tf.RaggedTensor.from_tensor(mask[..., 0]) for mask in masks])
    boxes = tf.stack(boxes)
    found = folders.folder(path, "all")

    def targets(number, encoded):
        """Of one that cannot be decoded those of a pixel."""
        known = tf.maximum(number, 0)
        mask = whole[known].to_tensor()[..., tf.newaxis]
        return {"masks": tf.where(number < 0, mask[:1, :1], mask), "boxes": tf.gather(boxes, known)}

    numbers = tf.data.Dataset.range(count)
    dataset = tf.data.Dataset.zip(found.dataset, numbers).map(lambda example, number: (example[0], number))
    return dataclasses.replace(found, dataset=dataset, targets=targets, sound=True, classes=["light"])


def test_training_data_keep_their_targets_in_place(source, plain, monkeypatch):
    """RandAugment with the operations that move alone: the others change what is light."""
    monkeypatch.setattr(rand_augment, "OPERATIONS", tuple(MOVING))
    recipe = dataclasses.replace(plain, random_resized_crop=(0.3, 1.0), horizontal_flip=True, rand_augment=(1, 9))
    options = dict(image_size=SIZE, batch_size=8, preprocessing=Preprocessing(interpolation="bilinear"))
    found = data.load(source, recipe=recipe, **options)
    shown = 0
    for pictures, targets in found.dataset.take(6).as_numpy_iterator():
        for picture, mask, boxes in zip(pictures, targets["masks"], targets["boxes"], strict=True):
            assert misplaced(picture[..., :1], mask) == 0
            shown += misplaced(picture[..., :1], np.roll(mask, 3, 1)) > 0
            assert boxes.shape == (1, 4)
    assert shown > 20


def test_evaluation_data_keep_their_targets_in_place(source):
    options = dict(image_size=SIZE, batch_size=8, preprocessing=Preprocessing(interpolation="bilinear"))
    found, shown = data.load(source, **options), 0
    for pictures, targets in found.dataset.as_numpy_iterator():
        for picture, mask in zip(pictures, targets["masks"], strict=True):
            assert misplaced(picture[..., :1], mask) == 0
            shown += misplaced(picture[..., :1], np.roll(mask, 3, 1)) > 0
    assert shown > 12


def test_the_images_are_the_same_with_targets_and_without(source, plain):
    recipe = dataclasses.replace(
        plain, random_resized_crop=(0.3, 1.0), horizontal_flip=True, rand_augment=(2, 9), random_erasing=0.5
    )
    options = dict(image_size=SIZE, batch_size=8, recipe=recipe)
    with_targets = data.load(source, **options).dataset.take(3)
    without = data.load(dataclasses.replace(source, targets=None), **options).dataset.take(3)
    pairs = zip(with_targets.as_numpy_iterator(), without.as_numpy_iterator(), strict=True)
    assert all(np.array_equal(one[0], other[0]) for one, other in pairs)


def test_masks_of_another_size_and_recipes_that_mix_labels_are_refused(source, plain):
    with pytest.raises(ValueError, match="have targets in place of labels, which mixup and cutmix cannot change"):
        data.load(source, image_size=8, batch_size=8, recipe=dataclasses.replace(plain, mixup=0.2, cutmix=1.0))
    wrong = dataclasses.replace(source, targets=lambda number, encoded: {"masks": tf.zeros((5, 5, 1), tf.uint8)})
    with pytest.raises(tf.errors.InvalidArgumentError, match="The one of .*00.png has 5 × 5 pixels, the image "):
        list(data.load(wrong, image_size=8, batch_size=8).dataset)


def test_a_mirrored_image_is_tensorflows():
    image, _, _ = painted(SIZE, 0)
    for seed in range(10):
        expected = tf.image.stateless_random_flip_left_right(image, (seed, 3))
        np.testing.assert_array_equal(augment.random_mirror((seed, 3), SIZE[1]).image(image), expected)


def test_what_is_seen_in_evaluation_is_one_thing():
    image, _, _ = painted((90, 60), 1)
    for preprocessing in (Preprocessing(), Preprocessing(squash=True), Preprocessing(crop_pct=0.7)):
        seen = pipeline._seen(tf.constant((90, 60)), SIZE, preprocessing).image(image)
        np.testing.assert_array_equal(seen, images.for_evaluation(image, SIZE, preprocessing))
