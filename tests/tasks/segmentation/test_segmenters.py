"""Segmenters: exact to mmsegmentation, on any backbone in stages, at any size of image."""

import pathlib

import golden
import keras
import numpy as np
import pytest
from PIL import Image
from tasks.segmentation import reference

import keras_mlp
from keras_mlp import tasks
from keras_mlp.tasks.segmentation import inference, metrics

CASES = [golden.load(path) for path in sorted((pathlib.Path(__file__).parent / "cases").glob("*.json"))]
MAPS = [case for case in CASES if len(case.logits)]
TINY = [case for case in MAPS if "tiny" in case.variant]
NARROW = dict(channels=8)


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.variant)


def backbone(case, **options):
    builder, config = golden.arguments(case)
    return builder(**config | options | {"include_top": False})


@named(TINY)
def test_heads_and_whole_models_compute_like_mmsegmentation(case):
    keras.config.set_dtype_policy("float64")
    found = golden.compute(case)
    assert case.error(found["logits"]) < 1e-6
    for name, value in vars(case).get("losses_in_inference_mode", {}).items():
        assert found["losses_in_inference_mode"][name] == pytest.approx(value, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.variant, marks=pytest.mark.huge if case.num_params > 100e6 else ())
        for case in MAPS
        if case not in TINY
    ],
)
def test_full_size_segmenters_take_every_tensor_and_compute_like_the_authors(case):
    assert case.error(golden.compute(case)["logits"]) < 1e-3
    unused = sum(np.prod(case.tensors[name]) for name in vars(case).get("unused", ()))
    trained = sum(np.prod(weight.shape) for weight in reference.build(case).trainable_weights)
    assert trained + unused == case.num_params - (case.config["backbone"]["embed_dim"] if "mla" in case.variant else 0)


def test_losses_and_scores_are_mmsegmentations():
    (case,) = [case for case in CASES if case.kind == "loss"]
    found = golden.compute(case)
    assert [setting["loss"] for setting in found["cases"]] == pytest.approx([s["loss"] for s in case.cases], rel=1e-6)
    assert found["accuracy_percent"] == pytest.approx(case.accuracy_percent, rel=1e-6)
    for name in ("aAcc", "IoU", "Acc"):
        np.testing.assert_allclose(found["metrics"][name], case.metrics[name], rtol=1e-6)


def test_a_batch_of_void_alone_costs_nothing():
    labels, logits = np.full((1, 4, 4), 255), np.ones((1, 4, 4, 3), "float32")
    for average in ("all", "valid"):
        assert float(tasks.PixelCrossEntropy(average=average)(labels, logits)) == 0


def test_classes_that_are_nowhere_are_no_part_of_the_mean():
    scores = tasks.segmentation_scores(metrics.confusion([0, 0, 1, 255], [0, 1, 1, 2], 3))
    assert scores["mIoU"] == pytest.approx((1 / 2 + 1 / 2) / 2) and np.isnan(scores["IoU"][2])
    assert scores["mAcc"] == pytest.approx((1 / 2 + 1) / 2)
    with pytest.raises(ValueError, match="must be one of 0–2, or 255 for void. Received: 3"):
        metrics.confusion([0, 3], [0, 1], 3)


@pytest.mark.parametrize("make", [tasks.SETRNaive, tasks.SETRPUP])
@pytest.mark.parametrize("name", ["mlp_mixer", "vit"])
def test_backbones_of_one_level_are_decoded_as_setr_does_it(name, make):
    trunk = backbone(golden.small(name))
    model = make(trunk, 3, channels=8, auxiliary=True, auxiliary_blocks=(0,))
    found = model(golden.small(name).images())
    assert set(found) == {"logits", "auxiliary_0"}
    assert all(logits.shape[1:] == (*trunk.input_shape[1:3], 3) for logits in found.values())


def test_images_of_any_size_are_segmented_at_their_own():
    model = tasks.SemanticFPN(backbone(golden.small("as_mlp"), input_shape=(32, 32, 3)), 3, **NARROW)
    image = np.random.default_rng(0).normal(size=(40, 75, 3)).astype("float32")
    for options in ({}, {"window": (24, 32), "stride": 20, "flip": True, "scales": (0.75, 1.5)}, {"window": 64}):
        found = tasks.segment(model, image, **options)
        assert found.shape == (40, 75) and set(np.unique(found)) <= {0, 1, 2}
    # What lies in one window only is what the model gives of it.
    whole = inference.logits(model, image[None])
    first = np.asarray(model(image[None, :32, :32]))
    np.testing.assert_allclose(whole[0, :8, :20], first[0, :8, :20], atol=1e-5)


