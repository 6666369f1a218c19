"""RoIAlign alone."""

import golden
import keras
import numpy as np

from keras_mlp.tasks.detection.roi_align import level_of, roi_align


def of_roi_align(case):
    (given,), dtype = case.inputs, keras.config.floatx()
    x = keras.ops.convert_to_tensor(golden.image(tuple(given["shape"]), given["seed"]), dtype)
    rois = np.asarray(case.rois)
    boxes = keras.ops.convert_to_tensor(np.broadcast_to(rois[:, 1:], (len(x), len(rois), 4)), dtype)
    fields = []
    for setting in case.cases:
        size, points, aligned = (setting[key] for key in ("output_size", "sampling_ratio", "aligned"))
        found = roi_align([x], boxes, size, [1 / case.spatial_scale], points, aligned)
        found = keras.ops.convert_to_numpy(found)[rois[:, 0].astype(int), np.arange(len(rois))]
        fields.append(setting | {"output": found.reshape(len(rois), -1).tolist()})
    levels = level_of(keras.ops.convert_to_tensor(case.levels["boxes"], dtype), 4, case.levels["finest_scale"])
    return {"cases": fields, "levels": case.levels | {"level": np.asarray(levels).astype(int).tolist()}}


KINDS = {"roi_align": of_roi_align}
