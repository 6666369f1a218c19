"""Images with masks: scenes of digits, folders, and what training does to both."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mlp import tasks
from keras_mlp.tasks import scenes
from keras_mlp.tasks.segmentation import data, folders, recipes
from keras_mlp.training.data import geometry

PLAIN = tasks.SegmentationRecipe("a test", random_scale=None, photometric_distortion=False, horizontal_flip=False)


def test_scenes_are_the_same_whenever_they_are_drawn_and_tests_show_other_digits():
    here = scenes.draw("train", 6, 48)
    scenes.draw.cache_clear()
    again, test = scenes.draw("train", 6, 48), scenes.draw("test", 6, 48)
    np.testing.assert_array_equal(here.images, again.images)
    np.testing.assert_array_equal(here.masks, again.masks)
    assert not np.array_equal(here.images, test.images)
    assert here.images.shape == (6, 48, 48, 3) and set(np.unique(here.masks)) <= set(range(11))
    assert all((mask > 0).mean() > 0.02 for mask in here.masks)


def test_evaluation_data_are_the_scenes_and_their_masks():
    drawn = scenes.draw("test", 5, 48)
    loaded = tasks.load(scenes.source("test", 5, 48), "test", image_size=48, batch_size=3)
    images, masks = zip(*((images, targets["masks"]) for images, targets in loaded.dataset), strict=True)
    np.testing.assert_array_equal(np.concatenate(images), drawn.images)
    np.testing.assert_array_equal(np.concatenate(masks)[..., 0], drawn.masks)
    assert loaded.classes == list(scenes.CLASSES) and loaded.examples == 5


def test_training_data_depend_on_their_seed_alone_and_masks_follow_their_images():
    recipe = dataclasses.replace(PLAIN, random_scale=(0.5, 2.0), horizontal_flip=True)
    source = scenes.source("train", 8, 48)

    # An image that is its own mask shows whether both went the same way.
    def grey(content):
        return tf.repeat(tf.reshape(tf.io.decode_raw(content, "uint8"), (48, 48, 3))[..., :1], 3, -1)

    drawn = tf.constant(np.minimum(scenes.draw("train", 8, 48).images[..., :1], geometry.VOID - 1))
    same = dataclasses.replace(source, decode=grey, targets=lambda label, encoded: {"masks": drawn[label]})

    def batches(seed):
        loaded = tasks.load(same, "train", image_size=40, batch_size=4, recipe=recipe, seed=seed)
        return [(images.numpy(), targets["masks"].numpy()) for images, targets in loaded.dataset.take(4)]

    one, again, other = batches(0), batches(0), batches(1)
    for (images, masks), (images2, masks2), (images3, _) in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(images, images2)
        np.testing.assert_array_equal(masks, masks2)
        assert not np.array_equal(images, images3)
        assert images.shape == (4, 40, 40, 3) and masks.shape == (4, 40, 40, 1)
        seen = masks[..., 0] != geometry.VOID
        np.testing.assert_array_equal(images[..., 0][~seen], geometry.GREY)
        # Nearest in the mask and blended in the image: near, since the scenes are smooth but for their edges.
        assert np.corrcoef(images[..., 0][seen], masks[..., 0][seen])[0, 1] > 0.9


def test_colours_change_within_their_bounds_and_grey_stays_grey():
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (8, 8, 3)), tf.float32)
    changed = [data.photometric_distortion(image, (seed, 0)).numpy() for seed in range(20)]
    assert len({c.tobytes() for c in changed}) > 10
    assert all(c.min() >= 0 and c.max() <= 255 for c in changed)
    grey = data.photometric_distortion(image[..., :1], (3, 0))
    assert grey.shape == (8, 8, 1)


@pytest.fixture
def photos(tmp_path):
    """Two classes and void, images of several sizes, masks plain and with a palette."""
    random = np.random.default_rng(0)
    for split, count in (("training", 6), ("validation", 3)):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(count):
            size = (30 + i, 20)
            mask = Image.fromarray(random.choice([0, 1, 255], size).astype("uint8"))
            if i % 2:
                mask = mask.convert("P")
                mask.putdata(list(random.choice([0, 1, 255], size[0] * size[1])))
            mask.save(tmp_path / "masks" / split / f"{i}.png")
            Image.fromarray(random.integers(0, 255, (*size, 3), "uint8")).save(tmp_path / "images" / split / f"{i}.jpg")
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    return tmp_path


def test_folders_of_images_and_masks_are_read_by_split(photos):
    train, test = (folders.folder(photos, split) for split in ("train", "evaluation"))
    assert (train.examples, train.split, test.examples, test.split) == (6, "training", 3, "validation")
    assert train.classes == ["ground", "thing"] and train.counts() == [6, 6]
    loaded = tasks.load(photos, "validation", image_size=16, batch_size=2)
    for images, targets in loaded.dataset:
        assert images.shape[1:] == (16, 16, 3) and set(np.unique(targets["masks"])) <= {0, 1, 255}
    assert train.identity() != test.identity()


def test_without_split_folders_every_fifth_image_is_for_the_test(photos):
    for kind in ("images", "masks"):
        for file in (photos / kind / "training").iterdir():
            file.rename(photos / kind / file.name)
        for file in (photos / kind / "validation").iterdir():
            file.unlink()
        for split in ("training", "validation"):
            (photos / kind / split).rmdir()
    counts = [folders.folder(photos, split).examples for split in ("train", "test", "all")]
    assert counts == [5, 1, 6]


def test_what_is_wrong_with_a_folder_is_said_by_name(photos):
    def refused(match, split="train"):
        with pytest.raises(ValueError, match=match):
            folders.folder(photos, split).counts()

    refused("has no split 'nothing'. It has: training, validation", "nothing")
    Image.fromarray(np.full((30, 20), 7, "uint8")).save(photos / "masks" / "training" / "0.png")
    refused(r"0\.png has the label 7\. There are 2 classes, 0–1, and 255 for void")
    Image.fromarray(np.zeros((30, 20, 3), "uint8")).save(photos / "masks" / "training" / "0.png")
    refused(r"0\.png has the mode RGB")
    (photos / "masks" / "training" / "0.png").unlink()
    refused(r"These images have no mask in .*training: .*0\.jpg")
    (photos / "classes.txt").unlink()
    refused("needs a file classes.txt")


def test_a_recipe_refuses_what_only_labels_can_take():
    with pytest.raises(ValueError, match="label_smoothing"):
        tasks.SegmentationRecipe("a test", label_smoothing=0.1)
    recipe = dataclasses.replace(PLAIN, mixup=0.2)
    with pytest.raises(ValueError, match="mixup cannot change"):
        tasks.load("scenes", image_size=32, batch_size=4, recipe=recipe)
    assert recipes.scenes().random_scale == (0.9, 1.1)
