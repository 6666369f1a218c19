"""The card of a model: all that is known of it, as data."""

import dataclasses
from collections.abc import Mapping

from keras_mlp.cards import scores
from keras_mlp.cards.papers import Paper
from keras_mlp.cards.preprocessing import Preprocessing
from keras_mlp.cards.recipes import Recipe
from keras_mlp.cards.scores import Score
from keras_mlp.cards.weights import Weights

INPUTS = ("image", "video")
"""What a model takes."""
_WORTH = {"binary": 1 / 64}  # of a multiply-add of such numbers, in OPs


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
        input_shape: default input, `(height, width, channels)`; videos have frames in front.
        scores: what was published of the architecture's accuracy, whether its weights were or not.
        config: the arguments of the family's generic builder that make it.
        weights: published checkpoints by tag. "imagenet" is the one of highest published top-1 with the 1000
            ImageNet-1k classes: the authors' own best, where they published any. Those of video models are called
            after their data sets.
        recipe: the published training recipe, its own or the family's.
        preprocessing: that of the default weights, or the family's where there are none.
        note: what is inferred and not published.
        low_bit_macs: those of `macs` whose factors take few bits, by the kind of number: "binary" are products of
            weights of two levels with activations of two or three.
    """

    name: str
    builder: str
    family: str
    title: str
    paper: Paper
    parameters: int
    macs: int
    input_shape: tuple[int, ...]
    scores: tuple[Score, ...]
    config: dict
    weights: dict[str, Weights]
    recipe: Recipe | None
    preprocessing: Preprocessing
    note: str = ""
    low_bit_macs: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def top1(self) -> dict[str, float]:
        """`{training: percent}` of every published top-1 on ImageNet-1k, of video models `{data set: percent}`."""
        return {score.data: score.value for score in scores.of(self.scores, scores.TOP1)}

    @property
    def operations(self) -> float:
        """OPs, as papers on binary networks count them: see `operations`."""
        return operations(self.macs, self.low_bit_macs)

    @property
    def input(self) -> str:
        """What it takes: "image" or "video"."""
        return kind_of_input(self.input_shape)

    def preprocess(self, pixels, weights: str = "imagenet"):
        """Normalise pixels 0–255 as the checkpoint `weights` wants them, for `include_preprocessing=False`."""
        return (self.weights[weights].preprocessing if weights in self.weights else self.preprocessing)(pixels)


def operations(macs: int, low_bit_macs: Mapping[str, int]) -> float:
    """OPs = BOPs / 64 + FLOPs: a machine's word holds 64 of the bits that binary products take.

    Source: Liu et al. 2018 (Bi-Real Net), https://arxiv.org/abs/1808.00278, section 4.3; FLOPs are multiply-adds there.

    Args:
        macs: all multiply-adds.
        low_bit_macs: those of them whose factors take few bits, by the kind of number, as on a `ModelCard`. BOPs are
            the binary ones.
    """
    return macs - sum(low_bit_macs.values()) + sum(_WORTH[kind] * count for kind, count in low_bit_macs.items())


def kind_of_input(shape: tuple) -> str:
    """Whether an input of this shape, without its batch, is an "image" or a "video", which begins with its frames."""
    return INPUTS[len(shape) - 3]
