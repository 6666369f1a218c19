"""Search for the size of a small MLP-Mixer with KerasTuner, on the embedded handwritten digits.

    pip install keras-tuner
    python examples/tuner.py            # 6 trials of 8 epochs
    python examples/tuner.py 2 1        # 2 trials of 1 epoch, to see that it runs

The model of each trial is a plain call of a builder. Put your own builder and `load` in their places.
"""

import sys

import keras
import keras_tuner

import keras_mlp
from keras_mlp.training import data


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    model = keras_mlp.MLPMixer(
        patch_size=hp.Choice("patch_size", [2, 4]),
        dim=hp.Int("dim", 16, 64, step=16),
        depth=hp.Int("depth", 1, 3),
        input_shape=(16, 16, 3),
        classes=10,
    )
    rate = hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")
    model.compile(keras.optimizers.AdamW(rate), "categorical_crossentropy", metrics=["accuracy"])
    return model


def main(trials=6, epochs=8):
    images = dict(image_size=16, batch_size=128)
    training, validation = data.load("digits", "train", **images), data.load("digits", "evaluation", **images)
    tuner = keras_tuner.RandomSearch(
        build, "val_accuracy", max_trials=int(trials), seed=0, directory="tuned", overwrite=True
    )
    tuner.search(training.dataset, validation_data=validation.dataset, epochs=int(epochs), verbose=0)
    (best,) = tuner.oracle.get_best_trials(1)
    print(f"top-1 {100 * best.score:.1f} % with {best.hyperparameters.values}")


if __name__ == "__main__":
    main(*sys.argv[1:])
