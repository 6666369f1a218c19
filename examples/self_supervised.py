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

SMALL = dict(learning_rate=2e-3, epochs=100, warmup_epochs=10, random_resized_crop=(0.3, 1.0))


def encoders(folder):
    """An encoder with random weights, and one more of the same kind."""
    if folder:
        return [keras_mlp.MLPMixerS16(weights=None, include_top=False, pooling="avg") for _ in range(2)]
    small = dict(patch_size=4, dim=64, depth=3, input_shape=(16, 16, 3), include_top=False, pooling="avg")
    return [keras_mlp.MLPMixer(**small) for _ in range(2)]


def accuracy(encoder, name, images, size):
    """Top-1 of a linear classifier on the encoder's features."""
    recipe = dataclasses.replace(recipes.linear_probe(), batch_size=128, learning_rate=1.0, epochs=20)
    recipe = dataclasses.replace(recipe, random_resized_crop=(0.5, 1.0))
    training = data.load(images, "train", image_size=size, batch_size=recipe.batch_size, recipe=recipe)
    validation = data.load(images, "evaluation", image_size=size, batch_size=recipe.batch_size)
    model = probe.classifier(encoder, len(training.classes), train_encoder=False)
    train.fit(model, training, validation, recipe, f"self_supervised/{name}", overwrite=True, verbose=0)
    return train.evaluate(model, validation, verbose=0)["top1"]


def main(folder=None):
    keras.utils.set_random_seed(0)
    learnt, random = encoders(folder)
    images, size = folder or "digits", learnt.input_shape[1:3]
    recipe = recipes.at_batch_size(recipes.pretrain(), 256)
    if not folder:
        recipe = dataclasses.replace(recipe, **SMALL)
    pairs = data.load(images, "train", image_size=size, batch_size=256, recipe=recipe, augmentation=two_views)

    widths = {} if folder else dict(dim=64, hidden=256)
    model = moco_v3.MoCoV3(learnt, steps=recipe.epochs * pairs.steps, **widths)
    model.compile(recipes.optimizer(recipe, model, pairs.steps))
    model.fit(pairs.dataset, steps_per_epoch=pairs.steps, epochs=recipe.epochs, verbose=2)

    print(f"linear probe on random features: top-1 {accuracy(random, 'random', images, size):.2%}")
    print(f"linear probe on learnt features: top-1 {accuracy(learnt, 'learnt', images, size):.2%}")
    learnt.save("self_supervised/encoder.keras")


if __name__ == "__main__":
    main(*sys.argv[1:])
