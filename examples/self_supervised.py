"""Learn features from images without their labels, and see what a linear classifier makes of them.

    python examples/self_supervised.py photos/     # photos/CLASS/*.jpg; the classes are for the classifier alone

Without arguments it takes the embedded handwritten digits and a small model, to show that it runs.
"""

import dataclasses
import sys

import keras

import keras_mlp
from keras_mlp.training import data, moco_v3, probe, recipes, train
from keras_mlp.training.data.views import two_views

SMALL = dict(patch_size=2, dim=32, depth=2, input_shape=(8, 8, 3))
SHORT = dict(learning_rate=1e-2, epochs=15, warmup_epochs=2, random_resized_crop=(0.3, 1.0))


def accuracy(encoder, images):
    """Top-1 of a linear classifier on the encoder's features."""
    size = encoder.input_shape[1:3]
    recipe = recipes.at_batch_size(recipes.linear_probe(), 128)
    recipe = dataclasses.replace(recipe, epochs=12, random_resized_crop=(0.5, 1.0))
    training = data.load(images, "train", image_size=size, batch_size=128, recipe=recipe)
    validation = data.load(images, "evaluation", image_size=size, batch_size=128)
    model = probe.classifier(encoder, len(training.classes), train_encoder=False)
    train.fit(model, training, validation, recipe, "self_supervised/probe", overwrite=True, verbose=0)
    return train.evaluate(model, validation, verbose=0)["top1"]


def main(folder=None):
    keras.utils.set_random_seed(0)
    images = folder or "digits"
    features = dict(include_top=False, pooling="avg")
    encoder = keras_mlp.MLPMixerS16(weights=None, **features) if folder else keras_mlp.MLPMixer(**SMALL, **features)
    random = accuracy(encoder, images)

    recipe = dataclasses.replace(recipes.at_batch_size(recipes.pretrain(), 256), **({} if folder else SHORT))
    size = encoder.input_shape[1:3]
    pairs = data.load(images, "train", image_size=size, batch_size=256, recipe=recipe, augmentation=two_views)
    widths = {} if folder else dict(dim=64, hidden=256)
    model = moco_v3.MoCoV3(encoder, steps=recipe.epochs * pairs.steps, **widths)
    train.fit(model, pairs, None, recipe, "self_supervised/features", overwrite=True)

    print(f"linear classifier on random features: top-1 {random:.2%}")
    print(f"linear classifier on learnt features: top-1 {accuracy(encoder, images):.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
