"""A published checkpoint, as data."""

import dataclasses

from keras_mlp.cards import scores
from keras_mlp.cards.preprocessing import Preprocessing
from keras_mlp.cards.scores import Score


@dataclasses.dataclass(frozen=True)
class Weights:
    """One published checkpoint.

    Args:
        model: name of the model it is for, e.g. "mlp_mixer_b16".
        tag: what `weights=` calls it, e.g. "imagenet21k". Unique for the model.
        url: where the publisher's own file is.
        format: "npz", "pth" or "safetensors".
        layout: name of the family's layout (tensor names and axis order) the file follows.
        training_data: what it was trained on, in words.
        classes: number of outputs of its head.
        licence: SPDX identifier or the publisher's words.
        publisher: "authors" for the paper's or its repository's authors, else who made it.
        preprocessing: how its input is normalised, and resized for evaluation.
        input_size: height and width it was trained at, in pixels.
        scores: what is published of its accuracy, on ImageNet-1k or on the videos it was trained on.
        size: length of the file in bytes, where known.
        sha256: hexadecimal digest, or its leading digits, where a public source states it.
        key: where the tensors are inside the file, e.g. "model_ema"; `None` looks in the usual places.
        by_hand: the url cannot be fetched by a program (a cloud drive): a person has to.
        note: anything a user should know.
    """

    model: str
    tag: str
    url: str
    format: str
    layout: str
    training_data: str
    classes: int
    licence: str
    publisher: str = "authors"
    preprocessing: Preprocessing = dataclasses.field(default=Preprocessing())
    input_size: tuple[int, int] = (224, 224)
    scores: tuple[Score, ...] = ()
    size: int | None = None
    sha256: str | None = None
    key: str | None = None
    by_hand: bool = False
    note: str = ""

    @property
    def top1(self) -> float | None:
        """The highest published top-1 accuracy in percent, or `None` where none is published."""
        found = scores.best(self.scores)
        return found and found.value

    @property
    def file_name(self) -> str:
        """Name of the file in the cache folder, unique over all models and tags."""
        return f"{self.model}-{self.tag}.{self.format}"


def timm_hub(
    model: str, tag: str, name: str, training_data: str, top1: float | None = None, *, classes: int = 1000, **fields
) -> Weights:
    """timm's copy of a checkpoint on the Hugging Face Hub, in the names of its own layout.

    Args:
        model, tag, training_data, classes: of the `Weights`.
        name: timm's of the model and its weights, which is its repository's.
        top1: on ImageNet-1k in percent, as timm lists it at 224 pixels, or at the size that it was trained at last.
        **fields: further ones of the `Weights`; the licence is Apache-2.0 and the publisher timm by default.
    """
    url = f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors"
    fields = {"licence": "Apache-2.0", "publisher": "timm", "scores": scores.imagenet(top1, "timm")} | fields
    return Weights(model, tag, url, "safetensors", "timm", training_data, classes, **fields)
