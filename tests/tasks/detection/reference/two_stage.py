"""Whole detectors of two steps, on maps of noise or with their backbone."""

import golden
import keras
import numpy as np
from tasks.detection.reference import parts
from tasks.reference import sampled

import keras_mlp
from keras_mlp.tasks import backbones
from keras_mlp.tasks.detection import losses, mask_rcnn, masks, region_detector, regions, rpn
from keras_mlp.tasks.detection.matching import Sampler

BOX_HEADS = {"Shared2FCBBoxHead": (0, 2), "Shared4Conv1FCBBoxHead": (4, 1)}
"""Convolutions and dense layers of mmdetection's box heads that have a name."""


def several(value):
    """What a cascade has a list of."""
    return value if isinstance(value, list) else [value]


def build(case, load=True):
    """The detector of a case, loaded, and what it takes."""
    config, dtype = case.config, keras.config.dtype_policy().compute_dtype
    roi, rpn = config["roi_head"], config["rpn_head"]
    given = [golden.image(tuple(one["shape"]), one["seed"]).astype(dtype) for one in case.inputs]
    if "backbone" in config:
        trunk = config["backbone"]
        image = keras.Input(case.input_shape[1:], dtype=dtype)
        backbone = keras_mlp.ASMLP(
            dim=trunk["embed_dim"],
            depths=trunk["depths"],
            shift_size=trunk["shift_size"],
            mlp_ratio=trunk["mlp_ratio"],
            stem_norm=trunk["patch_norm"],
            include_top=False,
            include_preprocessing=False,
            input_tensor=image,
        )
        inputs, maps = [image], list(backbones.levels(backbone).values())
    else:  # maps of noise, beside an image of which only the size matters
        given = [np.zeros((len(given[0]), *case.pad_shape, 3), dtype), *given]
        inputs = [keras.Input(x.shape[1:], dtype=dtype) for x in given]
        image, *maps = inputs
    anchors, heads, cascade = (
        parts.anchors(rpn["anchor_generator"]),
        several(roi["bbox_head"]),
        "stage_loss_weights" in roi,
    )
    first, mask = heads[0], roi["mask_head"]
    convolutions, dense = BOX_HEADS.get(first["type"]) or (first["num_shared_convs"], first["num_shared_fcs"])
    test = config.get("test_cfg") or {"rpn": rpn["test_cfg"], "rcnn": roi["test_cfg"]}
    learnt = (several(roi.get("train_cfg") or {}) * len(heads))[: len(heads)]
    stages = tuple(
        regions.Stage(
            tuple(head["bbox_coder"]["target_stds"]),
            train["assigner"]["pos_iou_thr"] if train else 0.5,
            train["assigner"]["match_low_quality"] if train else True,
            head.get("reg_decoded_bbox", False),
            head["loss_bbox"]["loss_weight"],
            weight,
        )
        for head, train, weight in zip(heads, learnt, roi.get("stage_loss_weights", [1.0]), strict=True)
    )
    outputs = region_detector.detections(
        image,
        maps,
        anchors.strides[:-1],
        first["num_classes"],
        stages,
        channels=config["neck"]["out_channels"],
        box_options=dict(
            convolutions=convolutions,
            channels=first.get("conv_out_channels", 256),
            norm="batch" if first.get("norm_cfg") else None,
            dense=dense,
            width=first["fc_out_channels"],
            class_agnostic=first["reg_class_agnostic"],
        ),
        mask_options=dict(convolutions=mask["num_convs"], width=mask["conv_out_channels"]),
        box_size=first["roi_feat_size"],
        mask_size=roi["mask_roi_extractor"]["roi_layer"]["output_size"],
        finest_size=roi["bbox_roi_extractor"].get("finest_scale"),
        rpn_channels=rpn["feat_channels"],
        scales=anchors.scales,
        ratios=anchors.ratios,
        candidates=test["rpn"]["nms_pre"],
        proposals=test["rpn"]["max_per_img"],
        proposal_iou=test["rpn"]["nms"]["iou_threshold"],
        threshold=test["rcnn"]["score_thr"],
        iou=test["rcnn"]["nms"]["iou_threshold"],
        count=test["rcnn"]["max_per_img"],
    )
    kind = mask_rcnn.CascadeMaskRCNNDetector if cascade else mask_rcnn.MaskRCNNDetector
    detector = kind(inputs, outputs)
    detector.stages = stages
    detector.anchor_sampler = detector.sampler = Sampler(10**6, 1.0)  # as the cases: all are learnt from
    if load:
        keras_mlp.load_checkpoint(detector, case.state_dict())
    return detector, given


