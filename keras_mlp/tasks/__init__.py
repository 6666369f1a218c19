"""Dense prediction on the backbones of the zoo: semantic segmentation and detection."""

from keras_mlp.cards import DetectionRecipe, SegmentationRecipe
from keras_mlp.tasks.backbones import simple_pyramid
from keras_mlp.tasks.detection.detector import Detector
from keras_mlp.tasks.detection.evaluation import coco_results, write_results
from keras_mlp.tasks.detection.exported import ExportedDetector
from keras_mlp.tasks.detection.inference import detect
from keras_mlp.tasks.detection.mask_rcnn import CascadeMaskRCNN, MaskRCNN
from keras_mlp.tasks.detection.objective import Detection
from keras_mlp.tasks.detection.retina_net import RetinaNet
from keras_mlp.tasks.detection.scores import coco_scores
from keras_mlp.tasks.entry import draw, evaluate, load
from keras_mlp.tasks.segmentation.exported import ExportedSegmenter
from keras_mlp.tasks.segmentation.inference import segment
from keras_mlp.tasks.segmentation.losses import PixelCrossEntropy
from keras_mlp.tasks.segmentation.metrics import segmentation_scores
from keras_mlp.tasks.segmentation.objective import Segmentation
from keras_mlp.tasks.segmentation.recipes import compile_arguments
from keras_mlp.tasks.segmentation.semantic_fpn import SemanticFPN
from keras_mlp.tasks.segmentation.setr import SETRMLA, SETRPUP, SETRNaive
from keras_mlp.tasks.segmentation.upernet import UPerNet

__all__ = [
    "CascadeMaskRCNN",
    "Detection",
    "DetectionRecipe",
    "Detector",
    "ExportedDetector",
    "ExportedSegmenter",
    "MaskRCNN",
    "PixelCrossEntropy",
    "RetinaNet",
    "SETRMLA",
    "SETRNaive",
    "SETRPUP",
    "Segmentation",
    "SegmentationRecipe",
    "SemanticFPN",
    "UPerNet",
    "coco_results",
    "coco_scores",
    "detect",
    "compile_arguments",
    "draw",
    "evaluate",
    "load",
    "segment",
    "segmentation_scores",
    "simple_pyramid",
    "write_results",
]
