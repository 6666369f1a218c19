"""MediaPipe Tasks classify by exported files as they are: normalisation, classes and all."""

import mediapipe
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as model_schema
from flowers import CLASSES
from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
from mediapipe.tasks.python import BaseOptions, vision

import keras_mlp
from keras_mlp import export


def classified(path, pixels):
    """`{name: score}` as MediaPipe says."""
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        (found,) = classifier.classify(image).classifications
    return {category.category_name: category.score for category in found.categories}


def table(path):
    """The metadata of a file, as the schema's own code reads them."""
    model = model_schema.Model.GetRootAs(path.read_bytes(), 0)
    entries = {model.Metadata(i).Name(): model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    content = model.Buffers(entries[b"TFLITE_METADATA"]).DataAsNumpy().tobytes()
    return schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(content, 0))


@pytest.mark.parametrize("options", [{}, {"input_dtype": "uint8", "precision": "dynamic_int8"}], ids=["float", "uint8"])
def test_mediapipe_classifies_a_photo(flowers, options, tmp_path):
    path = tmp_path / "flowers.tflite"
    about = {"model": "flowers", "licence": "MIT", "training_data": "photos"}
    export.to_tflite(flowers, path, classes=CLASSES, metadata=about, **options)
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype="uint8")
    found, expected = classified(path, pixels), flowers.predict(pixels[np.newaxis].astype("float32"), verbose=0)[0]
    assert set(found) == set(CLASSES)
    np.testing.assert_allclose([found[name] for name in CLASSES], expected, atol=1e-5 if not options else 0.02)
    told = table(path)
    assert (told.name, told.license, told.description) == (b"flowers", b"MIT", b"Trained on photos.")
    image, scores = told.subgraphMetadata[0].inputTensorMetadata[0], told.subgraphMetadata[0].outputTensorMetadata[0]
    assert image.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
    size = image.content.contentProperties.defaultSize
    assert (image.name, size.height, size.width) == (b"image", 32, 32)
    (labels,) = scores.associatedFiles
    assert (scores.name, labels.name, labels.type) == (
        b"scores",
        b"labels.txt",
        schema.AssociatedFileType.TENSOR_AXIS_LABELS,
    )
    assert export.read_metadata(path)[1] == CLASSES


def test_what_a_model_leaves_to_its_caller_mediapipe_does(flowers, tmp_path):
    bare = keras_mlp.MLPMixer(
        patch_size=8, dim=16, depth=1, input_shape=(32, 32, 3), classes=4, include_preprocessing=False
    )
    bare.set_weights(flowers.get_weights())
    told = {"preprocessing": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    export.to_tflite(bare, tmp_path / "bare.tflite", classes=CLASSES, metadata=told)
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype="uint8")
    found, expected = classified(tmp_path / "bare.tflite", pixels), bare.predict(pixels[None] / 127.5 - 1, verbose=0)[0]
    np.testing.assert_allclose([found[name] for name in CLASSES], expected, atol=1e-5)


def test_a_file_tells_the_oldest_runtime_and_can_be_made_for_older_ones(flowers, tmp_path):
    path = tmp_path / "flowers.tflite"
    needed = {older: export.to_tflite(flowers, path, "dynamic_int8", older_runtimes=older) for older in (False, True)}
    assert {older: file.runtime for older, file in needed.items()} == {False: "2.17.0", True: "2.9.0"}
    pixels = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(export.Runner(path)(pixels), flowers.predict(pixels, verbose=0), atol=0.05)
    with pytest.raises(ValueError, match="`older_runtimes` goes with"):
        export.to_tflite(flowers, path, older_runtimes=True)