def listed(x):
    return keras.ops.convert_to_numpy(x).tolist()


def run_lengths(mask):
    """COCO's uncompressed run lengths of a mask: column by column, zeros first."""
    flat = np.concatenate([[0], np.asarray(mask).T.reshape(-1).astype(int), [2]])
    ends = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff([0, *ends]).tolist()}


def of_image(found, i, size, scale=(1.0, 1.0)):
    """The detections of one image as the cases list them, in an image of some size."""
    there = np.asarray(found["labels"][i]) >= 0
    boxes, scores, labels, inside = (np.asarray(found[key][i])[there] for key in ("boxes", "scores", "labels", "masks"))
    boxes = boxes / np.array([*scale, *scale])
    pasted = np.asarray(masks.paste(keras.ops.convert_to_tensor(inside), boxes, tuple(size)))
    fields = {"boxes": boxes.tolist(), "scores": scores.tolist(), "labels": labels.tolist()}
    return fields | {"masks": [run_lengths(mask) for mask in pasted]}


def ellipses(boxes, size):
    """Masks that fill boxes as ellipses."""
    rows, columns = (np.arange(side) + 0.5 for side in size)
    found = []
    for x1, y1, x2, y2 in boxes:
        across, down = (columns - (x1 + x2) / 2) / ((x2 - x1) / 2), (rows - (y1 + y2) / 2) / ((y2 - y1) / 2)
        found.append(across[None] ** 2 + down[:, None] ** 2 <= 1)
    return np.array(found, "uint8")


def targets(case):
    """The ground truth of a case, padded."""
    most = max(1, *(len(truth["boxes"]) for truth in case.ground_truth))
    batch = len(case.ground_truth)
    boxes, labels = np.zeros((batch, most, 4), keras.config.floatx()), np.full((batch, most), -1, "int32")
    drawn = np.zeros((batch, most, *case.pad_shape), "uint8")
    for i, truth in enumerate(case.ground_truth):
        n = len(truth["boxes"])
        if n:
            boxes[i, :n], labels[i, :n] = truth["boxes"], truth["labels"]
            drawn[i, :n] = ellipses(truth["boxes"], case.pad_shape)
    sizes = np.array([meta["img_shape"] for meta in case.metas], boxes.dtype)
    found = {"boxes": boxes, "labels": labels, "masks": drawn, "image_size": sizes}
    return {key: keras.ops.convert_to_tensor(value) for key, value in found.items()}


def loss_fields(case, detector, maps):
    """Losses by mmdetection's names."""
    given, layer = targets(case), detector.get_layer("proposals")
    *of_anchors, drawn, divisor = rpn.losses_at_anchors(maps["rpn"], layer, given, detector.anchor_sampler)
    ends = np.cumsum([len(anchors) for anchors in layer.flat(maps["rpn"])[2]])
    level, fields = np.searchsorted(ends, drawn, side="right"), {}
    for name, x in zip(("cls", "bbox"), of_anchors, strict=True):
        fields[f"rpn_loss_rpn_{name}"] = [float(losses.averaged(x * (level == i), divisor)) for i in range(len(ends))]
    for i, (samples, logits, _) in enumerate(detector.box_outputs(maps, given, training=False)):
        logits, drawn = np.asarray(regions.of_image(logits, samples.boxes)), np.asarray(samples.valid)
        right = logits.argmax(-1) == np.asarray(samples.classes(logits.shape[-1] - 1))
        fields["acc" if len(detector.stages) == 1 else f"s{i}.acc"] = 100 * right[drawn].mean()
    found = detector.losses_of(maps, given, training=False)
    return fields | {name.replace("_loss", ".loss"): float(x) for name, x in found.items() if "rpn" not in name}


