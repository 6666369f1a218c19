"""From the name of a data set to batches."""

import dataclasses
import itertools
import re

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.cards import Preprocessing, Recipe
from keras_mlp.training import data
from keras_mlp.training.data import augment, catalogue, images
from keras_mlp.zoo import FAMILIES

AUGMENTED = dict(random_resized_crop=(0.5, 1.0), rand_augment=(2, 9), random_erasing=0.5, mixup=0.2, cutmix=1.0)


def batches(loaded, count):
    return [(x.numpy(), y.numpy()) for x, y in loaded.dataset.take(count)]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(itertools.chain(*one), itertools.chain(*other), strict=True))


# Training data


def test_a_training_batch_is_pixels_and_one_hot_labels_of_static_shape(digits):
    train = digits("train", batch_size=100, image_size=(16, 12), channels=3)
    assert [tuple(spec.shape) for spec in train.dataset.element_spec] == [(100, 16, 12, 3), (100, 10)]
    ((x, y),) = batches(train, 1)
    assert x.dtype == y.dtype == np.float32
    assert 0 <= x.min() < 1 and 250 < x.max() <= 255
    np.testing.assert_array_equal(y.sum(-1), 1)
    assert (train.examples, train.steps, train.batch_size) == (1438, 14, 100)
    assert train.classes == list("0123456789")


def test_the_seed_and_nothing_else_decides_order_and_augmentation(digits):
    once = batches(digits(seed=3, **AUGMENTED), 15)
    keras.utils.set_random_seed(0)  # the global seed does not count
    assert same(once, batches(digits(seed=3, **AUGMENTED), 15))
    assert not same(once[:1], batches(digits(seed=4, **AUGMENTED), 1))


def test_every_epoch_has_another_order_and_other_draws(digits):
    train = digits(batch_size=719, random_resized_crop=(0.5, 1.0))
    found = batches(train, 2 * train.steps)
    assert not np.array_equal(found[0][1], found[2][1])

    def brightness(epoch):  # of every image, sorted, so that the order plays no role
        return np.sort(np.concatenate([x for x, _ in epoch]).mean((1, 2, 3)))

    assert not np.allclose(brightness(found[:2]), brightness(found[2:]))


def test_without_augmentation_an_epoch_is_all_images_once(digits):
    train, whole = digits(batch_size=719), digits("test")
    assert whole.examples == 359
    epochs = batches(train, 4)
    seen = [sorted(map(bytes, np.concatenate([x for x, _ in epoch]))) for epoch in (epochs[:2], epochs[2:])]
    assert len(seen[0]) == train.examples and seen[0] == seen[1]


@pytest.mark.parametrize(
    "augmentation", [AUGMENTED, pytest.param(dict(repeated_augmentation=3), marks=pytest.mark.slow)]
)
def test_training_can_start_anywhere(digits, augmentation):
    """Eleven steps are an epoch."""
    data = digits(**augmentation)
    found = batches(data, 14)
    for skipped in (4, 11, 13):
        assert same(found[skipped:], batches(data.after(skipped), 14 - skipped))
    other = dataclasses.replace(data, starting_at=None)  # as a user's own data have it
    assert same(found[12:], batches(other.after(12), 2))


@pytest.mark.parametrize("after", [10, pytest.param(0, marks=pytest.mark.slow)])
def test_workers_share_the_batches_of_one(digits, after):
    """Images, augmentation and what each is mixed with, from any step on; eleven steps are an epoch."""
    whole = batches(digits(**AUGMENTED).after(after), 3)
    halves = [batches(digits(worker=(rank, 2), **AUGMENTED).after(after), 3) for rank in range(2)]
    for one, *parts in zip(whole, *halves, strict=True):
        for both, halves_of_one in zip(one, zip(*parts, strict=True), strict=True):
            # A worker has a block of either half of the batch.
            blocks = zip(*(np.split(half, 2) for half in halves_of_one), strict=True)
            np.testing.assert_array_equal(np.concatenate([block for half in blocks for block in half]), both)


def test_every_worker_evaluates_on_all_images(digits):
    assert same(batches(digits("test"), 3), batches(digits("test", worker=(1, 2)), 3))


@pytest.mark.parametrize("worker, batch_size, message", [((0, 3), 128, "multiple of 6"), ((2, 2), 128, "below")])
def test_workers_that_cannot_be_are_refused(digits, worker, batch_size, message):
    with pytest.raises(ValueError, match=message):
        digits(batch_size=batch_size, worker=worker)


def test_a_data_set_smaller_than_a_batch_is_refused(digits):
    with pytest.raises(ValueError, match=r"digits \(train\) has 1438 images.*2000.*smaller batch"):
        digits(batch_size=2000)


