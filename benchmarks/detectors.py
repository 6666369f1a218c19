"""Detectors as contenders: ours, whole and in parts, and mmdetection's, at the size of COCO's images.

mmdetection needs mmcv's compiled operators for regions and suppression, which mmcv-lite has not. `MMCV_SOURCE` names a
checkout of mmcv: its RoIAlign and NMS in C++ are compiled, by PyTorch's own tool, the first time. AS-MLP is the
authors' PyTorch: `AS_MLP_SOURCE` names their file mmdet/models/backbones/asmlp.py.
"""

import importlib.util
import os
import pathlib
import sys
import types
from unittest import mock

import numpy as np

from benchmarks import on_tensorflow, on_torch
from benchmarks.contender import Unavailable

SIZE = (800, 1344)
"""Height and width in pixels that COCO's images are padded to most often."""
CLASSES = 80
BOXES = 10
"""Objects in an image of training."""
PARTS = {
    "mask_rcnn": ("whole", "network", "heads", "RoIAlign", "training"),
    "retina_net": ("whole", "network", "detections", "training"),
}
"""What is measured. The network gives the maps of the first step; heads are those on regions, detections what makes
boxes of RetinaNet's maps."""
_BIND = """
#include <torch/extension.h>
#include "pytorch/nms.cpp"
#include "pytorch/roi_align.cpp"
#include "pytorch/cpu/nms.cpp"
#include "pytorch/cpu/roi_align.cpp"
#define ARGS(...) __VA_ARGS__, py::arg("aligned_height"), py::arg("aligned_width"), py::arg("spatial_scale"), \\
    py::arg("sampling_ratio"), py::arg("pool_mode"), py::arg("aligned")
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("nms", &nms, py::arg("boxes"), py::arg("scores"), py::arg("iou_threshold"), py::arg("offset"));
  m.def("roi_align_forward", &roi_align_forward, ARGS(py::arg("input"), py::arg("rois"), py::arg("output"),
      py::arg("argmax_y"), py::arg("argmax_x")));
  m.def("roi_align_backward", &roi_align_backward, ARGS(py::arg("grad_output"), py::arg("rois"), py::arg("argmax_y"),
      py::arg("argmax_x"), py::arg("grad_input")));
}
"""


def size_of(contender):
    """Height and width of the images."""
    return (contender.image_size,) * 2 if contender.image_size else SIZE


def objects(size):
    """Boxes of objects in an image, their labels and masks, which fill them."""
    random = np.random.default_rng(1)
    corners = random.uniform(0, 0.6, (BOXES, 2)) * size[::-1]
    boxes = np.concatenate([corners, corners + random.uniform(0.1, 0.4, (BOXES, 2)) * size[::-1]], -1).astype("float32")
    masks = np.zeros((BOXES, *size), "uint8")
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = 1
    return boxes, random.integers(0, CLASSES, BOXES), masks


def proposals(size, count=1000):
    """Boxes of all sizes `(count, 4)`, such as a first step proposes."""
    random = np.random.default_rng(0)
    sides = np.exp(random.uniform(np.log(16), np.log(600), (count, 2)))
    middles = random.uniform(0, 1, (count, 2)) * size[::-1]
    boxes = np.concatenate([middles - sides / 2, middles + sides / 2], -1)
    return np.clip(boxes, 0, np.tile(size[::-1], 2)).astype("float32")


def keras_mlp(contender):
    """`batch size -> step` for a part of our detector."""
    tf = on_tensorflow.setup(contender.threads)
    import keras

    import keras_mlp
    from keras_mlp import tasks

    keras.utils.set_random_seed(0)
    size = size_of(contender)
    options = dict(weights=None, include_top=False, include_preprocessing=False, input_shape=(*size, 3))
    build = {"mask_rcnn": tasks.MaskRCNN, "retina_net": tasks.RetinaNet}[contender.head]
    model = build(keras_mlp.create_model(contender.model, **options), CLASSES)
    jit_compile = contender.form == "xla"
    if contender.part == "training":
        return _our_training(tf, model, size, jit_compile)
    image = on_tensorflow.images(tf, 1, (*size, 3))
    _spread(keras.Model(model.inputs, _classifiers(model)), image, model)
    call = {
        "whole": lambda: (lambda x: model(x, training=False), [image]),
        "network": lambda: (lambda x: model.network(x, training=False), [image]),
        "detections": lambda: (lambda *x: model.get_layer("detections")(list(x)), [image, *model.network(image)]),
        "RoIAlign": lambda: (lambda *x: model.get_layer("boxes_0_inside")(list(x)), _regions(tf, model, size)),
        "heads": lambda: (lambda x, y: [model.heads["boxes_0"](x), model.heads["masks_0"](y)], _insides(tf)),
    }
    function, given = call[contender.part]()
    compiled = tf.function(function, jit_compile=jit_compile)
    return lambda batch: lambda: tf.nest.map_structure(lambda output: output.numpy(), compiled(*given))


