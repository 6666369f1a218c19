"""Fine-tune a published model on your own images and export it for a phone.

    python examples/finetune.py photos/                     # photos/CLASS/*.jpg
    python examples/finetune.py photos/ Mixer-S_16.npz      # with a weights file that you have

Without arguments it trains a small model from scratch on the embedded handwritten digits, to show that it runs.
"""

import dataclasses
import sys

import keras_mlp
from keras_mlp import export
from keras_mlp.training import data, recipes, train


def main(folder=None, weights="imagenet"):
    recipe = recipes.finetune() if folder else dataclasses.replace(recipes.digits(), epochs=20)
    size = 224 if folder else 16
    images = dict(image_size=size, batch_size=recipe.batch_size)
    training = data.load(folder or "digits", "train", recipe=recipe, **images)
    validation = data.load(folder or "digits", "evaluation", **images)

    classes = len(training.classes)
    if folder:
        model = keras_mlp.MLPMixerS16(weights=weights, classes=classes, new_head=True)
    else:
        model = keras_mlp.MLPMixer(patch_size=2, dim=64, depth=3, input_shape=(size, size, 3), classes=classes)

    train.fit(model, training, validation, recipe, "finetuned", overwrite=True)
    print(train.evaluate(model, validation))

    sample = next(iter(validation.dataset))[0].numpy()
    print(export.to_tflite(model, "finetuned/model.tflite", "dynamic_int8", verify_with=sample))


if __name__ == "__main__":
    main(*sys.argv[1:])