def test_digits_are_never_mirrored(digits):
    plain, flipped = digits(), digits(horizontal_flip=True)
    assert same(batches(plain, 2), batches(flipped, 2))


def test_repeated_augmentation_takes_fewer_images_more_often(digits):
    """As DeiT: an epoch has as many steps, but of each of its images three copies, side by side."""
    once, thrice = digits(batch_size=719), digits(batch_size=719, repeated_augmentation=3)
    assert thrice.steps == once.steps == 2
    for epoch in (batches(thrice, 4)[:2], batches(thrice, 4)[2:]):
        images = np.concatenate([x for x, _ in epoch])
        assert all(np.array_equal(images[i], images[i - i % 3]) for i in range(len(images)))
        assert len({bytes(x) for x in images}) > 0.9 * len(images) / 3


def test_repeated_images_are_augmented_anew_and_never_mixed_with_themselves(digits):
    ((x, _),) = batches(digits(batch_size=72, repeated_augmentation=3, random_resized_crop=(0.3, 0.6)), 1)
    assert not np.allclose(x[0], x[1])
    ((mixed, _),) = batches(digits(batch_size=72, repeated_augmentation=3, mixup=1.0), 1)
    assert len({bytes(x) for x in mixed}) == 72


@pytest.mark.parametrize(
    "family",
    golden.chosen(sorted(name for name, family in FAMILIES.items() if family.recipe), golden.FEW, *golden.HUGE),
)
def test_published_recipes_run_as_they_are(digits, family):
    recipe = dataclasses.asdict(FAMILIES[family].recipe)
    del recipe["batch_size"]
    ((x, y),) = batches(digits(batch_size=32, image_size=16, channels=3, **recipe), 1)
    assert x.shape == (32, 16, 16, 3) and x.min() >= 0 and x.max() <= 255
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)


# Evaluation data


def test_evaluation_sees_every_image_once_in_the_same_order(digits):
    test = digits("test", batch_size=100)
    once = batches(test, -1)
    assert [len(x) for x, _ in once] == [100, 100, 100, 59]
    assert (test.examples, test.steps) == (359, 4)
    assert same(once, batches(digits("evaluation", batch_size=100), -1))


def test_a_part_of_a_split(digits):
    part, rest = digits("train[:90%]"), digits("train[90%:]")
    assert part.examples + rest.examples == 1438
    assert part.examples == 1294


# Names and errors


def test_an_unknown_name_lists_near_ones():
    with pytest.raises(ValueError, match=r"no data set 'cifar11'.*near it:.*cifar10\b.*no folder"):
        data.load("cifar11", image_size=8, batch_size=1)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        *((name, "digits:1.0.0") for name in ("digits:9.9.9", "digits:abc", "digits:1", "digits:", "digits:01.0.0")),
        *((name, "digits:1.0.0") for name in ("digits/noconfig", "digits/", "digits/a=1", "digits/x:1.0.0:2")),
        *((name, "cifar10:3.0.2") for name in ("cifar10:9.9.9", "cifar10/nothing")),
        ("mnist:1.0.0", "mnist:3.0.1"),
        ("eurosat/rgb:9.0.0", "eurosat/rgb:2.0.0"),
        ("eurosat/nothing", "eurosat/all:2.0.0, eurosat/rgb:2.0.0"),
        ("cifar10_corrupted/nothing", "cifar10_corrupted/brightness_1:1.0.0"),
        *((name, "digits, cifar10") for name in ("", " ", ":", "\0", "nobody:mnist")),
    ],
)
def test_of_configurations_and_versions_that_are_not_there_those_that_are_get_listed(name, there, prepared):
    with pytest.raises(ValueError, match=f"no data set {re.escape(repr(name))}.*{re.escape(there)}") as error:
        data.find(name, "train", prepared)
    assert "\n" not in str(error.value)


def test_no_data_set_of_all_has_version_999_or_a_configuration_of_this_name(tmp_path):
    without = []
    for name in catalogue.names():
        for asked in (f"{name}:999.9.9", f"{name}/no_such_configuration"):
            with pytest.raises((ValueError, ImportError)) as error:
                data.find(asked, "train", tmp_path)
            assert issubclass(error.type, ImportError) or f"no data set '{asked}'" in str(error.value)
            if f"are: {name}" not in str(error.value):
                without.append(asked)
    assert len(without) < 50, without  # abstract ones, and those that need further packages


