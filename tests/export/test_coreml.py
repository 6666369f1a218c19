"""Core ML packages, converted and read back. On Apple's machines, where Core ML is, the export runs them, too."""

import coremltools
import golden
import keras
import pytest

from keras_mlp import export
from keras_mlp.zoo import FAMILIES

IMAGES = sorted(name for name, family in FAMILIES.items() if family.input == "image")


def test_a_package_takes_pictures_and_knows_labels_and_scaling(mixer, tmp_path):
    model, path = mixer(), tmp_path / "model.mlpackage"
    names = [f"class {i}" for i in range(model.output_shape[-1])]
    export.to_coreml(model, path, classes=names, description="A mixer.", metadata={"license": "Apache-2.0"})
    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    (image,) = spec.description.input
    assert (image.name, image.type.imageType.height, image.type.imageType.width) == ("image", 32, 32)
    assert {output.name for output in spec.description.output} == {"classLabel", "classLabel_probs"}
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    (classify,) = (operation for operation in block.operations if operation.type == "classify")
    values = classify.inputs["classes"].arguments[0].value.immediateValue.list.values
    assert [value.immediateValue.tensor.strings.values[0] for value in values] == names
    first = next(operation.type for operation in block.operations if operation.type not in ("const", "cast"))
    assert first == "batch_norm", "the scaling is in the network"
    assert spec.description.metadata.shortDescription == "A mixer."
    assert spec.description.metadata.userDefined["license"] == "Apache-2.0"

    export.to_coreml(model, path, precision="float32")
    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    assert [output.name for output in spec.description.output] == ["scores"]


@pytest.mark.slow
@pytest.mark.parametrize("family", golden.chosen(IMAGES, ("lit", "sequencer2d", "swat"), pytest.mark.huge))
def test_every_family_becomes_core_ml(family, tmp_path):
    case = golden.small(family)
    export.to_coreml(golden.build(case), tmp_path / "model.mlpackage", precision="float32")
    assert (tmp_path / "model.mlpackage" / "Manifest.json").exists()


def test_what_core_ml_cannot_have_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r'must end in "\.mlpackage"'):
        export.to_coreml(model, tmp_path / "model.mlmodel")
    with pytest.raises(ValueError, match="Received: precision='int8'"):
        export.to_coreml(model, tmp_path / "model.mlpackage", precision="int8")
    inputs = keras.Input((8, 8, 5))
    with pytest.raises(ValueError, match="images of 1 or 3 channels"):
        export.to_coreml(keras.Model(inputs, keras.ops.mean(inputs, axis=(1, 2))), tmp_path / "model.mlpackage")
    assert not list(tmp_path.iterdir())
