"""Serve an exported classifier over HTTP by LitServe, on a machine that needs TensorFlow and no keras_mlp.

    pip install litserve tensorflow
    keras-mlp export --model=mlp_mixer_b16 --output=mixer
    python examples/serving/server.py mixer 8000
    python examples/serving/client.py http://127.0.0.1:8000 photos/cat.jpg

It answers `POST /predict` of `{"image": file in base64}` with `{"classes": […], "scores": […]}`, best first. Images
that come at the same time are computed together.
"""

import base64
import sys

import litserve
import tensorflow as tf
from fastapi import HTTPException


class Classifier(litserve.LitAPI):
    """The signature "classify" of a SavedModel in a folder."""

    def __init__(self, folder, **options):
        super().__init__(**options)
        self.folder = folder

    def setup(self, device):
        self.served = tf.saved_model.load(self.folder)  # kept: a signature does not hold its weights
        self.classify = self.served.signatures["classify"]

    def decode_request(self, request):
        return base64.b64decode(request["image"])

    def batch(self, inputs):
        return inputs

    def predict(self, files):
        try:
            return self.classify(encoded_images=tf.constant(files))
        except tf.errors.InvalidArgumentError as error:
            raise HTTPException(400, f"This is no image that can be read: {error.message}") from error

    def unbatch(self, output):
        rows = zip(output["classes"].numpy(), output["scores"].numpy(), strict=True)
        return [([name.decode() for name in classes], scores.tolist()) for classes, scores in rows]

    def encode_response(self, output):
        classes, scores = output
        return {"classes": classes, "scores": scores}


if __name__ == "__main__":
    folder, port = sys.argv[1:]
    api = Classifier(folder, max_batch_size=8, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False)
