"""Tell the class of each pixel with an exported .tflite file and LiteRT's interpreter alone, as an app does.

    python examples/mobile/segment.py model.tflite photo.jpg ...

Needs ai-edge-litert, NumPy and Pillow, and classify.py beside it; neither TensorFlow nor keras_mlp. The file tells the
names of its classes, and whether it gives their logits or the class of each pixel. The whole picture is resized to the
model's size. What is found is resized back and written beside the picture, as photo_labels.png: a PNG with a palette,
whose numbers are those of the classes. The share of each class is printed.
"""

import json
import pathlib
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from classify import decode, encoded, read
from PIL import Image

COLOURS = np.random.default_rng(0).integers(0, 256, (256, 3), "uint8")


def main(model, *images):
    with zipfile.ZipFile(model) as archive:
        about = json.loads(archive.read("metadata.json"))
        names = archive.read("labels.txt").decode().splitlines()
    if about["output"]["kind"] != "segmentation":
        sys.exit(f"{model} is no segmenter: it tells {about['output']}")
    interpreter = Interpreter(model_path=model, num_threads=2)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    for path in map(pathlib.Path, images):
        pixels = read(path, taken["shape"][1:3], about["preprocessing"])
        interpreter.set_tensor(taken["index"], encoded(pixels, taken))
        interpreter.invoke()
        found = interpreter.get_tensor(given["index"])[0]
        if about["output"]["activation"] == "linear":  # (height, width, classes); quantised ones have the same order
            found = found.argmax(-1)
        labels = Image.fromarray(found.astype("uint8")).resize(decode(path).size, Image.Resampling.NEAREST)
        labels.putpalette(COLOURS.reshape(-1).tolist())
        labels.save(path.with_name(f"{path.stem}_labels.png"))
        shares = np.bincount(np.asarray(labels).reshape(-1), minlength=len(names)) / (labels.width * labels.height)
        print(path, *(f"{names[i]} {100 * shares[i]:.1f} %" for i in np.argsort(-shares) if shares[i]), sep="\n  ")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
