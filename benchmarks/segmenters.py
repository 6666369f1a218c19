"""Segmenters as contenders: ours, whole and in parts, and mmsegmentation's head."""

import importlib.util
import re
import sys
from unittest import mock

from benchmarks import on_tensorflow, on_torch
from benchmarks.contender import Unavailable

PARTS = ("whole", "backbone", "head")
CLASSES = 150
CHANNELS = 512


def keras_mlp(contender):
    """`batch size -> step` for a part of our UPerNet. Its head begins with the maps, and ends at the image's size."""
    tf = on_tensorflow.setup(contender.threads)
    model, maps = _upernet(contender)
    import keras

    on_tensorflow.as_if_trained(model)
    image = model.inputs[0]
    part = {
        "whole": lambda: model,
        "backbone": lambda: keras.Model(image, maps),
        "head": lambda: keras.Model([image, *maps], model.output),
    }[contender.part]()
    return on_tensorflow.inference_step(tf, part, contender.form == "xla")


def mmsegmentation(contender):
    """`batch size -> step` for mmsegmentation's UPerNet from the maps on, and the resizing to the image's size."""
    if contender.part != "head":
        raise Unavailable("it has no AS-MLP: its head is compared alone, on maps of the same sizes")
    for package in ("torch", "mmcv", "mmengine", "mmseg"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"the package {package} is not installed")
    torch = on_torch.setup(contender.threads)
    # mmcv-lite lacks the compiled operators, which other heads import and this one does not use.
    sys.modules.setdefault("mmcv.ops", mock.MagicMock())
    from mmseg.models.decode_heads import UPerHead
    from mmseg.models.utils import resize

    sides, widths = zip(*((x.shape[1:3], x.shape[-1]) for x in _upernet(contender)[1]), strict=True)
    options = dict(in_channels=widths, in_index=list(range(len(widths))), norm_cfg={"type": "BN"}, align_corners=False)
    head = UPerHead(channels=CHANNELS, num_classes=CLASSES, **options).eval()
    size = (contender.image_size,) * 2

    def prepare(batch):
        maps = [torch.randn(batch, width, *side) for width, side in zip(widths, sides, strict=True)]

        def step():
            with torch.inference_mode():
                return resize(head(maps), size=size, mode="bilinear", align_corners=False)

        return step

    return prepare


def _upernet(contender):
    """Our UPerNet, and the maps that its head reads."""
    import keras_mlp
    from keras_mlp import tasks

    shape = (contender.image_size, contender.image_size, 3)
    options = dict(weights=None, include_top=False, include_preprocessing=False, input_shape=shape)
    backbone = keras_mlp.create_model(contender.model, **options)
    model = tasks.UPerNet(backbone, CLASSES, channels=CHANNELS)
    maps = [layer.output for layer in model.layers if re.fullmatch(r"level_\d+_norm", layer.name)]
    return model, maps or [*keras_mlp.feature_pyramid(backbone).output.values()]
