"""COCO's numbers, computed by ours."""

from keras_mlp import tasks
from keras_mlp.tasks.detection.scores import SCORES


def of_metrics(case):
    scores = tasks.coco_scores(case.ground_truth, case.detections)
    return {"names": list(SCORES), "values": [scores[name] for name in SCORES]}


KINDS = {"metrics": of_metrics}
