"""Segmenters as .tflite files: logits or a label map, verified pixel by pixel, and used in place of a model."""

import golden
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mlp
from keras_mlp import export, tasks
from keras_mlp.classifiers import PixelOutput
from keras_mlp.training.data import Data

NAMES = ["ground", "red", "green", "blue"]
SIDE = 32


@pytest.fixture(scope="module")
def images():
    """Squares of pure colours on grey ground, and which colour is where."""
    random = np.random.default_rng(0)
    pixels, labels = np.full((40, SIDE, SIDE, 3), 90), np.zeros((40, SIDE, SIDE), int)
    for image, mask in zip(pixels, labels, strict=True):
        for colour in random.permutation(3)[:2]:
            top, left = random.integers(0, SIDE - 12, 2)
            image[top : top + 12, left : left + 12] = 220 * np.eye(3)[colour] + 15
            mask[top : top + 12, left : left + 12] = colour + 1
    return np.clip(pixels + random.integers(-12, 12, pixels.shape), 0, 255).astype("uint8"), labels


@pytest.fixture(scope="module")
def model(images):
    """A small AS-MLP with Semantic FPN that has learnt them, with an auxiliary head."""
    keras.utils.set_random_seed(0)
    backbone = keras_mlp.ASMLP(
        patch_size=2, dim=12, depths=(1, 1), shift_size=3, input_shape=(SIDE, SIDE, 3), include_top=False
    )
    model = tasks.SemanticFPN(backbone, 4, neck_channels=16, channels=16, auxiliary=True, auxiliary_channels=8)
    pixels, labels = images
    model.compile(keras.optimizers.AdamW(1e-2), loss=dict.fromkeys(model.output, tasks.PixelCrossEntropy()))
    model.fit(pixels, dict.fromkeys(model.output, labels), batch_size=8, epochs=12, verbose=0)
    return model


@pytest.fixture(scope="module")
def files(model, images, tmp_path_factory):
    """`(precision, label_map) -> what was written`, each file made once."""
    made, folder = {}, tmp_path_factory.mktemp("files")

    def file(precision, label_map):
        if (precision, label_map) not in made:
            made[precision, label_map] = export.to_tflite(
                model,
                folder / f"{precision}_{label_map}.tflite",
                precision,
                representative=images[0] if precision == "int8" else None,
                verify_with=images,
                classes=NAMES,
                label_map=label_map,
                input_dtype="uint8" if precision == "int8" else "float32",
            )
        return made[precision, label_map]

    return file


def scores(segmenter, images):
    """What `tasks.evaluate` gives, on arrays."""
    pixels, labels = images
    dataset = tf.data.Dataset.from_tensor_slices((pixels.astype("float32"), {"masks": labels[..., None]})).batch(8)
    return tasks.evaluate(segmenter, Data(dataset, NAMES, examples=40, steps=5, batch_size=8), verbose=0)


KINDS = [(precision, label_map) for precision in ("float32", "float16", "dynamic_int8", "int8") for label_map in (0, 1)]
QUICK, SLOW = [("float32", 0), ("int8", 1)], [("int8", 0), ("dynamic_int8", 1)]


def marks(kind):
    return () if kind in QUICK else golden.SLOW if kind in SLOW else golden.HUGE


@pytest.mark.parametrize(
    ("precision", "label_map"),
    [pytest.param(*kind, marks=marks(kind)) for kind in KINDS],
)
def test_files_agree_with_the_model_pixel_by_pixel(images, files, precision, label_map):
    found = files(precision, label_map)
    assert (found.verification.max_difference is None) == label_map
    assert found.verification.agreement > 0.99 and found.verification.keras_accuracy > 0.95
    assert abs(found.verification.tflite_accuracy - found.verification.keras_accuracy) < 0.01
    if precision == "int8":
        assert not {"RESIZE_BILINEAR", "CONV_2D", "ARG_MAX"} & set(found.float_operators)
    told, names = export.read_metadata(found.path)
    activation = "argmax" if label_map else "linear"
    assert told["output"] == {"kind": "segmentation", "activation": activation, "classes": 4} and names == NAMES
    answer = export.Runner(found.path)(images[0][:2])
    assert answer.shape == ((2, SIDE, SIDE) if label_map else (2, SIDE, SIDE, 4))  # and no auxiliary output
    assert answer.dtype == ("uint8" if label_map else "float32")


