"""What features are good for: classifiers on an encoder, frozen or not."""

import keras

from keras_mlp.copying import copied
from keras_mlp.training.moco_v3 import pooled_features


@keras.saving.register_keras_serializable(package="keras_mlp")
class Frozen(keras.layers.Wrapper):
    """A layer or model that is not trained and always in inference mode, even while what is around it trains.

    Args:
        layer: which.
    """

    def __init__(self, layer, **options):
        super().__init__(layer, **options)
        self.layer.trainable = False

    def call(self, inputs):
        return self.layer(inputs, training=False)


def classifier(encoder, classes: int, *, train_encoder: bool = True, activation: str | None = "softmax"):
    """Return a classifier that begins with an encoder's features: a linear layer on their average over the image.

    It is a model as any other, for `keras_mlp.training.train.fit` with `recipes.finetune()` or, where the encoder is
    not trained, `recipes.linear_probe()`.

    Args:
        encoder: a functional or sequential model, images to features or maps, as `MoCoV3` takes it. It is copied, so
            that training leaves it as it is.
        classes: how many.
        train_encoder: whether the encoder is trained, too; else it is in inference mode, and what is trained is a
            linear probe.
        activation: "softmax"; "sigmoid" for multi-label data, or for two classes with `classes=1`; or `None`.

    Returns:
        A model whose last layer is named "head"; its kernel begins with a standard deviation of 0.01.

    Raises:
        ValueError: `classes` is not positive, the encoder gives no features, or one unit has a softmax.
    """
    if classes < 1:
        raise ValueError(f"`classes` should be positive. Received: {classes}")
    if classes == 1 and activation == "softmax":
        raise ValueError('A softmax over one unit is always 1: take `activation="sigmoid"`, or classes=2.')
    features = pooled_features(encoder)
    copy = copied(keras.Model(encoder.inputs[0], features, name=encoder.name))
    images = copy.inputs[0] if train_encoder else keras.Input(encoder.input_shape[1:])
    features = copy.outputs[0] if train_encoder else Frozen(copy, name="encoder")(images)
    initializer = keras.initializers.RandomNormal(stddev=0.01)
    head = keras.layers.Dense(classes, activation, kernel_initializer=initializer, dtype="float32", name="head")
    return keras.Model(images, head(features), name=f"{encoder.name}_classifier")
