"""Sequencer2D: LSTMs run down every column and along every row of a map, in place of attention.

Both run in both directions, and a linear layer joins the four outputs. So what a position takes from others depends on
their order, and comes from the whole image. Any image size works. PyTorch's recurrent layers have two biases. Here there
are two as well, so that each tensor of a checkpoint has a place.
"""

import functools

import keras
import numpy as np
from keras import initializers

from keras_mlp.cards import Paper, Preprocessing, Recipe, Weights, imagenet
from keras_mlp.families.sequencer2d.recurrence import RECURRENCES, AxialRecurrence
from keras_mlp.family import Family
from keras_mlp.layers import Dense, channel_mlp, drop_path_rates, layer_norm, residual, whole_patches

__all__ = ["Sequencer2D", "Sequencer2DS", "Sequencer2DM", "Sequencer2DL", "Sequencer2DL392"]

_IMAGENET = Preprocessing(crop_pct=0.875, interpolation="bicubic")
_NEARLY_NONE = initializers.RandomNormal(stddev=1e-6)
_UNIONS = {
    "cat": ("vertical", "horizontal"),
    "add": ("vertical", "horizontal"),
    "vertical": ("vertical",),
    "horizontal": ("horizontal",),
}
"""For each way to join the outputs along the columns and the rows, which of them there are."""

family = Family(
    "sequencer2d",
    title="Sequencer2D",
    paper=Paper(
        "Sequencer: Deep LSTM for Image Classification", "Tatsunami and Taki", 2022, "https://arxiv.org/abs/2205.01972"
    ),
    preprocessing=_IMAGENET,
    recipe=Recipe(
        source="okojoalg/sequencer, the README's command for Sequencer2D-S",
        learning_rate=2e-3,
        batch_size=2048,
        epochs=300,
        warmup_epochs=20,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(2, 9),
        random_erasing=0.25,
        drop_path_rate=0.1,
    ),
    per_stage=("patch_sizes", "dims", "hidden_dims", "depths", "mlp_ratios"),
)


def recurrent_mixing(x, hidden_dim, recurrence, recurrent_layers, bidirectional, union, projected, name):
    """BiLSTM2D: `dense([vertical(x), horizontal(x)])`, or another union of the two."""
    outputs = []
    for axis in _UNIONS[union]:
        y, side = x, "height" if axis == "vertical" else "width"
        for i in range(recurrent_layers):
            y = AxialRecurrence(hidden_dim, side, recurrence, bidirectional, name=f"{name}_{axis}_{i}")(y)
        outputs.append(y)
    if len(outputs) > 1:
        join = keras.layers.Add if union == "add" else keras.layers.Concatenate
        outputs = [join(name=f"{name}_{union}")(outputs)]
    (y,) = outputs
    if projected:
        return Dense(x.shape[-1], name=f"{name}_proj")(y)
    if y.shape[-1] != x.shape[-1]:
        raise ValueError(
            "Without `projected`, what the recurrent layers give must be as wide as the map. "
            f"Received: a map of {x.shape[-1]} channels, union={union!r}, hidden_dim={hidden_dim}, which give "
            f"{y.shape[-1]}"
        )
    return y


