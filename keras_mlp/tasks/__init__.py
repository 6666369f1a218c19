"""Dense prediction on the backbones of the zoo: semantic segmentation."""

from keras_mlp.tasks.data import load
from keras_mlp.tasks.evaluation import draw, evaluate
from keras_mlp.tasks.inference import segment
from keras_mlp.tasks.losses import PixelCrossEntropy
from keras_mlp.tasks.metrics import segmentation_scores
from keras_mlp.tasks.objective import Segmentation
from keras_mlp.tasks.recipes import SegmentationRecipe
from keras_mlp.tasks.semantic_fpn import SemanticFPN
from keras_mlp.tasks.setr import SETRMLA, SETRPUP, SETRNaive
from keras_mlp.tasks.upernet import UPerNet

__all__ = [
    "PixelCrossEntropy",
    "SETRMLA",
    "SETRNaive",
    "SETRPUP",
    "Segmentation",
    "SegmentationRecipe",
    "SemanticFPN",
    "UPerNet",
    "draw",
    "evaluate",
    "load",
    "segment",
    "segmentation_scores",
]
