"""Export to other formats: convert, quantise, verify and time."""

from keras_mlp.export.coreml import to_coreml
from keras_mlp.export.errors import ExportError
from keras_mlp.export.freezing import Fast, fast
from keras_mlp.export.layer_errors import LayerError
from keras_mlp.export.metadata import attach_metadata, read_metadata
from keras_mlp.export.onnx import to_onnx
from keras_mlp.export.onnx_names import read_onnx_metadata
from keras_mlp.export.openvino import to_openvino
from keras_mlp.export.operators import float_operators, operators
from keras_mlp.export.runners import OpenVINORunner, read_openvino_metadata, runner
from keras_mlp.export.runtime import OperatorTime, Runner, Timing, profile_tflite, time_tflite
from keras_mlp.export.saved_model import to_saved_model
from keras_mlp.export.tflite import Exported, quantization_errors, to_tflite
from keras_mlp.export.verify import Verification, verify
from keras_mlp.precisions import LIMITS, Limit
from keras_mlp.precisions import NAMES as PRECISIONS

__all__ = [
    "LIMITS",
    "PRECISIONS",
    "ExportError",
    "Exported",
    "Fast",
    "LayerError",
    "Limit",
    "OpenVINORunner",
    "OperatorTime",
    "Runner",
    "Timing",
    "Verification",
    "attach_metadata",
    "fast",
    "float_operators",
    "operators",
    "profile_tflite",
    "quantization_errors",
    "read_metadata",
    "read_onnx_metadata",
    "read_openvino_metadata",
    "runner",
    "time_tflite",
    "to_coreml",
    "to_onnx",
    "to_openvino",
    "to_saved_model",
    "to_tflite",
    "verify",
]
