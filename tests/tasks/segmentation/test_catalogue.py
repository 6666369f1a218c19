"""Data sets of tensorflow-datasets with masks, prepared here as it prepares them."""

import numpy as np
import pytest

from keras_mlp import tasks
from keras_mlp.tasks.segmentation import check
from keras_mlp.tasks.segmentation.data import find

tfds = pytest.importorskip("tensorflow_datasets")
RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.integers(0, 4, (5, 12, 16, 1)).astype("uint8")  # in 1–3 for pets


def examples(image, mask, masks):
    for i, numbers in enumerate(masks):
        yield i, {image: RANDOM.integers(0, 255, (12, 16, 3)).astype("uint8"), mask: numbers}


def prepare(folder, plain, version, features, masks, image, mask, config=None):
    """Prepare a small data set that has the name, the version and the features of a published one."""

    class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # the published one is registered
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []
        name = plain

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": examples(image, mask, masks[:3]), "test": examples(image, mask, masks[3:])}

        def _generate_examples(self):
            raise NotImplementedError

    Small(data_dir=folder).download_and_prepare()


def colour(**options):
    return tfds.features.Image(shape=(12, 16, 3), **options)


def assert_same(masks, expected):
    """In any order: tensorflow-datasets has its own."""
    np.testing.assert_array_equal(*(sorted(mask.tolist() for mask in one) for one in (masks, expected)))


def loaded(name, split, **options):
    """All masks of a split."""
    data = tasks.load(name, split, image_size=(12, 16), batch_size=2, **options)
    return data, np.concatenate([targets["masks"] for _, targets in data.dataset])


def test_pets_are_of_three_classes(tmp_path):
    features = {"image": colour(), "segmentation_mask": tfds.features.Image(shape=(12, 16, 1))}
    numbers = np.maximum(NUMBERS, 1)
    prepare(tmp_path, "oxford_iiit_pet", "4.0.0", features, numbers, "image", "segmentation_mask")
    data, masks = loaded("tfds:oxford_iiit_pet:4.0.0", "train", data_dir=tmp_path)
    assert data.classes == ["pet", "background", "border"] and data.examples == 3
    assert_same(masks, numbers[:3] - 1)
    data, masks = loaded(tmp_path / "oxford_iiit_pet" / "4.0.0", "evaluation")
    assert_same(masks, numbers[3:] - 1)
    recipe = tasks.SegmentationRecipe("a test", random_scale=None, photometric_distortion=False)
    training = tasks.load(
        "tfds:oxford_iiit_pet:4.0.0", image_size=8, batch_size=2, recipe=recipe, data_dir=tmp_path
    ).dataset
    ((images, targets),) = training.take(1)
    assert images.shape == (2, 8, 8, 3) and set(np.unique(targets["masks"])) <= {0, 1, 2, 255}
    (report,) = check.check("tfds:oxford_iiit_pet:4.0.0", ["train"], tmp_path)
    assert report.masks == 3 and not report.wrong and report.pixels[0] == np.sum(numbers[:3] == 1)
    assert find("tfds:oxford_iiit_pet:4.0.0", "train", tmp_path).counts() == [3, 3, 3]


def test_scene_parse150_has_its_classes_in_red(tmp_path):
    features = {"image": colour(encoding_format="jpeg"), "annotation": colour(encoding_format="png")}
    numbers = RANDOM.integers(0, 101, (5, 12, 16, 3)).astype("uint8")
    prepare(tmp_path, "scene_parse150", "1.0.0", features, numbers, "image", "annotation")
    data, masks = loaded("tfds:scene_parse150", "test", data_dir=tmp_path)
    assert len(data.classes) == 100 and data.classes[3] == "person"
    assert_same(masks, (numbers[3:, ..., :1] - 1).astype("uint8"))


def test_labelled_images_tell_their_classes_and_wrong_labels_are_named(tmp_path):
    mask = tfds.features.LabeledImage(labels=["ground", "thing", "other"], shape=(12, 16, 1))
    prepare(tmp_path, "mine", "1.0.0", {"picture": colour(), "mask": mask}, NUMBERS, "picture", "mask")
    folder = tmp_path / "mine" / "1.0.0"
    with pytest.raises(ValueError, match=r"the mask of .*1\.0\.0 \(train\), image 0 has the label 3\. There are 3"):
        find(folder, "train").counts()
    (report,) = check.check(folder, ["train"])
    assert len(report.found["wrong"]) == 3
    with pytest.raises(ValueError, match=r"Masks are wrong: the mask of .*image 0 has the label 3"):
        check.refuse([report])


def test_what_has_no_masks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no masks of which it is known.*cityscapes, oxford_iiit_pet, scene_parse"):
        tasks.load("tfds:digits", image_size=8, batch_size=2, data_dir=tmp_path)
    with pytest.raises(ValueError, match="There is no data set 'oxford_iiit_pets'.*near it: oxford_iiit_pet"):
        tasks.load("tfds:oxford_iiit_pets", image_size=8, batch_size=2, data_dir=tmp_path)
    with pytest.raises(ValueError, match="cannot be prepared: .*https://www.cityscapes-dataset.com"):  # by hand
        tasks.load("tfds:cityscapes", image_size=8, batch_size=2, data_dir=tmp_path)


def test_cityscapes_has_the_ids_of_its_authors(tmp_path):
    names = "image_left", "segmentation_label"
    features = {names[0]: colour(encoding_format="png"), names[1]: tfds.features.Image(shape=(12, 16, 1))}
    numbers = RANDOM.integers(0, 34, (5, 12, 16, 1)).astype("uint8")
    prepare(tmp_path, "cityscapes", "1.0.0", features, numbers, *names, config="semantic_segmentation")
    data, masks = loaded("tfds:cityscapes/semantic_segmentation:1.0.0", "train", data_dir=tmp_path)
    assert len(data.classes) == 19
    assert_same(masks == 13, numbers[:3] == 26)  # cars
    learnt = [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
    assert_same(masks == 255, ~np.isin(numbers[:3], learnt))
