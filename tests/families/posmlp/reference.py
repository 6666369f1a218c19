"""How the reference's constructor calls ours."""

import golden

import keras_mlp

DIGITS = {
    "posmlp": {"dims": (32, 64), "depths": (2, 2), "windows": (4, 2), "groups": (4, 8), "mlp_ratios": (4, 4)},
}
"""For each family of these cases a small configuration that reads the digits, of 16 pixels a side."""

ANY_SIZE = True
"""Whether images of all cases may have any size."""


def translate(case):
    config, norms = case.config, {"BN": "batch", "LN": "layer"}
    encoding = "relative"
    if config["quadratic"]:
        encoding = "quadratic" if config["generalized"] else "isotropic"
    return keras_mlp.PosMLP, dict(
        dims=config["embed_dims"],
        depths=config["depths"],
        windows=config["win_size"][: len(config["depths"])],
        groups=config["gamma"][: len(config["depths"])],
        mlp_ratios=config["mlp_ratio"],
        gate={"PoSGU": "positional", "SGU": "linear"}[config["gate_unit"]],
        encoding=encoding,
        chunks=config["chunks"],
        symmetric=config["symmetric"],
        softmax=config["use_softmax"],
        position_bias=config["absolute_bias"],
        position_embedding=config["ape"],
        biased_gates=26,
        norm_epsilon=config.get("norm_epsilon", 1e-6),
        token_weight=encoding == "relative" and not config["pos_only"],
        stem={"ConvPatchEmbed": "conv", "PatchEmbed": "patch"}[config["stem"]],
        stem_norm=norms[config["stem_norm"]],
        head_pooling=config.get("global_pool", "avg"),
        depthwise_downsampling=config["depth_conv"],
        downsampling_norm=norms[config["downsample_norm"]],
        activation=golden.activation(config.get("act_layer")),
    )