def _classifiers(model):
    """The logits that detections are chosen by."""
    names = [layer.name for layer in model.layers]
    if "head" in names:
        return model.get_layer("detections").input[1:6]
    return [model.get_layer("head_0_classes").output]


def _spread(classifier, image, model):
    """Scale the classifier so that there are as many sure detections as a trained one has."""
    name = "head" if "head" in [layer.name for layer in model.layers] else "head_0_classes"
    kernel = model.get_layer(name).kernel
    found = np.concatenate([np.ravel(x) for x in _listed(classifier(image))])
    kernel.assign(kernel * (SPREAD / found.std()))


SPREAD = 3.0
"""Standard deviation of the logits, so that scores of many classes are above the threshold."""


def _listed(x):
    return x if isinstance(x, list) else [x]


def _regions(tf, model, size):
    shapes = [x.shape[1:] for x in model.get_layer("boxes_0_inside").input[1:]]
    return [tf.constant(proposals(size)[None]), *(on_tensorflow.images(tf, 1, shape) for shape in shapes)]


def _insides(tf):
    return [on_tensorflow.images(tf, 1000, (7, 7, 256)), on_tensorflow.images(tf, 100, (14, 14, 256))]


def _our_training(tf, model, size, jit_compile):
    import keras

    boxes, labels, masks = objects(size)
    targets = {"boxes": boxes[None], "labels": labels[None].astype("int32")}
    if getattr(model, "has_masks", False):
        targets["masks"] = masks[None]
    model.compile(keras.optimizers.AdamW(1e-4, weight_decay=0.05), jit_compile=jit_compile)

    def prepare(batch):
        data = (on_tensorflow.images(tf, 1, (*size, 3)), {name: tf.constant(value) for name, value in targets.items()})
        dataset = tf.data.Dataset.from_tensors(data).repeat()
        model.fit(dataset, steps_per_epoch=1, verbose=0)
        iterator = iter(dataset)
        return lambda: tf.nest.map_structure(lambda log: log.numpy(), model.train_function(iterator))

    return prepare


def mmdetection(contender):
    """`batch size -> step` for mmdetection's detector on the authors' AS-MLP, or for a part of it."""
    for package in ("torch", "mmcv", "mmengine", "mmdet"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"the package {package} is not installed")
    torch = on_torch.setup(contender.threads)
    _compiled_operators(torch)
    model, size = _their_model(contender), size_of(contender)
    image = torch.randn(1, 3, *size)
    if contender.part == "training":
        return _their_training(torch, model, image, size)
    samples = _samples(torch, size, masks=contender.head == "mask_rcnn", with_objects=False)
    model.eval()
    if contender.head == "mask_rcnn":
        # Ours leaves masks in their boxes; to paste them into the image is left out here, too.
        model.roi_head.mask_head._predict_by_feat_single = _own_masks
    _spread_theirs(torch, model, image, samples)
    with torch.inference_mode():
        maps = model.extract_feat(image)
        heads = model.bbox_head if contender.head == "retina_net" else model.rpn_head
        found = heads(maps)
        metas = [sample.metainfo for sample in samples]

        def network():
            return heads(model.extract_feat(image))

        def regions():
            rois = torch.cat([torch.zeros(1000, 1), torch.tensor(proposals(size))], -1)
            return model.roi_head.bbox_roi_extractor(maps[:4], rois)

        def on_regions():
            return model.roi_head.bbox_head(insides[0]), model.roi_head.mask_head(insides[1])

        insides = torch.randn(1000, 256, 7, 7), torch.randn(100, 256, 14, 14)
    step = {
        "whole": lambda: model.predict(image, samples, rescale=False),
        "network": network,
        "detections": lambda: heads.predict_by_feat(*found, batch_img_metas=metas, rescale=False),
        "RoIAlign": regions,
        "heads": on_regions,
    }[contender.part]

    def run():
        with torch.inference_mode():
            return step()

    return lambda batch: run