def stage_fields(case, detector, given, image_size):
    """What box heads say of the first proposals, whose places in the batch the case tells."""
    key = "stages" if "stages" in vars(case) else "box_head"
    stored = several(getattr(case, key))
    where = np.array(stored[0]["rois"])[:, 0].astype(int)
    place = [int((where[:i] == image).sum()) for i, image in enumerate(where)]
    fields = []
    for i in range(len(stored)):
        boxes = detector.get_layer(f"boxes_{i}_inside").input[0]
        said = [detector.get_layer(f"head_{i}_{name}").output for name in ("classes", "boxes")]
        boxes, *said = of_sizes(detector, [boxes, *said], given, image_size)
        rois, logits, deltas = (
            np.asarray(x)[where, place] for x in (boxes, *(regions.of_image(x, boxes) for x in said))
        )
        rois = np.concatenate([where[:, None], rois], axis=1)
        fields.append({"rois": rois.tolist(), "cls_score": logits.tolist(), "bbox_pred": deltas.tolist()})
    return {key: fields if key == "stages" else fields[0]}


def of_sizes(detector, tensors, given, image_size):
    """Tensors of a detector's graph, for images of some sizes inside their padding."""
    model = keras.Model([*detector.inputs, detector.get_layer("image_size").output], tensors)
    return model(list(map(keras.ops.convert_to_tensor, [*given, image_size])), training=False)


def of_two_stage(case):
    detector, given = build(case)
    maps = detector.network(given, training=False)
    image_size = keras.ops.convert_to_tensor([meta["img_shape"] for meta in case.metas])
    levels = len(maps["rpn"]) // 2
    named = {f"rpn_cls_P{i + 2}": x for i, x in enumerate(maps["rpn"][:levels])}
    named |= {f"rpn_reg_P{i + 2}": x for i, x in enumerate(maps["rpn"][levels:])}
    if "backbone" in case.config:
        norms = [layer for layer in detector.layers if layer.name.startswith("level_")]
        norms = [layer.output for layer in sorted(norms, key=lambda layer: layer.name)]
        named |= {f"backbone_P{i + 2}": x for i, x in enumerate(keras.Model(detector.inputs, norms)(given))}
    fields = {"logits": sampled(case, [named[output["name"]] for output in case.outputs])}
    boxes, scores = of_sizes(detector, detector.get_layer("proposals").output, given, image_size)
    fields["proposals"] = [
        {"boxes": np.asarray(box)[kept].tolist(), "scores": np.asarray(score)[kept].tolist()}
        for box, score, kept in zip(boxes, scores, np.asarray(scores) > 0, strict=True)
    ]
    found = detector.detect(given, image_size)
    fields["detections"] = [of_image(found, i, meta["img_shape"]) for i, meta in enumerate(case.metas)]
    fields["rescaled"] = [
        of_image(found, i, meta["ori_shape"], meta["scale_factor"]) for i, meta in enumerate(case.metas)
    ]
    if "mask_logits" in vars(case):
        layer = detector.get_layer("masks")
        labels, *logits = of_sizes(detector, layer.input, given, image_size)
        logits = [np.asarray(layer.logits(labels, x)) for x in logits]
        chosen = [[x[i, j].reshape(-1).tolist() for i, j in case.mask_logits["of"]] for x in logits]
        values = chosen if len(chosen) > 1 else chosen[0]
        fields["mask_logits"] = {"of": case.mask_logits["of"], "values": values}
    if "box_head" in vars(case) or "stages" in vars(case):
        fields |= stage_fields(case, detector, given, image_size)
    if "losses" in vars(case):
        fields["losses"] = loss_fields(case, detector, maps)
    return {key: value for key, value in fields.items() if key in vars(case)}


HEADS = {"StandardRoIHead": of_two_stage, "CascadeRoIHead": of_two_stage}
"""By the type of a detector's `roi_head`."""
