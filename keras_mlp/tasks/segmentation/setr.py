"""SETR: a plain ViT as an encoder, and three decoders of growing effort.

The naive one classifies each patch and enlarges the result. PUP (progressive upsampling) doubles the map four times,
each time after a convolution. MLA (multi-level aggregation) joins the outputs of four blocks.
"""

from keras import layers

from keras_mlp.cards import Paper
from keras_mlp.checkpoints import layouts
from keras_mlp.checkpoints.layouts import Layout
from keras_mlp.families.vit import TORCH
from keras_mlp.layers import Resize, layer_norm
from keras_mlp.tasks import backbones
from keras_mlp.tasks.layouts import Joined
from keras_mlp.tasks.segmentation import segmenter
from keras_mlp.tasks.segmentation.segmenter import AUXILIARY_HEAD, classify_positions, conv_unit

_PAPER = Paper(
    "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers",
    "Zheng et al.",
    2021,
    "https://arxiv.org/abs/2012.15840",
)
_NAIVE_BLOCKS = {24: (9, 14, 19), 12: (2, 5, 8)}
_PUP_BLOCKS = {24: (9, 14, 19, 23), 12: (4, 7, 9, 11)}


@segmenter.builder(_PAPER, "setr_naive")
def SETRNaive(backbone, classes, *, block=-1, channels=256, auxiliary=False, auxiliary_blocks=None):
    """A backbone of one level as a segmenter with SETR's naive decoder.

    Args:
        backbone: a model of the zoo without its top whose blocks are numbered through, such as
            `keras_mlp.ViT(final_norm=False)`.
        block: the block whose output is decoded.
        channels: width of the decoder.
        auxiliary_blocks: the blocks of the further heads, which are like the decoder. By default the published ones of
            24 and 12 blocks, else those that end a quarter.
    """
    x, *earlier = _maps(backbone, block, auxiliary, auxiliary_blocks, _NAIVE_BLOCKS)
    x = conv_unit(_norm("decoder_norm")(x), channels, 1, "decoder_0", use_bias=True)
    return {"logits": classify_positions(x, classes)} | _auxiliary(earlier, channels, classes, 1, 1)


@segmenter.builder(_PAPER, "setr_pup")
def SETRPUP(backbone, classes, *, block=-1, channels=256, auxiliary=False, auxiliary_blocks=None):
    """A backbone of one level as a segmenter with SETR's decoder of progressive upsampling.

    Args:
        backbone: a model of the zoo without its top whose blocks are numbered through, such as
            `keras_mlp.ViT(final_norm=False)`.
        block: the block whose output is decoded.
        channels: width of the decoder.
        auxiliary_blocks: the blocks of the further heads, of one convolution each. By default the published ones of 24
            and 12 blocks, else those that end a quarter.
    """
    x, *earlier = _maps(backbone, block, auxiliary, auxiliary_blocks, _PUP_BLOCKS)
    x = _norm("decoder_norm")(x)
    for i in range(4):
        x = conv_unit(x, channels, 3, f"decoder_{i}", use_bias=True)
        if i < 3:
            x = Resize(2, name=f"decoder_{i}_up")(x)
    logits = Resize(2, name="head_up")(classify_positions(x, classes))
    return {"logits": logits} | _auxiliary(earlier, channels, classes, 3, 4)


@segmenter.builder(_PAPER, "setr_mla")
def SETRMLA(backbone, classes, *, blocks=None, neck_channels=256, channels=128, auxiliary=False):
    """A backbone of one level as a segmenter with SETR's decoder of multi-level aggregation.

    Args:
        backbone: a model of the zoo without its top whose blocks are numbered through. The authors' is
            `keras_mlp.ViTL16(class_token=False)`.
        blocks: four blocks whose outputs are joined. By default those that end a quarter.
        neck_channels: width in which the four are added up.
        channels: width of each of the four in the decoder.
        auxiliary: whether the model has four further outputs for training, one of each sum.
    """
    if blocks is not None and len(blocks) != 4:
        raise ValueError(f"`blocks` must be four numbers of blocks. Received: blocks={blocks!r}")
    maps = backbones.blocks(backbone, blocks or _quarters(backbone))
    maps = [_norm(f"level_{i}_norm")(x) for i, x in enumerate(maps)]
    sums = []
    for i, x in reversed(list(enumerate(maps))):
        x = conv_unit(x, neck_channels, 1, f"neck_lateral_{i}")
        sums.insert(0, layers.Add(name=f"neck_top_down_{i}")([x, sums[0]]) if sums else x)
    sums = [conv_unit(x, neck_channels, 3, f"neck_{i}") for i, x in enumerate(sums)]
    decoded = []
    for i, x in enumerate(sums):
        for j in range(2):
            x = conv_unit(x, channels, 3, f"decoder_{i}_{j}")
        decoded.append(Resize(4, align_corners=True, name=f"decoder_{i}_up")(x))
    joined = layers.Concatenate(name="decoder_concat")(decoded)
    outputs = {"logits": classify_positions(joined, classes, kernel_size=3)}
    for i, x in enumerate(sums if auxiliary else ()):
        outputs[f"auxiliary_{i}"] = classify_positions(x, classes, name=f"{AUXILIARY_HEAD}_{i}", use_bias=False)
    return outputs


