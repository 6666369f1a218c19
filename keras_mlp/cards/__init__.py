"""What is published about a model, as data: scores, weights, preprocessing, training recipe, the model's card.

Everything here is a frozen dataclass of plain values (nothing imports Keras), so that a family file can state
its facts in a few lines and every other part of the package (zoo, checkpoints, training, README) reads the same ones.
"""

from keras_mlp.cards import scores, segmenters, videos
from keras_mlp.cards.card import INPUTS, ModelCard, kind_of_input, operations
from keras_mlp.cards.detectors import DETECTORS, DetectionRecipe, Detector
from keras_mlp.cards.file import FILE, from_file, to_json
from keras_mlp.cards.papers import Paper
from keras_mlp.cards.preprocessing import Preprocessing, VideoPreprocessing
from keras_mlp.cards.recipes import PRECISIONS, Recipe
from keras_mlp.cards.scores import Score, imagenet
from keras_mlp.cards.search import find, named, natural_order, nearest
from keras_mlp.cards.segmenters import SEGMENTERS, SegmentationRecipe, Segmenter
from keras_mlp.cards.videos import VIDEO_TRAININGS, VideoTraining, video_recipe
from keras_mlp.cards.weights import Weights, timm_hub

__all__ = [
    "DETECTORS",
    "DetectionRecipe",
    "Detector",
    "FILE",
    "INPUTS",
    "ModelCard",
    "PRECISIONS",
    "Paper",
    "Preprocessing",
    "Recipe",
    "SEGMENTERS",
    "Score",
    "SegmentationRecipe",
    "Segmenter",
    "VIDEO_TRAININGS",
    "VideoPreprocessing",
    "VideoTraining",
    "Weights",
    "find",
    "from_file",
    "imagenet",
    "kind_of_input",
    "named",
    "natural_order",
    "nearest",
    "operations",
    "scores",
    "segmenters",
    "timm_hub",
    "video_recipe",
    "videos",
    "to_json",
]
