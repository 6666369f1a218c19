"""Export to other formats: convert, quantise, verify and time."""

from keras_mlp.export.operators import float_operators, operators
from keras_mlp.export.runtime import Runner, Timing, time_tflite
from keras_mlp.export.tflite import PRECISIONS, Exported, ExportError, to_tflite
from keras_mlp.export.verify import LIMITS, Limit, Verification, verify

__all__ = [
    "LIMITS",
    "PRECISIONS",
    "ExportError",
    "Exported",
    "Limit",
    "Runner",
    "Timing",
    "Verification",
    "float_operators",
    "operators",
    "time_tflite",
    "to_tflite",
    "verify",
]
