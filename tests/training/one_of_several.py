"""A process that trains a small model, alone or as one of several: `test_distribution.py` starts it.

python one_of_several.py STRATEGY ADDRESSES RANK OUTPUT DATA_DIR NORM TEACHER DATASET

NORM is "batch" or "none"; TEACHER is "soft" or "hard" for one of 6×6 pixels with dropout, or "none"; DATASET is
"digits" or "moving_digits", of which a clip has two frames.
"""

import dataclasses
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import tensorflow as tf

# SGD, since Adam divides by the gradient's size, and so shows the rounding errors of the smallest as large ones.
CHANGES = dict(optimizer="sgd", learning_rate=0.05, epochs=2, gradient_clip_norm=0.5, mixup=0.2, weight_decay=1e-3)


def main(strategy, addresses, rank, output, data_dir, norm, taught, dataset):
    if strategy == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import keras

    from keras_mlp.training import distill, distribution, train
    from keras_mlp.training.data import load, videos
    from tests.training.conftest import PLAIN

    workers = distribution.connect(strategy, addresses.split(",") if addresses else (), int(rank))
    recipe = dataclasses.replace(PLAIN, **CHANGES, ema_decay=0.9)
    options, shape = dict(image_size=8, channels=1, batch_size=128, data_dir=data_dir), (8, 8, 1)
    if dataset == "moving_digits":
        options, shape, load = options | dict(frames=2), (2, 8, 8, 1), videos.load
    examples = load(dataset, "train", recipe=recipe, worker=(workers.rank, workers.size), **options)
    test = load(dataset, "test", **options)
    keras.utils.set_random_seed(0)
    with workers.scope():
        model = keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(32, activation="relu"),
                *([keras.layers.BatchNormalization(momentum=0.9)] if norm == "batch" else []),
                keras.layers.Dense(len(examples.classes), activation="softmax"),
            ]
        )
        if taught != "none":
            layers = [keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
            teacher = keras.Sequential([keras.Input((6, 6, 1)), *layers, keras.layers.Dense(10)])
            model = distill.Distiller(model, teacher, taught, share=0.5)
    history = train.fit(model, examples, test, recipe, output, verbose=0, workers=workers).history
    print(workers.rank, workers.size, workers.replicas, history["val_loss"][-1], history["top1"][-1])


if __name__ == "__main__":
    main(*sys.argv[1:])