def saved(pixels, path, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_files_are_segmented_as_a_viewer_shows_them(tmp_path):
    """Grey, transparent and turned ones; the classes are those of the image's own pixels."""
    model = tasks.SemanticFPN(backbone(golden.small("as_mlp"), input_shape=(32, 32, 3)), 3, **NARROW)
    colour = np.random.default_rng(0).integers(0, 256, (50, 20, 3), "uint8")
    grey = colour[..., 0]
    expected = tasks.segment(model, colour)
    assert expected.shape == (50, 20)
    clear = np.concatenate([colour, grey[..., None]], -1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    lying = np.ascontiguousarray(np.rot90(colour))
    for found in (clear, saved(clear, tmp_path / "clear.png"), saved(lying, tmp_path / "lying.png", exif=exif)):
        np.testing.assert_array_equal(tasks.segment(model, found), expected)
    expected = tasks.segment(model, np.stack([grey] * 3, -1))
    for found in (grey, saved(grey, tmp_path / "grey.png")):
        np.testing.assert_array_equal(tasks.segment(model, found), expected)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png: not an image"):
        tasks.segment(model, tmp_path / "text.png")


def test_what_cannot_work_is_refused_by_name():
    trunk = backbone(golden.small("as_mlp"))
    model = tasks.UPerNet(trunk, 3, **NARROW)
    any_size = tasks.UPerNet(backbone(golden.small("as_mlp"), input_shape=(None, None, 3)), 3, **NARROW)
    image = np.zeros((8, 8, 3), "float32")
    mixer = backbone(golden.small("mlp_mixer"))
    refused = [
        (lambda: tasks.SETRNaive(mixer, 3, block=7), r"has blocks 0–\d. Received: blocks=\[7\]"),
        (lambda: tasks.SETRPUP(trunk, 3), "has no blocks that are numbered through"),
        (lambda: tasks.SETRMLA(mixer, 3, blocks=(0, 1)), "`blocks` must be four numbers"),
        (lambda: tasks.UPerNet(trunk, 1), "`classes` must be an integer of at least 2. Received: classes=1"),
        (lambda: tasks.UPerNet(trunk, 3, weights="nowhere.pth"), "the path of a checkpoint file. Received"),
        (lambda: tasks.UPerNet(golden.build(golden.small("as_mlp")), 3), "build it with include_top=False"),
        (lambda: tasks.SETRNaive(golden.build(golden.small("vit")), 3), "build it with include_top=False"),
        (lambda: tasks.SemanticFPN("as_mlp", 3), "`backbone` must be a model that gives a map .* Received: 'as_mlp'"),
        (lambda: tasks.UPerNet(trunk, 3, level_norm="batch"), "`level_norm` must be .* Received: level_norm='batch'"),
        (lambda: tasks.segment(model, image, window=0), "`window` must be a positive integer or two"),
        (lambda: tasks.segment(model, image, window=8, stride=9), "`stride` must be at most the window's side"),
        (
            lambda: tasks.segment(model, image, stride=33),
            r"`stride` must be at most .*: stride=\(33, 33\), window=\(32, 32\)",
        ),
        (lambda: tasks.segment(any_size, image, stride=8), "`stride` needs a `window`"),
        (lambda: tasks.segment(model, image, scales=(0,)), "`scales` must be positive numbers"),
        (lambda: tasks.segment(model, image, window="whole"), "`window` must be .*: window='whole'"),
        (lambda: tasks.segment(model, image[None]), r"`image` must be a path, or an array \(height, width, 3\)"),
        (lambda: tasks.PixelCrossEntropy(average="mean"), '`average` must be "all" or "valid"'),
    ]
    for make, message in refused:
        with pytest.raises(ValueError, match=message):
            make()


def test_a_checkpoint_of_other_classes_needs_a_new_head(tmp_path):
    trunk = backbone(golden.small("as_mlp"))
    keras_mlp.save_checkpoint(tasks.UPerNet(trunk, 3, **NARROW), tmp_path / "three.safetensors")
    other = backbone(golden.small("as_mlp"))
    with pytest.raises(ValueError, match="new_head=True"):
        tasks.UPerNet(other, 5, weights=tmp_path / "three.safetensors", **NARROW)
    model = tasks.UPerNet(other, 5, weights=tmp_path / "three.safetensors", new_head=True, **NARROW)
    bottleneck = tasks.UPerNet(trunk, 3, weights=tmp_path / "three.safetensors", **NARROW).get_layer(
        "decoder_bottleneck"
    )
    np.testing.assert_array_equal(model.get_layer("decoder_bottleneck").kernel, bottleneck.kernel)


def test_a_file_of_the_authors_gives_all_but_its_classes_to_a_model_of_others():
    (case,) = [case for case in CASES if case.variant == "upernet_as_mlp_tiny"]
    model = reference.of_as_mlp(case, dict(include_top=False, input_shape=(32, 32, 3)), classes=7)
    with pytest.raises(ValueError, match="new_head=True"):
        keras_mlp.load_checkpoint(model, case.state_dict())
    report = keras_mlp.load_checkpoint(model, case.state_dict(), new_head=True)
    heads = {f"{head}/{part}" for head in ("head", "head_auxiliary") for part in ("kernel", "bias")}
    assert set(report.fresh) == heads
    same = reference.of_as_mlp(case, dict(include_top=False, input_shape=(32, 32, 3)))
    keras_mlp.load_checkpoint(same, case.state_dict())
    for layer in same.layers:
        if layer.weights and not layer.name.startswith("head"):
            for theirs, ours in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(theirs, ours)
