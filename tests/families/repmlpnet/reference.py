"""How the reference's constructor calls ours."""

import keras_mlp
from keras_mlp.families.repmlpnet import inject_locality

DIGITS = {
    "repmlpnet": {"patch_size": 2, "dims": (32, 64), "depths": (2, 2), "tiles": (8, 4), "share_sets": (4, 16)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config = case.config
    return keras_mlp.RepMLPNet, dict(
        patch_size=config["patch_size"],
        dims=config["channels"],
        depths=config["num_blocks"],
        tiles=list(zip(config["hs"], config["ws"], strict=True)),
        share_sets=config["sharesets_nums"],
        kernel_sizes=config["reparam_conv_k"] or (),
        gate_reduction=config["globalperceptron_reduce"],
        deploy=config["deploy"],
    )


def loaded(case, builder, **arguments):
    """Tensors in the form to train or to deploy, and the model in either."""
    tensors, form = vars(case).get("tensors_form"), vars(case).get("form")
    if "deploy" in (tensors, form):
        arguments["deploy"] = tensors == "deploy"
    model = builder(**arguments)
    report = keras_mlp.load_checkpoint(model, case.state_dict())
    return inject_locality(model) if (tensors, form) == ("train", "deploy") else model, report