@pytest.mark.parametrize(
    "split",
    [
        "",
        "[]",
        "+",
        "train+",
        "train[",
        "train[foo]",
        "train[:200%]",
        "train[90%:10%]",
        "train[:0]",
        "train[5000:]",
        "1",
    ],
)
def test_what_is_no_part_of_a_split_is_told(split, prepared):
    with pytest.raises(ValueError, match=re.escape(f"{split!r} is no split of digits")) as error:
        data.find("digits", split, prepared)
    assert "\n" not in str(error.value)


def test_an_unknown_split_lists_those_that_there_are(prepared):
    with pytest.raises(ValueError, match=r"digits has no split 'validation'. It has: test, train"):
        data.load("digits", "validation", image_size=8, batch_size=1, data_dir=prepared)


def test_a_data_set_without_labels_is_refused_before_it_is_downloaded(tmp_path):
    with pytest.raises(ValueError, match=r"'coco/2017' cannot be used here.*one label"):
        data.load("coco/2017", image_size=8, batch_size=1, data_dir=tmp_path)


@pytest.mark.parametrize(
    ("argument", "value"), [("image_size", 0), ("image_size", (8, 8, 3)), ("batch_size", 0), ("channels", 4)]
)
def test_arguments_are_checked(argument, value):
    with pytest.raises(ValueError, match=rf"`{argument}`.*Received"):
        data.load("digits", **{"image_size": 8, "batch_size": 1, argument: value})


# Folders


@pytest.fixture
def folder(tmp_path):
    """Ten grey squares a class, of brightness 10 i for "black" and 255 - 10 i for "white", among other files."""
    for name, level in (("white", lambda i: 255 - 10 * i), ("black", lambda i: 10 * i)):
        for i in range(10):
            path = tmp_path / "shades" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(path, np.full((6, 9, 3), level(i)), scale=False)
    (tmp_path / "shades" / "black" / "notes.txt").write_text("no image")
    (tmp_path / "shades" / "black" / "._0.png").write_text("what macOS leaves")
    return tmp_path / "shades"


def shades(path, split):
    loaded = data.load(path, split, image_size=4, batch_size=64)
    ((x, y),) = batches(loaded, -1)
    assert loaded.classes == ["black", "white"]
    return {(loaded.classes[label], round(float(image.mean()))) for image, label in zip(x, y.argmax(-1), strict=True)}


def test_class_folders_are_split_once_and_for_all(folder):
    every, train, test = (shades(folder, split) for split in ("all", "train", "test"))
    assert every == {("black", 10 * i) for i in range(10)} | {("white", 255 - 10 * i) for i in range(10)}
    assert train | test == every and not train & test
    assert sum(name == "black" for name, _ in test) == sum(name == "white" for name, _ in test) == 2
    assert shades(folder, "evaluation") == test


def test_split_folders(folder, tmp_path):
    (tmp_path / "split").mkdir()
    folder.rename(tmp_path / "split" / "train")
    other = tmp_path / "split" / "val" / "white" / "deeper" / "a.JPG"
    other.parent.mkdir(parents=True)
    keras.utils.save_img(other, np.full((8, 8, 3), 200), scale=False, file_format="jpeg")
    assert len(shades(tmp_path / "split", "train")) == 20
    with pytest.raises(ValueError, match=r"no images .* in .*val.black"):
        data.load(tmp_path / "split", "val", image_size=4, batch_size=1)
    black = other.parents[2] / "black" / "b.jpg"
    black.parent.mkdir()
    keras.utils.save_img(black, np.zeros((8, 8, 3)), scale=False)
    assert shades(tmp_path / "split", "evaluation") == {("white", 200), ("black", 0)}


def test_training_from_a_folder(folder):
    recipe = Recipe(source="test", random_resized_crop=(0.5, 1.0))
    train = data.load(str(folder), "train", image_size=4, batch_size=5, recipe=recipe)
    assert (train.examples, train.steps) == (16, 3)
    assert all(x.shape == (5, 4, 4, 3) for x, _ in batches(train, 4))


def test_folders_that_are_not_as_expected(folder, tmp_path):
    with pytest.raises(ValueError, match=r"There is no folder .*nowhere"):
        data.load(tmp_path / "nowhere", image_size=4, batch_size=1)
    with pytest.raises(ValueError, match=r"no class folders in .*black.*CLASS/IMAGE"):
        data.load(folder / "black", image_size=4, batch_size=1)
    with pytest.raises(ValueError, match=r"shades has no split 'val'. It has: all, test, train"):
        data.load(folder, "val", image_size=4, batch_size=1)
    (folder / "train" / "grey").mkdir(parents=True)
    (folder / "val" / "gray").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"val has classes that the train split has not: gray"):
        data.load(folder, "val", image_size=4, batch_size=1)


