"""The card of a model: all that is known of it, as data."""

import dataclasses

from keras_mlp.cards.papers import Paper
from keras_mlp.cards.preprocessing import Preprocessing
from keras_mlp.cards.recipes import Recipe
from keras_mlp.cards.weights import Weights

INPUTS = ("image", "video")


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What is known of one model of the zoo.

    Args:
        name: its name for `create_model`, e.g. "mlp_mixer_b16".
        builder: name of the public function that builds it, e.g. "MLPMixerB16".
        family: name of its family, e.g. "mlp_mixer".
        title: the paper's name for it, e.g. "MLP-Mixer B/16".
        paper: where it was published.
        parameters: trainable parameters, with the default number of classes.
        macs: multiply-adds of one image or video in matrix products and convolutions.
        binary_macs: those of them that are products of binary weights with activations of two or three levels.
        input_shape: default input, `(height, width, channels)`; videos have frames in front.
        top1: `{training: percent}`, every ImageNet-1k top-1 that was published for the architecture, or of video models
            the top-1 of every data set, whether its weights were or not.
        config: the arguments of the family's generic builder that make it.
        weights: published checkpoints by tag. "imagenet" is the one of highest published top-1 with the 1000
            ImageNet-1k classes: the authors' own best, where they published any. Those of video models are called
            after their data sets.
        recipe: the family's published training recipe.
        preprocessing: that of the default weights, or the family's where there are none.
        note: what is inferred and not published.
    """

    name: str
    builder: str
    family: str
    title: str
    paper: Paper
    parameters: int
    macs: int
    input_shape: tuple[int, ...]
    top1: dict[str, float]
    config: dict
    weights: dict[str, Weights]
    recipe: Recipe | None
    preprocessing: Preprocessing
    note: str = ""
    binary_macs: int = 0

    @property
    def operations(self) -> float:
        """OPs, as papers on binary networks count them: see `operations`."""
        return operations(self.macs, self.binary_macs)

    @property
    def input(self) -> str:
        """What it takes: "image" or "video"."""
        return kind_of_input(self.input_shape)

    def preprocess(self, pixels, weights: str = "imagenet"):
        """Normalise pixels 0–255 as the checkpoint `weights` wants them, for `include_preprocessing=False`."""
        return (self.weights[weights].preprocessing if weights in self.weights else self.preprocessing)(pixels)


def operations(macs: int, binary_macs: int) -> float:
    """OPs = BOPs / 64 + FLOPs: a machine's word holds 64 of the bits that binary products take.

    Source: Liu et al. 2018 (Bi-Real Net), https://arxiv.org/abs/1808.00278, section 4.3; FLOPs are multiply-adds there.

    Args:
        macs: all multiply-adds.
        binary_macs: those of them (BOPs) that are products of binary weights with activations of few levels.
    """
    return binary_macs / 64 + macs - binary_macs


def kind_of_input(shape: tuple) -> str:
    """What an input without its batch is, one of `INPUTS`: videos have an axis of frames before those of images."""
    return INPUTS[len(shape) - 3]
