"""What builders say to arguments of an architecture that cannot be."""

import pytest

import keras_mlp


@pytest.mark.parametrize("builder", ["MLPMixer", "ResMLP", "GMLP", "ASMLP", "WaveMLP", "BiMLP"])
def test_a_norm_that_does_not_exist_is_named_with_those_that_do(builder):
    with pytest.raises(ValueError, match=r"`norm` must be one of \[.*\] or a function. Received: norm='group'"):
        getattr(keras_mlp, builder)(norm="group")


@pytest.mark.parametrize(
    "builder, wrong, said",
    [
        ("MLPMixer", dict(gated=True, token_dim=5), r"even. Received: hidden_dim=5"),
        ("MLPMixer", dict(gated=True, channel_dim=5), r"even to be halved. Received: 5 channels"),
        ("ResMLP", dict(gated=True, channel_dim=5), r"even to be halved. Received: 5 channels"),
        ("SPACH", dict(stages=((("attention", 1),),), qk_scale=0), r"positive.*Received: scale=0"),
        ("PosMLP", dict(gate="linear", chunks=0), r"`chunks` must be one of range\(1, 100\). Received: chunks=0"),
        ("PosMLP", dict(dims=(96, 128, 256, 512)), r"multiple of the one before. Received: dims=\(96, 128, 256, 512\)"),
        ("PosMLP", dict(gate="linear", biased_gates=-1), r"number of blocks or None. Received: biased_gates=-1"),
        ("PosMLP", dict(head_pooling="mean"), r"`head_pooling` must be one of .*avgmax.*head_pooling='mean'"),
        (
            "PosMLP",
            dict(position_embedding=True, input_shape=(None, None, 3)),
            r"PositionEmbedding mixes.*static `input_shape`",
        ),
        ("SWAT", dict(kind="deit", heads=(3,), stem_norm=True), r"no norms in the stem.*Received: stem_norm=True"),
        ("SWAT", dict(kind="deit", heads=(3,), plain_blocks=True), r'Received: plain_blocks=True, kind="deit"'),
        (
            "SWAT",
            dict(norm="batch"),
            r"\['affine', 'layer'\] or a function. Received: norm='batch'",
        ),
        ("MLPMixer", dict(patch_size=(16, 0)), r"positive integer or a pair.*Received: \(16, 0\)"),
        ("DynaMixer", dict(patch_size=(7, 14), overlap=True), r"square.*Received: \(7, 14\)"),
    ],
)
def test_wrong_values_are_named(builder, wrong, said):
    with pytest.raises(ValueError, match=said):
        getattr(keras_mlp, builder)(**wrong)


def test_dyna_mixer_keeps_the_size_where_it_says_so_with_patches_that_overlap():
    """Where the width changes and the size does not; the authors' code has no such layer."""
    stages = dict(dims=(8, 16), depths=(1, 1), heads=(2, 2), reduced_dims=(2, 2), mlp_ratios=(2, 2), patch_size=3)
    shape = dict(input_shape=(16, 16, 3), include_top=False)
    model = keras_mlp.DynaMixer(**stages, transitions=(False, False), overlap=True, **shape)
    assert model.output.shape == (None, 8, 8, 16)
    assert keras_mlp.DynaMixer(**stages, transitions=(True, False), overlap=True, **shape).output.shape[1:3] == (4, 4)
