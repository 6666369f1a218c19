"""Do the experts of a Sparse-MLP share the work? With the losses that ask for it, and without.

    python examples/expert_load.py            # prints the numbers and writes expert_load.png
    python examples/expert_load.py 5          # another number of epochs

Two small models are trained from the same start on the embedded handwritten digits, in a minute or a few.
"""

import sys

import keras

import keras_mlp
from keras_mlp.analysis.experts import LoadHistory, plot_expert_load
from keras_mlp.training import data, recipes

SIZE = 16


def train(auxiliary_loss, epochs):
    recipe = recipes.digits()
    options = dict(image_size=SIZE, batch_size=recipe.batch_size, seed=0)
    training = data.load("digits", "train", recipe=recipe, **options)
    test = data.load("digits", "test", **options)
    keras.utils.set_random_seed(0)
    model = keras_mlp.SparseMLP(
        patch_size=2,
        dim=64,
        depths=(1, 1),
        input_shape=(SIZE, SIZE, 3),
        classes=len(training.classes),
        auxiliary_loss=auxiliary_loss,
    )
    model.compile(**recipes.compile_arguments(recipe, model, training.steps, training.batch_size))
    history = LoadHistory(next(iter(test.dataset))[0])
    model.fit(training.dataset, steps_per_epoch=training.steps, epochs=epochs, callbacks=[history], verbose=0)
    accuracy = model.evaluate(test.dataset, steps=test.steps, return_dict=True, verbose=0)["top1"]
    return accuracy, history.epochs


def main(epochs=20):
    runs = {}
    for title, auxiliary_loss in (("with the losses", 0.01), ("without", 0.0)):
        accuracy, runs[title] = train(auxiliary_loss, int(epochs))
        print(f"{title}: {accuracy:.1%} of the test images")
        for epoch, loads in enumerate(runs[title]):
            for name, load in loads.items():
                shares = " ".join(f"{share:4.0%}" for share in load.shares)
                print(f"  epoch {epoch:2} {name:25} {shares}  {load.used:.2f} used, {load.left_out:.0%} without room")
    plot_expert_load(runs, "expert_load.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
