"""Anchors, the coder of boxes, the assigner, suppression and necks, each alone."""

import golden
import keras
import numpy as np
from tasks.reference import sampled

import keras_mlp
from keras_mlp.tasks import necks
from keras_mlp.tasks.detection import boxes, nms
from keras_mlp.tasks.detection.anchors import Anchors, octaves
from keras_mlp.tasks.detection.coder import BoxCoder
from keras_mlp.tasks.detection.matching import IGNORED, NEGATIVE, Matcher


def array(values, dtype=None):
    return keras.ops.convert_to_tensor(np.asarray(values, dtype or keras.config.floatx()))


def listed(x):
    return keras.ops.convert_to_numpy(x).tolist()


def anchors(config):
    """mmdetection's `AnchorGenerator`."""
    scales = config.get("scales") or octaves(config["octave_base_scale"], config["scales_per_octave"])
    return Anchors(tuple(config["strides"]), tuple(scales), tuple(config["ratios"]))


def of_anchors(case):
    fields = []
    for given in case.cases:
        ours, sizes = anchors(given["config"]), given["sizes"]
        base = [ours.base(level).tolist() for level in range(len(sizes))]
        grids = [listed(ours.on(level, size)) for level, size in enumerate(sizes)]
        fields.append(given | {"base_anchors": base, "anchors": grids})
    return {"cases": fields}


def of_coder(case):
    start, end, deltas, per_class = (
        array(getattr(case, name)) for name in ("boxes", "targets", "deltas", "deltas_per_class")
    )
    clipped, fields = np.array([[96, 80]]), []
    for given in case.cases:
        coder = BoxCoder(tuple(given["target_stds"]))
        decoded = coder.decode(start, deltas)
        each = keras.ops.reshape(per_class, (1, len(per_class), -1, 4))
        each = boxes.clip(coder.decode(start[None, : len(per_class), None], each), clipped)
        of_case = {
            "encoded": listed(coder.encode(start, end)),
            "decoded": listed(decoded),
            "decoded_clipped_to_96_by_80": listed(boxes.clip(decoded[None], clipped)[0]),
            "decoded_per_class": listed(keras.ops.reshape(each, (len(per_class), -1))),
        }
        fields.append(given | {key: value for key, value in of_case.items() if key in given})
    return {"cases": fields}


def of_nms(case):
    fields = []
    for given in case.cases:
        where, scores, labels = (array(given[key])[None] for key in ("boxes", "scores", "labels"))
        keep = {
            key: listed(nms.suppress(where, scores, given["max_detections"], given["iou_threshold"], groups)[0])
            for key, groups in (("keep", labels), ("keep_ignoring_labels", None))
        }
        fields.append(given | {key: [index for index in kept if index >= 0] for key, kept in keep.items()})
    return {"cases": fields}


def of_assigner(case):
    ours = anchors(case.anchors)
    grid = keras.ops.concatenate(
        [ours.on(level, size, keras.config.floatx()) for level, size in enumerate(case.anchors["sizes"])]
    )
    truth = array(case.boxes)[None]
    best = keras.ops.max(boxes.iou(truth[0][:, None], grid), axis=0)
    some, none = np.zeros((1, len(case.boxes)), "int32"), np.full((1, len(case.boxes)), -1, "int32")
    fields = []
    for given in case.cases:
        config = given["config"]
        lowest = config["min_pos_iou"] if config.get("match_low_quality", True) else None
        matcher = Matcher(config["pos_iou_thr"], config["neg_iou_thr"], lowest)
        found, without = (np.array(listed(matcher(grid, truth, labels)[0])) for labels in (some, none))
        fields.append(
            given
            | {
                "positives": [[int(i), int(found[i])] for i in np.flatnonzero(found >= 0)],
                "ignored": np.flatnonzero(found == IGNORED).tolist(),
                "negatives": int((found == NEGATIVE).sum()),
                "without_boxes_all_negative": bool((without == NEGATIVE).all()),
                "max_overlaps_every_37th": listed(best)[::37],
            }
        )
    return {"cases": fields}


def neck(config, maps):
    """mmdetection's `FPN` on maps or tensors, finest first."""
    extra = config.get("add_extra_convs") or "pool"
    maps = maps[config.get("start_level", 0) :]
    return necks.feature_pyramid_network(maps, config["out_channels"], config["num_outs"], extra)


def of_neck(case):
    maps = [golden.image(tuple(given["shape"]), given["seed"]) for given in case.inputs]
    inputs = [keras.Input(x.shape[1:], dtype=keras.config.dtype_policy().compute_dtype) for x in maps]
    model = keras.Model(inputs, neck(case.config, inputs))
    keras_mlp.load_checkpoint(model, {f"neck.{key}": value for key, value in case.state_dict().items()})
    return {"logits": sampled(case, model(maps))}


KINDS = {
    "anchors": of_anchors,
    "box_coder": of_coder,
    "nms": of_nms,
    "assigner": of_assigner,
    "neck": of_neck,
}
