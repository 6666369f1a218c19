"""Other ends for the files of detectors that look at anchors: raw maps, or the operator that task libraries expect."""

import keras
import numpy as np

DECODINGS = ("inside", "maps", "post_process")
"""Where boxes are decoded and suppressed: in the file, by whoever calls it, or by LiteRT's own operator."""
POST_PROCESS = "TFLite_Detection_PostProcess"


def dense_layer(model):
    """The layer of a model that makes detections of what it gives at every anchor; `None` where there is none."""
    output = model.output if isinstance(getattr(model, "output", None), dict) else {}
    labels = output.get("labels")
    layer = labels._keras_history.operation if keras.backend.is_keras_tensor(labels) else None
    return layer if hasattr(layer, "flat") else None


def check_decoding(model, decoding: str):
    """Raise a `ValueError` if a file of a model cannot end in that way."""
    if decoding not in DECODINGS:
        raise ValueError(f"`decoding` must be one of {', '.join(DECODINGS)}. Received: decoding={decoding!r}")
    if decoding != "inside" and dense_layer(model) is None:
        raise ValueError(
            f"`decoding={decoding!r}` goes with a detector that looks at anchors alone, such as "
            f"keras_mlp.tasks.RetinaNet. Received: {model.name}"
        )


def with_maps(model: keras.Model) -> keras.Model:
    """A detector that gives what its network does at every anchor: "logits" `(batch, n, classes)` and "deltas"
    `(batch, n, 4)` from the anchors to boxes, level by level, row by row."""
    layer = dense_layer(model)
    maps = _Maps(len(layer.input) // 2, layer.anchors.each, layer.classes, name="maps", dtype="float32")
    return keras.Model(model.inputs, maps(layer.input[1:]), name=model.name)


def anchors_of(layer) -> np.ndarray:
    """The anchors of a layer whose maps have a known size, `(n, 4)` in pixels, in the order of `with_maps`."""
    maps = layer.input[1 + len(layer.strides) :]
    found = [layer.anchors.on(level, x.shape[1:3], "float32") for level, x in enumerate(maps)]
    return np.concatenate([keras.ops.convert_to_numpy(anchors) for anchors in found])


def with_post_process(network: keras.Model) -> keras.Model:
    """A detector that ends in LiteRT's operator for single-shot detectors, as mobile task libraries expect it.

    The operator looks at all anchors of the scores, where the layer takes the best of each level. It neither limits how
    much a box grows nor cuts boxes off where the image ends. Its NMS is class by class.

    Args:
        network: of a known size, batch 1.

    Returns:
        A model of the outputs "boxes" `(1, k, 4)`, top, left, bottom and right in shares of the image's sides,
        "classes" and "scores" `(1, k)`, and "valid" `(1,)`, how many there are. Called in Keras, it gives zeros.
    """
    layer, maps = dense_layer(network), with_maps(network)
    left, top, right, bottom = (anchors_of(layer) / np.tile(network.inputs[0].shape[2:0:-1], 2)).T
    anchors = np.stack([(top + bottom) / 2, (left + right) / 2, bottom - top, right - left], axis=-1)
    settings = dict(classes=layer.classes, count=layer.count, threshold=layer.threshold, iou=layer.iou)
    end = _PostProcess(anchors, **settings, name="post_process", dtype="float32")
    return keras.Model(network.inputs, end([maps.output["logits"], maps.output["deltas"]]), name=network.name)


def as_detections(found: dict, size) -> dict:
    """What `with_post_process`'s operator gives, as a detector gives it.

    Args:
        found: arrays by name.
        size: height and width of the network's input.
    """
    height, width = size
    there = np.arange(found["scores"].shape[1]) < found["valid"][:, None]
    boxes = found["boxes"][..., [1, 0, 3, 2]] * np.array([width, height, width, height], "float32")
    return {
        "boxes": np.where(there[..., None], np.clip(boxes, 0, [width, height, width, height]), 0).astype("float32"),
        "labels": np.where(there, np.rint(found["classes"]), -1).astype("int32"),
        "scores": np.where(there, found["scores"], 0),
    }


def has_custom_operator(network) -> bool:
    """Whether a model ends in LiteRT's own operator, as `with_post_process` makes it."""
    return any(isinstance(layer, _PostProcess) for layer in network.layers)


class _Maps(keras.layers.Layer):
    def __init__(self, levels, anchors, classes, **kwargs):
        super().__init__(**kwargs)
        self.levels, self.anchors, self.classes = levels, anchors, classes

    def call(self, maps):
        import tensorflow as tf

        def rows(maps, last):
            return tf.concat([tf.reshape(x, (-1, np.prod(x.shape[1:]) // last, last)) for x in maps], axis=1)

        return {"logits": rows(maps[: self.levels], self.classes), "deltas": rows(maps[self.levels :], 4)}


class _PostProcess(keras.layers.Layer):
    exact = True

    def __init__(self, anchors, classes, count, threshold, iou, **kwargs):
        super().__init__(**kwargs)
        self.anchors, self.count = anchors.astype("float32"), count
        whole = dict(max_detections=count, max_classes_per_detection=1, detections_per_class=count, num_classes=classes)
        real = dict(nms_score_threshold=threshold, nms_iou_threshold=iou)
        real |= dict.fromkeys(("y_scale", "x_scale", "h_scale", "w_scale"), 1.0)
        self.signature = " ".join(
            [
                f'name: "{POST_PROCESS}"',
                *(f'attr {{ key: "{key}" value {{ i: {value} }} }}' for key, value in whole.items()),
                *(f'attr {{ key: "{key}" value {{ f: {value:.9g} }} }}' for key, value in real.items()),
                'attr { key: "use_regular_nms" value { b: true } }',
            ]
        )

    def call(self, inputs):
        import tensorflow as tf

        @tf.function(experimental_implements=self.signature)
        def post_process(deltas, scores, anchors):
            # The converter puts the operator in the place of all this.
            k = self.count
            return tf.zeros((1, k, 4)), tf.zeros((1, k)), tf.zeros((1, k)), tf.zeros((1,))

        logits, deltas = inputs
        deltas = tf.gather(deltas, [1, 0, 3, 2], axis=-1)  # y before x
        found = post_process(deltas, tf.sigmoid(logits), tf.constant(self.anchors))
        return dict(zip(("boxes", "classes", "scores", "valid"), found, strict=True))
