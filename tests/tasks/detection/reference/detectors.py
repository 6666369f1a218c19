"""Whole detectors: maps, detections in the input's and in the original image's pixels, losses."""

import itertools

import golden
import keras
import numpy as np
from tasks.detection.reference import parts, two_stage
from tasks.reference import sampled

import keras_mlp
from keras_mlp.tasks.detection import losses, retina_net
from keras_mlp.tasks.detection.dense import DenseDetections
from keras_mlp.tasks.detection.detector import DETECTIONS


def retina(case):
    """The case's detector, which takes the image, of which only the size matters, and the maps of the backbone."""
    config, dtype = case.config["bbox_head"], keras.config.dtype_policy().compute_dtype
    image = keras.Input((*case.pad_shape, 3), dtype=dtype)
    maps = [keras.Input(given["shape"][1:], dtype=dtype) for given in case.inputs]
    anchors, test = parts.anchors(config["anchor_generator"]), config["test_cfg"]
    x = parts.neck(case.config["neck"], maps)
    x = retina_net.retina_head(x, config["num_classes"], config["feat_channels"], config["stacked_convs"], anchors.each)
    last = DenseDetections(
        anchors.strides,
        anchors.scales,
        anchors.ratios,
        test["nms_pre"],
        test["score_thr"],
        test["nms"]["iou_threshold"],
        test["max_per_img"],
        name=DETECTIONS,
    )
    model = retina_net.RetinaNetDetector([image, *maps], last([image, *x]))
    keras_mlp.load_checkpoint(model, case.state_dict())
    return model


def inputs(case):
    dtype = keras.config.dtype_policy().compute_dtype
    maps = [golden.image(tuple(given["shape"]), given["seed"]).astype(dtype) for given in case.inputs]
    return [np.zeros((len(maps[0]), *case.pad_shape, 3), dtype), *maps]


def targets(truths):
    """Boxes and labels of images, padded to as many as the image with most has, and to one at least."""
    most = max(1, *(len(truth["labels"]) for truth in truths))
    boxes = np.zeros((len(truths), most, 4), keras.config.floatx())
    labels = np.full((len(truths), most), -1, "int32")
    for i, truth in enumerate(truths):
        n = len(truth["labels"])
        boxes[i, :n], labels[i, :n] = np.reshape(truth["boxes"], (n, 4)), truth["labels"]
    return {"boxes": keras.ops.convert_to_tensor(boxes), "labels": keras.ops.convert_to_tensor(labels)}


def listed(found):
    """The detections of each image as lists, without what fills up."""
    found = {name: keras.ops.convert_to_numpy(values) for name, values in found.items()}
    there = found["labels"] >= 0
    return [{name: values[i][there[i]].tolist() for name, values in found.items()} for i in range(len(there))]


def rescaled(case, detections):
    """Detections in the pixels of the images as they were before they were resized."""
    factors = [np.tile(meta["scale_factor"], 2) for meta in case.metas]
    return [
        found | {"boxes": (np.reshape(found["boxes"], (-1, 4)) / factor).tolist()}
        for found, factor in zip(detections, factors, strict=True)
    ]


def of_retina(case):
    model, given = retina(case), inputs(case)
    maps = model.network(given, training=False)
    sizes = np.array([meta["img_shape"] for meta in case.metas])
    last = model.get_layer(DETECTIONS)
    detections = listed(last([given[0], *maps], image_size=sizes))
    levels = len(last.strides)
    pairs = [x for pair in zip(maps[:levels], maps[levels:], strict=True) for x in pair]
    fields = {"logits": sampled(case, pairs), "detections": detections, "rescaled": rescaled(case, detections)}
    empty = [case.ground_truth[0], {"boxes": [], "labels": []}]
    for field, truth in (("losses", case.ground_truth), ("losses_second_image_empty", empty)):
        if field in vars(case):
            fields[field] = by_level(model, maps, targets(truth))
    return fields


def by_level(model, maps, truth):
    """The losses level by level, as mmdetection gives them."""
    *elements, divisor = model.losses_at_anchors(maps, truth)
    anchors = model.get_layer(DETECTIONS).flat(maps)[2]
    ends = np.cumsum([0, *(len(level) for level in anchors)])
    return {
        name: [float(losses.averaged(x[:, a:b], divisor)) for a, b in itertools.pairwise(ends)]
        for name, x in zip(model.terms, elements, strict=True)
    }


HEADS = {"RetinaHead": of_retina} | two_stage.HEADS
"""By the type of the head that tells classes."""


def of_detector(case):
    return HEADS[(case.config.get("bbox_head") or case.config["roi_head"])["type"]](case)


KINDS = {"detector": of_detector}