def _maps(backbone, block, auxiliary, auxiliary_blocks, published) -> list:
    """The map that is decoded, and those of the auxiliary heads."""
    numbers = auxiliary_blocks or published.get(backbones.depth(backbone)) or _quarters(backbone)[:-1]
    return backbones.blocks(backbone, [block, *(numbers if auxiliary else ())])


def _auxiliary(maps, channels, classes, kernel_size, factor) -> dict:
    """Heads of one convolution, after which the map may be enlarged before it is classified."""
    outputs = {}
    for i, x in enumerate(maps):
        x = conv_unit(_norm(f"auxiliary_{i}_norm")(x), channels, kernel_size, f"auxiliary_{i}_0", use_bias=True)
        if factor > 1:
            x = Resize(factor, name=f"auxiliary_{i}_up")(x)
        outputs[f"auxiliary_{i}"] = classify_positions(x, classes, name=f"{AUXILIARY_HEAD}_{i}")
    return outputs


def _norm(name):
    return layer_norm(name, epsilon=1e-6)


def _quarters(backbone) -> tuple[int, ...]:
    """The blocks that end a quarter of a backbone."""
    depth = backbones.depth(backbone)
    return tuple(depth * quarter // 4 - 1 for quarter in range(1, 5))


def _register(task, head, ignored=(), of_backbone=None):
    """Declare the authors' names of a decoder's tensors, in the checkpoint of a whole model."""
    auxiliary = (
        ("auxiliary_head.{}.norm", "auxiliary_{}_norm"),
        ("auxiliary_head.{}.conv_0", "auxiliary_{}_0"),
        ("auxiliary_head.{}.syncbn_fc_0", "auxiliary_{}_0_norm"),
        ("auxiliary_head.{}.conv_1", f"{AUXILIARY_HEAD}_{{}}"),
        ("auxiliary_head.{}.aux", f"{AUXILIARY_HEAD}_{{}}"),
    )
    unused = [f"{of}.conv_seg.{part}" for of in ("decode_head", "auxiliary_head.{}") for part in ("weight", "bias")]
    rows = (*((f"decode_head.{theirs}", ours) for theirs, ours in head), *auxiliary)
    layouts.register(Joined(task, "the authors", "torch", rows, (*unused, *ignored), of_backbone=of_backbone))


_UNITS = (("norm", "decoder_norm"), ("conv_{}", "decoder_{}"), ("syncbn_fc_{}", "decoder_{}_norm"))
_register("setr_naive", (("conv_1", "head"), *_UNITS))
_register("setr_pup", (("conv_4", "head"), *_UNITS))
_register(
    "setr_mla",
    (
        *(
            (f"mlahead.head{i + 2}.{place}", f"decoder_{i}_{j}{part}")
            for i in range(4)
            for place, j, part in ((0, 0, ""), (1, 0, "_norm"), (3, 1, ""), (4, 1, "_norm"))
        ),
        ("cls", "head"),
    ),
    # Its blocks see no class token, though the files hold one and its place in the table.
    of_backbone=Layout(
        "setr_mla",
        "encoder",
        "torch",
        (
            ("pos_embed", "position/embedding", lambda embedding: embedding[0, 1:]),
            *(row for row in TORCH if row[0] not in ("pos_embed", "cls_token")),
            ("norm_{}", "level_{}_norm"),
            *(
                (f"mla.mla_p{i + 2}{theirs}.{place}", f"neck_{ours}{i}{part}")
                for i in range(4)
                for theirs, ours in (("_1x1", "lateral_"), ("", ""))
                for place, part in ((0, ""), (1, "_norm"))
            ),
        ),
        ("cls_token",),
    ),
)