def _compiled_operators(torch):
    """Put mmcv's RoIAlign and NMS where it looks for its compiled operators, which may be there already."""
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return
    source = os.environ.get("MMCV_SOURCE")
    if not source:
        raise Unavailable("mmcv has no compiled operators here, and MMCV_SOURCE names no checkout of its sources")
    from torch.utils import cpp_extension

    folder = pathlib.Path(source) / "mmcv" / "ops" / "csrc"
    build = pathlib.Path(cpp_extension.get_default_build_root()) / "keras_mlp_mmcv"
    build.mkdir(parents=True, exist_ok=True)
    bind = build / "bind.cpp"
    if not bind.is_file() or bind.read_text() != _BIND:
        bind.write_text(_BIND)
    paths = [str(folder), str(folder / "common")]
    options = dict(extra_include_paths=paths, extra_cflags=["-O3"], build_directory=str(build))
    real = cpp_extension.load("_ext", [str(bind)], **options)
    given = types.ModuleType("mmcv._ext")
    given.__getattr__ = lambda name: getattr(real, name, None) or mock.MagicMock(name=name)
    sys.modules["mmcv._ext"] = given


def _their_model(contender):
    source = os.environ.get("AS_MLP_SOURCE")
    if contender.model != "as_mlp_tiny" or not source:
        raise Unavailable("of AS-MLP-T alone there is a reference, and AS_MLP_SOURCE has to name it")
    import mmdet
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    backbone = _from_file(source, MODELS)
    file = {"mask_rcnn": "mask-rcnn_r50_fpn", "retina_net": "retinanet_r50_fpn"}[contender.head]
    config = Config.fromfile(pathlib.Path(mmdet.__file__).parent / ".mim/configs/_base_/models" / f"{file}.py").model
    config.backbone = dict(type="ResNet", depth=18)
    config.neck.in_channels = [96, 192, 384, 768]
    model = MODELS.build(config)
    model.backbone = backbone(embed_dim=96, depths=[2, 2, 6, 2], shift_size=5, drop_path_rate=0.0)
    return model


def _from_file(source, registry):
    """The authors' class, whose file was written for another version of mmdetection."""
    import mmdet.utils

    on_torch.import_timm()
    importlib.import_module("timm.models.layers")  # before, since what is imported below is forgotten
    builder, checkpoints = types.ModuleType("reference.builder"), types.ModuleType("mmcv_custom")
    builder.BACKBONES, checkpoints.load_checkpoint = registry, None
    packages = {name: types.ModuleType(name) for name in ("reference", "reference.backbones")}
    for package in packages.values():
        package.__path__ = []
    spec = importlib.util.spec_from_file_location("reference.backbones.asmlp", source)
    module = importlib.util.module_from_spec(spec)
    with (
        mock.patch.dict(sys.modules, {**packages, "reference.builder": builder, "mmcv_custom": checkpoints}),
        mock.patch.object(mmdet.utils, "get_root_logger", None, create=True),
    ):
        spec.loader.exec_module(module)
    return module.ASMLP


def _own_masks(mask_preds, labels, **_):
    return mask_preds.sigmoid()[range(len(labels)), labels]


def _samples(torch, size, masks, with_objects=True):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    sample = DetDataSample()
    told = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    sample.set_metainfo(told)
    if with_objects:
        boxes, labels, drawn = objects(size)
        there = dict(bboxes=torch.tensor(boxes), labels=torch.tensor(labels))
        there |= {"masks": BitmapMasks(drawn, *size)} if masks else {}
        sample.gt_instances = InstanceData(**there)
    return [sample]


def _spread_theirs(torch, model, image, samples):
    """As `_spread`."""
    last = model.bbox_head.retina_cls if hasattr(model, "bbox_head") else model.roi_head.bbox_head.fc_cls
    seen = []
    hook = last.register_forward_hook(lambda module, given, output: seen.append(output.flatten()))
    with torch.inference_mode():
        model.predict(image, samples, rescale=False)
    hook.remove()
    last.weight.data *= SPREAD / float(torch.cat(seen).std())


def _their_training(torch, model, image, size):
    samples = _samples(torch, size, masks=hasattr(model, "roi_head"))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def step():
        loss, _ = model.parse_losses(model.loss(image, samples))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return lambda batch: step
