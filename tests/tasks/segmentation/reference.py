"""What the cases of segmentation store, computed by ours: each field under its own key."""

import golden
import keras
import numpy as np
from tasks.reference import sampled

import keras_mlp
from keras_mlp import tasks
from keras_mlp.tasks import necks
from keras_mlp.tasks.segmentation import inference, metrics, segmenter, semantic_fpn, upernet


def of_head(case):
    """Heads and necks alone, on maps of noise."""
    config = case.config
    maps = [golden.image(tuple(given["shape"]), given["seed"]) for given in case.inputs]
    inputs = [keras.Input(x.shape[1:], dtype=keras.config.dtype_policy().compute_dtype) for x in maps]
    if case.variant == "uper_head_tiny":
        x = upernet.upernet_head(inputs, config["channels"], config["pool_scales"])
    elif case.variant == "fpn_head_tiny":
        x = semantic_fpn.semantic_fpn_head(inputs, config["channels"])
    elif case.variant == "semantic_fpn_tiny":
        x = necks.feature_pyramid_network(inputs, config["neck"]["out_channels"])
        x = semantic_fpn.semantic_fpn_head(x, config["decode_head"]["channels"])
    elif case.variant == "fcn_head_tiny":
        x = inputs[config["in_index"]]
    classes = config.get("decode_head", config)["num_classes"]
    if case.variant == "fcn_head_tiny":
        x = segmenter.auxiliary_head(x, classes, config["channels"], config["num_convs"])
        state = {f"auxiliary_head.{key}": value for key, value in case.state_dict().items()}
        inputs, maps = inputs[config["in_index"]], maps[config["in_index"]]
    else:
        x, state = segmenter.classify_positions(x, classes, 0.1), case.state_dict()
    model = keras.Model(inputs, x)
    keras_mlp.load_checkpoint(model, state)
    return {"logits": sampled(case, [model(maps, training=False)])}


def of_features(case):
    """Backbones for detection and segmentation, whose pyramids have a norm for each level."""
    model = golden.reference(case.family).features(case)
    images = case.images()
    more = [side - have for side, have in zip(model.input_shape[1:3], images.shape[1:3], strict=True)]
    images = np.pad(images, ((0, 0), (0, more[0]), (0, more[1]), (0, 0)))  # to whole patches
    return {"logits": sampled(case, model(images, training=False))}


def labels(case):
    """Blocks of 8 x 8 pixels of one label, void ones among them."""
    (batch, height, width), classes = case.labels["shape"], case.labels["classes"]
    blocks = np.random.RandomState(case.labels["seed"]).randint(0, classes + 1, (batch, height // 8, width // 8))
    return np.where(blocks == classes, 255, blocks).repeat(8, axis=1).repeat(8, axis=2)


def build(case, **options):
    """The whole segmenter of a case, loaded."""
    make = of_setr if case.family == "setr" else of_as_mlp
    # Scaled images have more digits than float32.
    image = keras.Input((None, None, 3), dtype=keras.config.dtype_policy().compute_dtype)
    model = make(case, dict(include_top=False, include_preprocessing=False, input_tensor=image), **options)
    keras_mlp.load_checkpoint(model, case.state_dict())
    return model


def of_as_mlp(case, options, **of_head):
    backbone, head = case.config["backbone"], case.config["decode_head"]
    trunk = keras_mlp.ASMLP(
        dim=backbone["embed_dim"],
        depths=backbone["depths"],
        shift_size=backbone["shift_size"],
        mlp_ratio=backbone["mlp_ratio"],
        stem_norm=backbone["patch_norm"],
        **options,
    )
    own = dict(
        classes=head["num_classes"],
        channels=head["channels"],
        pool_sizes=head["pool_scales"],
        auxiliary=True,
        auxiliary_channels=case.config["auxiliary_head"]["channels"],
    )
    return tasks.UPerNet(trunk, **own | of_head)


def of_setr(case, options, **of_head):
    backbone, head = case.config["backbone"], case.config["decode_head"]
    auxiliary = case.config["auxiliary_head"]
    image = keras.Input(case.input_shape[1:], dtype=keras.config.dtype_policy().compute_dtype)
    mla = head["type"] == "VIT_MLAHead"
    trunk = keras_mlp.ViT(
        patch_size=backbone["patch_size"],
        dim=backbone["embed_dim"],
        depth=backbone["depth"],
        heads=backbone["num_heads"],
        class_token=not mla,
        final_norm=False,
        **options | {"input_tensor": image},
    )
    if mla:
        own = dict(blocks=backbone["mla_index"], neck_channels=head["mla_channels"], channels=head["mlahead_channels"])
        return tasks.SETRMLA(trunk, head["num_classes"], **own, auxiliary=True, **of_head)
    kind = tasks.SETRPUP if head["num_conv"] == 4 else tasks.SETRNaive
    own = dict(block=head["in_index"], auxiliary_blocks=[one["in_index"] for one in auxiliary])
    return kind(trunk, head["num_classes"], **own, auxiliary=True, **of_head)


def of_segmenter(case):
    model, images = build(case), golden.image(tuple(case.input_shape), case.input_seed)
    images = images.astype(keras.config.dtype_policy().compute_dtype)
    found = model(images, training=False)
    maps = {"whole": found["logits"], "decode_head": found["logits"]}
    maps |= {name.replace("auxiliary_", "auxiliary_head."): logits for name, logits in found.items()}
    if "slide" in vars(case):
        auxiliary = keras.Model(model.input, model.get_layer(segmenter.AUXILIARY_HEAD).output)
        maps["auxiliary"] = auxiliary(images, training=False)
        maps["slide"] = inference.logits(model, images, case.slide["crop_size"], case.slide["stride"])
        maps["scales_and_flips"] = inference.probabilities(model, images, scales=case.scales, flip=True)
    fields = {"logits": sampled(case, [maps[output["name"]] for output in case.outputs])}
    if "labels" in vars(case):
        loss, truth = tasks.PixelCrossEntropy(dtype=found["logits"].dtype), labels(case)
        fields["losses_in_inference_mode"] = {}
        for name, key, weight in (("decode", "logits", 1.0), ("aux", "auxiliary", 0.4)):
            counts = metrics.confusion(truth, np.argmax(found[key], -1), case.labels["classes"])
            fields["losses_in_inference_mode"] |= {
                f"{name}.loss_ce": weight * float(loss(truth, found[key])),
                f"{name}.acc_seg": 100 * tasks.segmentation_scores(counts)["aAcc"],
            }
    return fields


def of_loss(case):
    """The losses of the case's settings, the accuracy and the scores of its labels."""
    logits, labels = golden.image(tuple(case.input_shape), case.input_seed), np.asarray(case.labels)
    losses = []
    for setting in case.cases:
        given = np.where(labels == 255, 0, labels) if "labels" in setting else labels
        average = "valid" if setting["avg_non_ignore"] else "all"
        loss = tasks.PixelCrossEntropy(setting.get("class_weight"), average, dtype=keras.config.floatx())
        losses.append(setting | {"loss": setting.get("loss_weight", 1) * float(loss(given, logits))})
    counts = metrics.confusion(labels, logits.argmax(-1), logits.shape[-1])
    scores = tasks.segmentation_scores(counts)
    return {"cases": losses, "accuracy_percent": 100 * scores["aAcc"], "metrics": scores}


KINDS = {"head": of_head, "segmentation": of_segmenter, "loss": of_loss, "features": of_features}
