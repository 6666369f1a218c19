"""S²-MLP and S²-MLPv2 against NumPy, for want of a reference: what the papers say, written down a second time."""

import golden
import keras
import numpy as np
import pytest
from in_numpy import Network, gelu

import keras_mlp
from keras_mlp.analysis import cost

CASES = [golden.load(f"{name}.json") for name in ("s2_mlp/tiny", "s2_mlp/tiny_affine", "s2_mlp_v2/tiny")]
V2 = CASES[-1]


def shifted(x, second=False):
    """The papers' spatial shift of a map `(height, width, channels)`: assignments to slices, all from the old map."""
    y, c = x.copy(), x.shape[-1]
    ahead, back = slice(1, None), slice(None, -1)
    quarters = [slice(i * c // 4, (i + 1) * c // 4) for i in range(4)]
    for quarter, (to, where) in zip(quarters, ((ahead, back), (back, ahead)) * 2, strict=True):
        if (quarter.start < c // 2) != second:
            y[to, :, quarter] = x[where, :, quarter]
        else:
            y[:, to, quarter] = x[:, where, quarter]
    return y


class First(Network):
    """S²-MLP, image by image, in float64."""

    def classify(self, image):
        height, width = (side // self.config["patch_size"] for side in image.shape[:2])
        x = self.norm(self.patches(image).reshape(height, width, -1), "stem_norm")
        for i in range(self.config["depth"]):
            y = gelu(self.linear(self.norm(x, f"blocks_{i}_norm1"), f"blocks_{i}_token_mixing_fc1"))
            x = x + self.linear(shifted(y), f"blocks_{i}_token_mixing_fc2")
            x = x + self.mlp(self.norm(x, f"blocks_{i}_norm2"), f"blocks_{i}_channel_mixing_fc{{}}")
        return self.linear(x.mean(axis=(0, 1)), "head")

    def norm(self, x, name):
        if self.config.get("norm") == "affine":
            return x * self.state[f"{name}/alpha"] + self.state[f"{name}/beta"]
        return super().norm(x, name)


class Second(Network):
    """S²-MLPv2, image by image, with the wide linear layer and the split attention of the paper's formulas."""

    epsilon = 1e-5

    def classify(self, image):
        height, width = (side // self.config["patch_size"] for side in image.shape[:2])
        x = self.patches(image).reshape(height, width, -1)
        first, second = self.config["depths"]
        for i in range(first):
            x = self.block(x, f"stages_0_{i}")
        pairs = x.reshape(height // 2, 2, width // 2, 2, -1).swapaxes(1, 2)
        kernel = self.state["down_1/kernel"]
        x = np.einsum("hwijc,ijcd->hwd", pairs, kernel) + self.state["down_1/bias"]
        for i in range(second):
            x = self.block(x, f"stages_2_{i}")
        return self.linear(self.norm(x, "norm").mean(axis=(0, 1)), "head")

    def block(self, x, name):
        x = x + self.linear(
            self.mix(self.norm(x, f"{name}_norm1"), f"{name}_token_mixing"), f"{name}_token_mixing_proj"
        )
        return x + self.mlp(self.norm(x, f"{name}_norm2"), f"{name}_channel_mixing_fc{{}}")

    def mix(self, x, name):
        kernel, bias = (
            np.concatenate([self.state[f"{name}_expand{i}/{part}"] for i in range(3)], axis=-1)
            for part in ("kernel", "bias")
        )
        one, two, three = np.split(x @ kernel + bias, 3, axis=-1)
        maps = np.stack([shifted(one), shifted(two, second=True), three])
        if not self.config.get("split_attention", True):
            return maps.mean(axis=0)
        pool = np.sum if self.config.get("attention_pooling") == "sum" else np.mean
        a = gelu(pool(maps.sum(axis=0), axis=(0, 1)) @ self.state[f"{name}_reweight/fc1/kernel"])
        weights = np.exp((a @ self.state[f"{name}_reweight/fc2/kernel"]).reshape(3, -1))
        return np.einsum("khwc,kc->hwc", maps, weights / weights.sum(axis=0))


REFERENCES = {"s2_mlp": First, "s2_mlp_v2": Second}


def expected(case, **config):
    return REFERENCES[case.family](case.state_dict(), case.config | config)(case.images())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_the_network_is_the_one_that_is_written_down_here(case):
    keras.config.set_dtype_policy("float64")
    answer, found = np.asarray(golden.build(case)(case.images())), expected(case)
    assert np.abs(answer - found).max() < 1e-9 * found.std()
    assert case.error(found) < 1e-7


@pytest.mark.parametrize(
    "config", [dict(attention_pooling="sum"), dict(split_attention=False)], ids=lambda config: next(iter(config))
)
def test_split_attention_may_take_the_sum_of_the_tokens_or_give_way_to_the_mean_of_the_maps(config):
    keras.config.set_dtype_policy("float64")
    builder, arguments = golden.arguments(V2)
    model = builder(**arguments | config, classes=10, classifier_activation=None)
    state = V2.state_dict()
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(state[f"{layer.name}/{weight.path.removeprefix(layer.name + '/')}"])
    answer, found = np.asarray(model(V2.images())), expected(V2, **config)
    assert np.abs(answer - found).max() < 1e-9 * found.std()
    assert V2.error(answer) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, parameters, macs",
    [
        ("s2_mlp_wide", 71e6, 14.0e9),
        ("s2_mlp_deep", 51 * 2**20, 10.5e9),
        ("s2_mlp_v2_small7", 25e6, 6.9e9),
        ("s2_mlp_v2_medium7", 55e6, 16.3e9),
        ("s2_mlp_v2_small14", 30e6, None),
    ],
)
def test_cards_tell_what_is_built_and_it_has_the_published_size(name, parameters, macs):
    measured, card = cost(keras_mlp.create_model(name, weights=None)), keras_mlp.model_card(name)
    assert (card.parameters, card.macs) == (measured.parameters, measured.macs)
    # The first paper's formula counts neither the norms nor the classifier.
    assert abs(card.parameters / parameters - 1) < 0.02
    assert macs is None or abs(card.macs / macs - 1) < 0.005
    assert "inferred" in card.note and not card.weights
    with pytest.raises(ValueError, match="no weights are published"):
        keras_mlp.create_model(name, weights="imagenet")


@pytest.mark.parametrize("builder, config", [("S2MLP", dict(dim=30)), ("S2MLPV2", dict(dims=(16, 30)))])
def test_widths_that_four_does_not_divide_are_named(builder, config):
    with pytest.raises(ValueError, match="multiples of 4. Received: 30 channels"):
        getattr(keras_mlp, builder)(**config)