@family.token_mixing
def _mixing(x):
    """LSTMs a quarter as wide as the map. Positions share weights, but an output depends on the way from the border."""
    return recurrent_mixing(x, x.shape[-1] // 4, "lstm", 1, True, "cat", True, "mixing")


@family.builder
def Sequencer2D(
    x,
    patch_sizes=(7, 2, 1, 1),
    dims=(192, 384, 384, 384),
    hidden_dims=(48, 96, 96, 96),
    depths=(4, 3, 8, 3),
    mlp_ratios=(3, 3, 3, 3),
    recurrence="lstm",
    recurrent_layers=1,
    bidirectional=True,
    union="cat",
    projected=True,
    stem_norm=False,
    *,
    activation=None,
    drop_path_rate=0.0,
    dropout_rate=0.0,
):
    """Sequencer2D of any size, for images of any size: what does not fill a patch is left out.

    Args:
        patch_sizes: side of a patch in pixels, and before each further stage of a square of positions that become one; at
            1 only the channels are mixed.
        dims: width of each stage.
        hidden_dims: width of each stage's recurrent states, D / 4 in the paper.
        depths: number of blocks of each stage.
        mlp_ratios: hidden width of the channel MLP, in multiples of the stage's width.
        recurrence: "lstm", or "gru" or "rnn" of the paper's ablations.
        recurrent_layers: how many recurrent layers follow each other along an axis.
        bidirectional: whether they run in both directions.
        union: how columns and rows are joined: "cat" one after the other in the channels, "add"; or only "vertical" or
            "horizontal" ones.
        projected: whether a linear layer follows the union. Without one, the widths must agree.
        stem_norm: whether a norm follows the patch embedding (no published model has it).
        activation: of the MLPs; "gelu" (exact) by default, as in all published models.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first. (timm's is the same in
            all blocks.)
        dropout_rate: dropout after each linear layer of the channel MLP.
    """
    if union not in _UNIONS:
        raise ValueError(f"`union` must be one of {sorted(_UNIONS)}. Received: union={union!r}")
    norm = functools.partial(layer_norm, epsilon=1e-6)
    settings = (recurrence, recurrent_layers, bidirectional, union, projected)
    rates = drop_path_rates(drop_path_rate, depths)
    for stage, (patch, dim, hidden_dim, ratio) in enumerate(
        zip(patch_sizes, dims, hidden_dims, mlp_ratios, strict=True)
    ):
        x = whole_patches(x, dim, patch, f"down_{stage - 1}" if stage else "stem", kernel_initializer="lecun_normal")
        if stem_norm and not stage:
            x = norm("stem_norm")(x)
        for i, rate in enumerate(rates[stage]):
            name = f"stages_{stage}_{i}"
            y = recurrent_mixing(norm(f"{name}_norm1")(x), hidden_dim, *settings, f"{name}_token_mixing")
            x = residual(x, y, rate, name, 1)
            y, mixing = norm(f"{name}_norm2")(x), (int(ratio * dim), activation or "gelu", f"{name}_channel_mixing")
            x = residual(x, channel_mlp(y, *mixing, dropout_rate, bias_initializer=_NEARLY_NONE), rate, name, 2)
    return norm("norm")(x)


_SOURCE = "the paper's table of ImageNet results and the authors' README"  # of the settings, too
_REMEMBERED = "The rate of stochastic depth is the paper's, as remembered."

Sequencer2DS = family.variant(
    "Sequencer2DS", "sequencer2d_s", title="Sequencer2D-S", depths=(4, 3, 8, 3), drop_path_rate=0.1,
    parameters=27_651_688, macs=8_334_007_296, scores=imagenet(82.3, _SOURCE),
)  # fmt: skip
Sequencer2DM = family.variant(
    "Sequencer2DM", "sequencer2d_m", title="Sequencer2D-M", depths=(4, 3, 14, 3), drop_path_rate=0.2,
    parameters=38_307_688, macs=11_051_916_288, scores=imagenet(82.8, _SOURCE), note=_REMEMBERED,
)  # fmt: skip
Sequencer2DL = family.variant(
    "Sequencer2DL", "sequencer2d_l", title="Sequencer2D-L", depths=(8, 8, 16, 4), drop_path_rate=0.4,
    parameters=54_298_216, macs=16_487_734_272, scores=imagenet(83.4, _SOURCE), note=_REMEMBERED,
)  # fmt: skip
Sequencer2DL392 = family.variant(
    "Sequencer2DL392", "sequencer2d_l_392", title="Sequencer2D-L↑392", depths=(8, 8, 16, 4), drop_path_rate=0.4,
    input_shape=(392, 392, 3), parameters=54_298_216, macs=50_492_894_208, scores=imagenet(84.6, _SOURCE),
    note=f"Sequencer2D-L, fine-tuned for 30 epochs at 392 pixels; no weights are published. {_REMEMBERED}",
)  # fmt: skip


def _torch(array):
    """Gates stacked on the last axis, as Keras has them, instead of the first."""
    return array.T


def _torch_gru(array):
    """The same, and the update gate before the reset gate."""
    reset, update, new = np.split(array, 3)
    return np.concatenate([update, reset, new]).T


def _names(block, kind, transform):
    """Rows of what is inside the blocks, which are called `block` in the checkpoint."""
    tokens, ours = f"{block}.rnn_tokens", "stages_{}_{}_token_mixing"
    weights = {
        "weight_ih": "kernel",
        "weight_hh": "recurrent_kernel",
        "bias_ih": "input_bias",
        "bias_hh": "recurrent_bias",
    }
    return (
        (f"{block}.norm{{}}", "stages_{}_{}_norm{}"),
        (f"{block}.mlp_channels.fc{{}}", "stages_{}_{}_channel_mixing_fc{}"),
        (f"{tokens}.fc", f"{ours}_proj"),
        *(
            (
                f"{tokens}.rnn_{axis[0]}.{theirs}_l{{}}{suffix}",
                f"{ours}_{axis}_{{}}/{direction}/{RECURRENCES[kind].cell_name}/{weight}",
                transform,
            )
            for axis in ("vertical", "horizontal")
            for suffix, direction in (("", "forward"), ("_reverse", "backward"))
            for theirs, weight in weights.items()
        ),
        ("stem.proj", "stem"),
        ("stem.norm", "stem_norm"),
        ("norm", "norm"),
    )


# Tensors of the three kinds have the same names; the cells of ours have not, which tells the layouts apart.
for _layout, _kind, _transform in (
    ("authors", "lstm", _torch),
    ("authors_gru", "gru", _torch_gru),
    ("authors_rnn", "rnn", _torch),
):
    family.layout(
        _layout,
        convention="torch",
        # The last entry of a stage is the layer between it and the next stage.
        names=(*_names("blocks.{}.{}", _kind, _transform), ("blocks.{}.{}.down", "down_{}"), ("head", "head")),
    )

_MOST_STAGES = 10

family.layout(
    "timm",
    convention="torch",
    names=(
        *_names("stages.{}.blocks.{}", "lstm", _torch),
        # The layer between two stages belongs to the second.
        *((f"stages.{stage}.downsample.down", f"down_{stage - 1}") for stage in range(1, _MOST_STAGES)),
        ("head.fc", "head"),
    ),
)

_RELEASE = "https://github.com/okojoalg/sequencer/releases/download/weights"

family.publish(
    *(
        Weights(
            f"sequencer2d_{size}", "imagenet1k", f"{_RELEASE}/sequencer2d_{size}.pth", "pth", "authors", "ImageNet-1k",
            1000, "Apache-2.0", preprocessing=_IMAGENET, scores=imagenet(top1, _SOURCE),
        )
        for size, top1 in (("s", 82.3), ("m", 82.8), ("l", 83.4))
    ),
    *(
        Weights(
            f"sequencer2d_{size}", "imagenet_timm", f"https://huggingface.co/timm/sequencer2d_{size}.in1k/resolve/main/model.safetensors",
            "safetensors", "timm", "ImageNet-1k", 1000, "Apache-2.0", "timm", _IMAGENET,
            scores=imagenet(top1, "timm, results-imagenet.csv"),
            note="timm's copy of the authors' file. The address is inferred from timm's name of it.",
        )
        for size, top1 in (("s", 82.336), ("m", 82.836), ("l", 83.406))
    ),
)  # fmt: skip
