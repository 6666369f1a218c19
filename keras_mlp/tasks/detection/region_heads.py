"""Heads on the inside of boxes: box heads predict a class and a refined box, mask heads a mask."""

import keras
from keras import layers

from keras_mlp.heads import precise
from keras_mlp.layers import Activation, batch_norm


def box_head(
    x,
    classes: int,
    *,
    convolutions: int = 0,
    channels: int = 256,
    norm: str | None = "batch",
    dense: int = 2,
    width: int = 1024,
    class_agnostic: bool = False,
    stage: int = 0,
):
    """From the inside of boxes to their classes and to refined boxes.

    Args:
        x: `(n, size, size, …)`, what RoIAlign gives.
        classes: number of classes.
        convolutions: number of 3 x 3 convolutions with ReLU, at first.
        channels: their width.
        norm: after each of them, "batch", which takes the place of their bias, or `None`.
        dense: number of dense layers with ReLU after them, at least one.
        width: of those.
        class_agnostic: whether one refined box is predicted for each box, instead of one for each class.
        stage: number of the head in a cascade, part of its layers' names.

    Returns:
        Logits `(n, classes + 1)`, the ground last, and deltas to refined boxes `(n, classes * 4)` or `(n, 4)`, both at
        least in float32.

    Raises:
        ValueError: there is no dense layer or no such norm.

    Source: `Shared2FCBBoxHead` (no convolutions, two dense layers) and `Shared4Conv1FCBBoxHead` of mmdetection.
    """
    if dense < 1 or norm not in (None, "batch"):
        raise ValueError(
            "A box head needs at least one dense layer, and `norm` must be None or 'batch'. Received: "
            f"dense={dense}, norm={norm!r}"
        )
    conv = dict(data_format="channels_last", padding="same", kernel_initializer="he_normal", use_bias=norm is None)
    for i in range(convolutions):
        name = f"boxes_{stage}_conv_{i}"
        x = layers.Conv2D(channels, 3, **conv, name=name)(x)
        x = batch_norm(f"{name}_norm")(x) if norm else x
        x = Activation("relu", name=f"{name}_act")(x)
    for i in range(dense):
        name = f"boxes_{stage}_dense_{i}"
        if i:
            x = layers.Dense(width, name=name)(x)
        else:  # its kernel keeps rows, columns and channels apart, which are published in another order
            x = layers.EinsumDense("nhwc,hwcd->nd", width, bias_axes="d", name=name)(x)
        x = Activation("relu", name=f"{name}_act")(x)

    def linear(units, deviation, name):
        start = keras.initializers.RandomNormal(stddev=deviation)
        return layers.Dense(units, kernel_initializer=start, dtype=precise(), name=name)(x)

    boxes = 4 * (1 if class_agnostic else classes)
    return linear(classes + 1, 0.01, f"head_{stage}_classes"), linear(boxes, 0.001, f"head_{stage}_boxes")


def mask_head(x, classes: int, *, convolutions: int = 4, width: int = 256, stage: int = 0):
    """From the inside of boxes to a mask for each class.

    Args:
        x: `(n, size, size, …)`, what RoIAlign gives.
        classes: number of classes.
        convolutions: number of 3 x 3 convolutions with ReLU.
        width: of all layers but the last.
        stage: number of the head in a cascade, part of its layers' names.

    Returns:
        Logits `(n, 2 size, 2 size, classes)`, at least in float32.

    Source: `FCNMaskHead` of mmdetection.
    """
    conv = dict(data_format="channels_last", kernel_initializer="he_normal")
    for i in range(convolutions):
        x = layers.Conv2D(width, 3, padding="same", **conv, name=f"masks_{stage}_conv_{i}")(x)
        x = Activation("relu", name=f"masks_{stage}_conv_{i}_act")(x)
    x = layers.Conv2DTranspose(width, 2, 2, **conv, name=f"masks_{stage}_up")(x)
    x = Activation("relu", name=f"masks_{stage}_up_act")(x)
    return layers.Conv2D(classes, 1, **conv, dtype=precise(), name=f"head_{stage}_masks")(x)


def rows(stage: int, of_stage: str = "") -> list[tuple[str, str]]:
    """mmdetection's names of the tensors of a box head and a mask head, as rows of a checkpoint's layout.

    Args:
        stage: number of the heads here.
        of_stage: what stands between the name of the head and its tensors there, such as ".0".
    """
    boxes, masks = f"roi_head.bbox_head{of_stage}", f"roi_head.mask_head{of_stage}"
    return [
        (f"{boxes}.shared_convs.{{}}.conv", f"boxes_{stage}_conv_{{}}"),
        (f"{boxes}.shared_convs.{{}}.bn", f"boxes_{stage}_conv_{{}}_norm"),
        (f"{boxes}.shared_fcs.{{}}", f"boxes_{stage}_dense_{{}}"),
        (f"{boxes}.fc_cls", f"head_{stage}_classes"),
        (f"{boxes}.fc_reg", f"head_{stage}_boxes"),
        (f"{masks}.convs.{{}}.conv", f"masks_{stage}_conv_{{}}"),
        (f"{masks}.upsample", f"masks_{stage}_up"),
        (f"{masks}.conv_logits", f"head_{stage}_masks"),
    ]
