"""Train on several machines together: the same command on each, with its own rank. Here is how one machine plays two.

    python examples/several_machines.py localhost:2222,localhost:2223 0 &
    python examples/several_machines.py localhost:2222,localhost:2223 1

Both end with the same weights, those of one process with the same batch; the first one writes them to trained/.
"""

import os
import sys

import keras

import keras_mlp
from keras_mlp.training import data, distribution, recipes, train


def main(addresses, rank, output="trained"):
    strategy = "data_parallel" if os.environ.get("KERAS_BACKEND") == "jax" else "multi_worker"
    workers = distribution.connect(strategy, addresses.split(","), int(rank))  # before anything is computed

    recipe = recipes.digits()
    images = dict(image_size=16, batch_size=128)  # the batch of all together
    with workers.chief_first():  # who prepares the data for the others
        training = data.load("digits", "train", recipe=recipe, worker=(workers.rank, workers.size), **images)
        validation = data.load("digits", "test", **images)

    keras.utils.set_random_seed(0)  # the same weights to begin with
    with workers.scope():
        model = keras_mlp.MLPMixer(patch_size=2, dim=64, depth=3, input_shape=(16, 16, 3), classes=10)
    train.fit(model, training, validation, recipe, output, workers=workers)


if __name__ == "__main__":
    main(*sys.argv[1:])
