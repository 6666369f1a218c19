"""What the output of a classifier means: which classes exclude each other, and what was done to the logits.

Whatever reads the output of a classifier asks here: prediction, evaluation, losses, metrics, distillation, export. A
segmenter is a classifier of pixels, and a detector one of boxes.
"""

from keras_mlp.classifiers.boxes import BoxOutput
from keras_mlp.classifiers.evidence import recognised, saved_loss
from keras_mlp.classifiers.kinds import ACTIVATIONS, BINARY, DETECTION, EXCLUSIVE, KINDS, MULTI_LABEL, SEGMENTATION
from keras_mlp.classifiers.output import Output
from keras_mlp.classifiers.pixels import VOID, PixelOutput

__all__ = [
    "ACTIVATIONS",
    "BINARY",
    "DETECTION",
    "EXCLUSIVE",
    "KINDS",
    "MULTI_LABEL",
    "SEGMENTATION",
    "VOID",
    "BoxOutput",
    "Output",
    "PixelOutput",
    "recognised",
    "saved_loss",
]
