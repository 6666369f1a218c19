"""Classify image files with an exported .tflite file and LiteRT's interpreter alone, as an app does.

    python examples/mobile/classify.py model.tflite photo.jpg ...

Needs ai-edge-litert, NumPy and Pillow; neither TensorFlow nor keras_mlp. The file tells the rest: its size, how images
are resized for it, the names of its classes, and whether they exclude each other. Of classes that do, the five best are
shown; of a multi-label model all whose score is above one half.
"""

import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


def decode(path):
    """A picture as a viewer shows it: turned as its EXIF orientation says, of sixteen bits the upper eight, in RGB."""
    image = Image.open(path)
    if image.width * image.height > Image.MAX_IMAGE_PIXELS:  # known before they are decoded
        sys.exit(f"{path}: an image of {image.width}×{image.height} pixels is too large")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.mode in ("I", "F"):
        sys.exit(f"{path}: 32 bits a pixel, whose range nothing tells")
    return image.convert("RGB")


def read(path, size, preprocessing):
    """Pixels 0–255 `(1, height, width, 3)`: the whole image squashed, or its short side resized and the centre cut."""
    image, (height, width) = decode(path), size
    method = getattr(Image.Resampling, preprocessing["interpolation"].upper())
    if preprocessing["squash"]:
        return np.asarray(image.resize((width, height), method))[np.newaxis]
    scale = max(width / image.width, height / image.height) / preprocessing["crop_pct"]
    image = image.resize((round(image.width * scale), round(image.height * scale)), method)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))[np.newaxis]


def encoded(pixels, taken):
    """Pixels as the file takes them: in float, as bytes, or quantised."""
    scale, zero = taken["quantization"]
    if scale:
        limits = np.iinfo(taken["dtype"])
        pixels = np.clip(np.rint(pixels / scale) + zero, limits.min, limits.max)
    return pixels.astype(taken["dtype"])


def probabilities(numbers, meaning):
    """Scores of the classes, from the model's output for an image, `(units,)`; one unit gives scores of two classes."""
    exclusive, done = meaning["kind"] == "exclusive", meaning["activation"]
    if done == "linear":
        powers = np.exp(numbers - numbers.max())
        numbers = powers / powers.sum() if exclusive else 1 / (1 + np.exp(-numbers))
    elif exclusive and done == "sigmoid":
        odds = numbers / np.maximum(1 - numbers, 1e-7)
        numbers = odds / odds.sum()
    return np.append(1 - numbers, numbers) if meaning["kind"] == "binary" else numbers


def main(model, *images):
    with zipfile.ZipFile(model) as archive:
        about = json.loads(archive.read("metadata.json"))
        labels = archive.read("labels.txt").decode().splitlines()
    meaning = about.get("output", {"kind": "exclusive", "activation": "softmax"})
    interpreter = Interpreter(model_path=model, num_threads=2)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    for path in images:
        pixels = read(path, taken["shape"][1:3], about["preprocessing"])
        interpreter.set_tensor(taken["index"], encoded(pixels, taken))
        interpreter.invoke()
        numbers, (scale, zero) = interpreter.get_tensor(given["index"])[0].astype("float32"), given["quantization"]
        scores = probabilities((numbers - zero) * scale if scale else numbers, meaning)
        best = np.argsort(-scores)
        best = [i for i in best if scores[i] > 0.5] if meaning["kind"] == "multi_label" else best[:5]
        print(path, *(f"{labels[i]} {100 * scores[i]:.1f} %" for i in best), sep="\n  ")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
