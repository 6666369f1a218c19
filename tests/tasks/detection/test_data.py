"""Images and their boxes and masks go the same way, whatever training does to them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import tasks
from keras_mlp.tasks.detection import data, sources
from keras_mlp.tasks.detection.annotations import Instance, Picture, gathered, run_lengths

PLAIN = tasks.DetectionRecipe("a test", horizontal_flip=False)
ALL = dataclasses.replace(PLAIN, horizontal_flip=True, random_scale=(0.4, 2.0), random_crop=True)
SIZES = ((60, 90), (90, 60), (40, 40), (130, 50))


def discs(count=16, seed=0):
    """Images of discs, each of a brightness of its own, as a source with boxes and masks."""
    random, pictures, images = np.random.default_rng(seed), [], []
    for number in range(count):
        height, width = size = SIZES[number % len(SIZES)]
        y, x = np.mgrid[:height, :width]
        image, instances = np.zeros((*size, 3), "uint8"), []
        for i in range(number % 4):
            radius = random.uniform(6, 18)
            disc = (y - random.uniform(5, height - 5)) ** 2 + (x - random.uniform(5, width - 5)) ** 2 < radius**2
            disc &= image[..., 0] == 0
            if disc.sum() > 30:
                image[disc] = 80 + 60 * i
                instances.append(Instance(f"disc {i}", sources._around(disc), i, mask=run_lengths(disc, size)))
        pictures.append(Picture(f"picture {number}", size, instances))
        images.append(tf.io.encode_png(image).numpy())
    dataset = tf.data.Dataset.from_tensor_slices((images, np.arange(count)))
    return sources.of(gathered(pictures, ["a", "b", "c"]), dataset, "all", masks=True, size=1000)


SOURCE = discs()


def batches(recipe, count, source=SOURCE, **options):
    options = dict(task="detection", image_size=(64, 96), batch_size=8, masks=True) | options
    loaded = tasks.load(source, "all", recipe=recipe, **options)
    return [(images, targets) for images, targets in loaded.dataset.take(count).as_numpy_iterator()]


def test_boxes_are_the_bounds_of_the_masks_that_went_the_same_way():
    cut, whole, flipped = 0, 0, set()
    for images, targets in batches(ALL, 12):
        assert images.shape == (8, 64, 96, 3) and targets["masks"].shape == (8, 3, 64, 96)
        for image, boxes, labels, masks, seen in zip(
            images, *(targets[name] for name in ("boxes", "labels", "masks", "image_size")), strict=True
        ):
            height, width = seen.astype(int)
            np.testing.assert_array_equal(image[height:], 128)
            np.testing.assert_array_equal(image[:, width:], 128)
            assert not masks[:, height:].any() and not masks[:, :, width:].any()
            for box, label, mask, found in zip(boxes, labels, masks, data.bounds(masks).numpy(), strict=True):
                if label < 0:
                    assert not box.any() and not mask.any()
                    continue
                np.testing.assert_allclose(box, found, atol=2.0)
                at_border = found[0] == 0 or found[1] == 0 or found[2] == width or found[3] == height
                if at_border and np.array_equal(box, found):
                    cut += 1
                whole += not at_border
                # The image shows the disc where the mask says, in the brightness of its label; edges are blended.
                if mask.sum() > 60:
                    shown = np.median(image[..., 0][mask > 0])
                    assert abs(shown - (80 + 60 * label)) < 30, (shown, label)
                flipped.add(bool(found[0] > width / 2))
    assert cut > 10 and whole > 10 and flipped == {True, False}  # or the test could not fail


def test_the_same_seed_gives_the_same_batches_and_another_one_others():
    one, again, other = batches(ALL, 2), batches(ALL, 2), batches(ALL, 2, seed=1)
    for (images, targets), (images2, targets2), (images3, _) in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(images, images2)
        assert all(np.array_equal(targets[name], targets2[name]) for name in targets)
        assert not np.array_equal(images, images3)


@pytest.mark.parametrize(
    ("whole", "fit", "short", "expected"),
    [
        ((480, 640), (1333, 1333), 800, (800, 1067)),
        ((640, 480), (1333, 1333), 800, (1067, 800)),
        ((427, 640), (1333, 1333), 800, (800, 1199)),
        ((300, 900), (1333, 1333), 800, (444, 1333)),
        ((480, 640), (800, 1333), None, (800, 1067)),
        ((1, 1000), (64, 64), None, (1, 64)),
    ],
)
def test_sizes_are_mmdetections(whole, fit, short, expected):
    """By hand: int(side * min(800 / short, 1333 / long) + 0.5)."""
    assert tuple(data.fitting(tf.constant(whole), fit, short).numpy()) == expected


def test_evaluation_shows_the_whole_image_and_tells_the_way_back():
    truth = {row["id"]: row for row in SOURCE.truth()["images"]}
    rows, found = SOURCE.truth()["annotations"], []
    for _, targets in batches(None, 2, image_size=(60, 90)):
        for number, boxes, labels, scale, size in zip(
            *(targets[name] for name in ("number", "boxes", "labels", "scale", "original_size")), strict=True
        ):
            assert [truth[number]["height"], truth[number]["width"]] == size.tolist()
            back = boxes[labels >= 0] / np.tile(scale[::-1], 2)
            found += [(number, *np.round(box, 2)) for box in back]
    expected = [(row["image_id"], *np.round(np.add(row["bbox"], [0, 0, *row["bbox"][:2]]), 2)) for row in rows]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_boxes_beyond_the_most_and_ones_too_small_to_see_are_left_out():
    for _, targets in batches(None, 2, max_boxes=1):
        assert targets["boxes"].shape == (8, 1, 4) and targets["labels"].shape == (8, 1)
    small = Picture(
        "small", (1000, 1000), [Instance("dot", (5, 5, 9, 9), 0), Instance("disc", (100, 100, 900, 900), 1)]
    )
    black = [tf.io.encode_png(np.zeros((1000, 1000, 3), "uint8")).numpy()]
    source = sources.of(
        gathered([small], ["a", "b"]), tf.data.Dataset.from_tensor_slices((black, np.arange(1))), "all", size=10
    )
    ((_, targets),) = batches(None, 1, source, masks=False)
    np.testing.assert_array_equal(targets["labels"], [[1, -1]])
    assert len(source.truth()["annotations"]) == 2


def test_wrong_arguments_are_refused():
    def refused(match, **options):
        with pytest.raises(ValueError, match=match):
            tasks.load(SOURCE, "all", **dict(task="detection", image_size=64, batch_size=4) | options)

    refused("`task` is one of segmentation, detection. Received: 'boxes'", task="boxes")
    refused("`image_size` should be", image_size=(1, 2, 3))
    refused("short_side=0", short_side=0)
    refused("max_boxes=0", max_boxes=0)
    refused("mixup cannot change", recipe=dataclasses.replace(PLAIN, mixup=0.2))
    with pytest.raises(ValueError, match="label_smoothing"):
        tasks.DetectionRecipe("a test", label_smoothing=0.1)
    with pytest.raises(ValueError, match="There is no folder or file nowhere"):
        tasks.load("nowhere", task="detection", image_size=64, batch_size=4)
