"""SavedModels, read by TensorFlow's own loader in a process that does not know keras_mlp."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp import export
from keras_mlp.cards import Preprocessing
from keras_mlp.training.data import images as for_images

SERVE = """
import sys, numpy as np, tensorflow as tf
folder = sys.argv[1]
served = tf.saved_model.load(folder + "/model")
inputs = np.load(folder + "/pixels.npy")
pixels = served.signatures["serving_default"](pixels=tf.constant(inputs))["outputs"]
files = [open(f"{folder}/{i}.jpg", "rb").read() for i in range(2)]
encoded = served.signatures["encoded_images"](encoded_images=tf.constant(files))["outputs"]
classify = served.signatures["classify"]
named = {name: tensor.numpy() for name, tensor in classify(encoded_images=tf.constant(files)).items()}
labels = served.signatures["labels"]()["labels"].numpy().astype("U")
np.savez(
    folder + "/answers.npz",
    pixels=pixels,
    encoded=encoded,
    classes=named["classes"].astype("U"),
    scores=named["scores"],
    labels=labels,
)
print("keras_mlp" in sys.modules)
"""


@pytest.mark.parametrize("policy", ["mixed_bfloat16", pytest.param("float32", marks=pytest.mark.slow)])
def test_pixels_and_jpegs_give_what_keras_gives(mixer, images, policy, tmp_path):
    model, preprocessing = mixer(dtype=policy), Preprocessing(crop_pct=0.8, interpolation="bilinear")
    names = np.array([f"class {i}" for i in range(model.output_shape[-1])])
    export.to_saved_model(model, tmp_path / "model", preprocessing, classes=names.tolist())
    pixels = images[:3].astype("float32")
    np.save(tmp_path / "pixels.npy", pixels)
    for i, size in enumerate([(48, 64), (90, 40)]):
        keras.utils.save_img(tmp_path / f"{i}.jpg", tf.image.resize(images[i], size), scale=False)
    done = subprocess.run([sys.executable, "-c", SERVE, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"

    float32 = mixer()
    float32.set_weights(model.get_weights())
    with np.load(tmp_path / "answers.npz") as answers:
        np.testing.assert_allclose(answers["pixels"], float32(pixels), atol=1e-5)
        best = np.argsort(-answers["encoded"])[:, :5]
        np.testing.assert_array_equal(answers["classes"], names[best])
        np.testing.assert_array_equal(answers["scores"], np.take_along_axis(answers["encoded"], best, axis=1))
        np.testing.assert_array_equal(answers["labels"], names)
        for i, answer in enumerate(answers["encoded"]):
            decoded = tf.cast(tf.io.decode_jpeg((tmp_path / f"{i}.jpg").read_bytes()), tf.float32)
            seen = for_images.for_evaluation(decoded, (32, 32), preprocessing)
            np.testing.assert_allclose(answer, float32(seen[None])[0], atol=1e-5)


def test_what_is_there_is_replaced_whole(mixer, model, tmp_path):
    export.to_saved_model(model, tmp_path / "model")
    before = sorted(path.name for path in (tmp_path / "model").rglob("*"))
    export.to_saved_model(mixer(dim=16), tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_bad_arguments_are_refused(model, mixer, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ValueError, match="is a file, and a folder is to be written"):
        export.to_saved_model(model, tmp_path / "file")
    with pytest.raises(ValueError, match="There is no folder"):
        export.to_saved_model(model, tmp_path / "missing" / "model")
    with pytest.raises(ValueError, match=r"must take images of 1 or 3 channels.*\(32, 32, 4\)"):
        export.to_saved_model(mixer(input_shape=(32, 32, 4), include_preprocessing=False), tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