def test_files_take_the_place_of_the_model(model, images, files):
    expected = scores(model, images)
    photo = np.concatenate(images[0][:2])[:50]
    labels = tasks.segment(model, photo)
    for kind in QUICK:
        file = tasks.ExportedSegmenter(files(*kind).path)
        assert file.names == NAMES
        found = scores(file, images)
        assert abs(found["mIoU"] - expected["mIoU"]) < 0.02 and abs(found["aAcc"] - expected["aAcc"]) < 0.01
        again = tasks.segment(file, photo)
        assert again.shape == (50, 32) and (again == labels).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("label_map", [False, True])
def test_layers_stay_in_float_until_the_pixels_are_right(model, images, tmp_path, label_map):
    exported = export.to_tflite(
        *(model, tmp_path / "model.tflite", "int8", images[0]),
        verify_with=images,
        max_accuracy_drop=0.0005,
        label_map=label_map,
    )
    found = exported.verification
    assert found.keras_accuracy - found.tflite_accuracy <= 0.0005
    errors = export.quantization_errors(model, images[0])
    assert [error.layer for error in errors][: len(exported.float_layers)] == [*exported.float_layers]


@pytest.mark.slow
def test_quantised_input_leaves_a_label_map_as_it_is(model, images, tmp_path):
    file = tmp_path / "model.tflite"
    export.to_tflite(model, file, "int8", images[0], input_dtype="int8", verify_with=images, label_map=True)
    assert export.Runner(file)(images[0][:1]).dtype == "uint8"


def test_what_a_map_means_is_told_by_the_layer_that_made_it():
    mixer = keras_mlp.MLPMixer(patch_size=8, dim=16, depth=2, input_shape=(32, 32, 3), include_top=False)
    for head in (tasks.SETRNaive, tasks.SETRPUP):
        assert PixelOutput.perhaps(head(mixer, 3, channels=8)) == PixelOutput(3, (32, 32))
    as_many_channels = keras_mlp.ConvMixer(patch_size=1, dim=3, depth=1, kernel_size=3, include_top=False)
    of_open_input = keras.Sequential([keras.layers.Conv2D(3, 1, name="head")])
    assert all(PixelOutput.perhaps(other) is None for other in (mixer, as_many_channels, of_open_input))
    output = PixelOutput(3, (2, 2))
    labels = np.array([[[0, 1], [2, 255]]])
    np.testing.assert_array_equal(output.correct(np.eye(3)[[[[0, 1], [1, 0]]]], labels), [True, True, False])


def test_what_is_no_segmenter_is_refused(mixer, images, tmp_path):
    file = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match="`label_map` goes with a segmenter"):
        export.to_tflite(mixer, file, label_map=True)
    with pytest.raises(ValueError, match="for up to 256 classes. The model tells 300 apart"):
        PixelOutput(300).labelled()
    output = PixelOutput(4, (SIDE, SIDE))
    for labels, message in (
        (images[1][:2, :8], r"must be integers of the shape \(2, height, width\).*shape=\(2, 8, 32\)"),
        (images[1][:2] + 4, "must be classes 0–3, or 255 for void. Received: [4-7] among them"),
    ):
        with pytest.raises(ValueError, match=message):
            output.labels(labels, 2)
    export.to_tflite(mixer, file)
    with pytest.raises(ValueError, match=r"is no segmenter: it gives \(1, 3\)"):
        tasks.ExportedSegmenter(file)
    with pytest.raises(ValueError, match="There is no file"):
        tasks.ExportedSegmenter(tmp_path / "none.tflite")


@pytest.fixture(scope="module")
def mixer():
    """A classifier of three classes."""
    return keras_mlp.MLPMixer(patch_size=16, dim=8, depth=1, input_shape=(32, 32, 3), classes=3)