# Single images


def test_evaluation_resizes_the_short_side_and_crops_the_centre():
    columns = tf.tile(tf.range(40.0)[tf.newaxis, :, tf.newaxis], (20, 1, 1))  # each pixel is its column
    whole = images.for_evaluation(columns, (10, 10), Preprocessing(crop_pct=1.0, interpolation="bilinear"))
    np.testing.assert_allclose(whole[5, 1:-1, 0], np.arange(10.5, 30, 2)[1:-1], atol=1e-4)  # columns 10 to 29
    half = images.for_evaluation(columns, (10, 10), Preprocessing(crop_pct=0.5, interpolation="bilinear"))
    np.testing.assert_allclose(half[5, :, 0], np.arange(15, 25), atol=1e-4)
    squashed = images.for_evaluation(columns, (10, 10), Preprocessing(squash=True, interpolation="bilinear"))
    np.testing.assert_allclose(squashed[5, 1:-1, 0], np.arange(1.5, 40, 4)[1:-1], atol=1e-4)


def test_bicubic_overshoot_stays_within_pixels():
    edge = tf.repeat(tf.constant([0.0, 255.0]), 4)[tf.newaxis, :, tf.newaxis] * tf.ones((8, 1, 1))
    resized = images.resize(edge, (16, 16), "bicubic")
    assert tf.reduce_min(resized) == 0 and tf.reduce_max(resized) == 255


@pytest.mark.parametrize(("have", "want"), [(1, 1), (1, 3), (3, 1), (3, 3), (4, 3), (2, 1), (2, 3), (4, 1)])
def test_channels(have, want):
    grey = tf.concat([tf.fill((2, 2, have - (have in (2, 4))), 100), tf.fill((2, 2, int(have in (2, 4))), 7)], -1)
    found = images.with_channels(tf.cast(grey, tf.uint8), want)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, np.full((2, 2, want), 100), atol=0.1)


# Augmentation

SEED = tf.constant([1, 2], tf.int32)


def test_random_resized_crop_takes_boxes_of_the_asked_area():
    """On a picture whose pixel is its column, the range of the result tells the box's width."""
    columns = tf.tile(tf.range(64.0)[tf.newaxis, :, tf.newaxis], (64, 1, 1))
    widths = []
    for seed in range(100):
        crop = augment.random_resized_crop(columns, (seed, 0), (16, 16), (0.25, 0.36), "bilinear").numpy()
        assert crop.shape == (16, 16, 1)
        widths.append((crop.max() - crop.min()) * 16 / 15)
    assert 64 * (0.25 * 3 / 4) ** 0.5 - 3 < min(widths) < max(widths) < 64 * (0.36 * 4 / 3) ** 0.5 + 3


def test_mixup_blends_images_as_labels():
    pictures, labels = tf.range(8.0)[:, tf.newaxis, tf.newaxis, tf.newaxis] * tf.ones((8, 4, 4, 3)), tf.eye(8)
    mixed, mixed_labels = augment.mixup(pictures, labels, SEED, 0.5)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], tf.linalg.matvec(mixed_labels, tf.range(8.0)), atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(mixed_labels, -1), np.ones(8), atol=1e-6)
    assert len(np.unique(tf.reduce_max(mixed_labels, -1))) > 4  # a weight of its own for each image


def test_cutmix_pastes_boxes_and_mixes_labels_by_their_area():
    pictures, labels = tf.range(8.0)[:, tf.newaxis, tf.newaxis, tf.newaxis] * tf.ones((8, 32, 32, 3)), tf.eye(8)
    mixed, mixed_labels = augment.cutmix(pictures, labels, SEED, 1.0)
    np.testing.assert_allclose(
        tf.reduce_mean(mixed, (1, 2, 3)), tf.linalg.matvec(mixed_labels, tf.range(8.0)), atol=1e-4
    )
    assert set(np.unique(mixed[3])) == {3.0, 7.0}
    assert len(np.unique(mixed_labels.numpy().round(4))) > 6


def test_of_mixup_and_cutmix_each_batch_gets_one():
    pictures, labels = tf.range(8.0)[:, tf.newaxis, tf.newaxis, tf.newaxis] * tf.ones((8, 16, 16, 1)), tf.eye(8)
    whole = [
        bool(np.all(np.ptp(augment.mixup_or_cutmix(pictures, labels, (seed, 0), 1.0, 1.0)[0], (1, 2, 3)) < 1e-5))
        for seed in range(40)
    ]
    assert 8 < sum(whole) < 32  # mixup leaves an even picture even, cutmix does not
