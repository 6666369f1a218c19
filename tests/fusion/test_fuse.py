"""What `keras_mlp.fuse` promises: the same answers, from fewer operations, by an ordinary model."""

import fresh
import golden
import keras
import numpy as np
import pytest
from keras import layers

import keras_mlp
from keras_mlp import export
from keras_mlp.families.lit import DeformableMerging
from keras_mlp.layers import (
    Affine,
    LayerScale,
    PatchEmbedding,
    PixelShift,
    RelativeAttention,
    SelfAttention,
    TokenDense,
)
from keras_mlp.zoo import FAMILIES

SMALL = [golden.small(family) for family in sorted(FAMILIES)]
OTHERS = [case for case in golden.tiny() if case.key not in {small.key for small in SMALL}]
# Between them, these are changed in every way that there is.
QUICK = ("hire_mlp", "raft_mlp", "repmlpnet", "res_mlp")
family = pytest.mark.parametrize("case", golden.chosen(SMALL, QUICK, *golden.HUGE))


@pytest.fixture(autouse=True)
def exact(clean_policy):
    """In float64, unless a test chooses otherwise."""
    keras.config.set_dtype_policy("float64")


def difference(model, other, images):
    """Largest difference of two answers, in standard deviations of the first."""
    ours, theirs = (np.asarray(m(images), np.float64) for m in (model, other))
    return np.abs(ours - theirs).max() / ours.std()


@pytest.mark.parametrize(
    "case", golden.chosen(SMALL, (*QUICK, *golden.FEW), *golden.HUGE) + golden.chosen(OTHERS, (), *golden.HUGE)
)
def test_computes_alike_and_fusing_twice_changes_nothing(case):
    model = golden.build(case)
    fused, report = keras_mlp.fuse(model, report=True)
    assert report.merges
    assert difference(model, fused, case.images()) < 1e-9
    assert report.macs_after <= report.macs_before
    again, second = keras_mlp.fuse(fused, report=True)
    assert second.merges == () and second.parameters_after == report.parameters_after
    np.testing.assert_array_equal(again(case.images()), fused(case.images()))


# What merges with what, on the smallest networks that show it.


def randomised(*outputs, **inputs):
    """A model of random weights, positive where they are variances."""
    model = keras.Model(*inputs.values(), *outputs)
    draw = np.random.default_rng(0)
    for weight in model.weights:
        values = draw.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.path.endswith("variance") else values)
    return model


def network(shape, *stack):
    """A model of random weights: `stack` from an input of `shape`."""
    x = source = keras.Input(shape, dtype="float64")
    for layer in stack:
        x = layer(x)
    return randomised(x, source=source)


def images(model, count=2):
    return np.random.default_rng(1).normal(size=(count, *(side or 9 for side in model.inputs[0].shape[1:])))


def kinds(model):
    return [type(layer).__name__ for layer in model.layers if not isinstance(layer, layers.InputLayer)]


LINEAR = {
    "Dense": lambda: layers.Dense(6, use_bias=False),
    "Conv1D": lambda: layers.Conv1D(6, 3),
    "Conv2D": lambda: layers.Conv2D(6, 3, strides=2),
    "Conv2D in groups": lambda: layers.Conv2D(6, 3, groups=2, use_bias=False),
    "Conv3D": lambda: layers.Conv3D(6, 2),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False),
    "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(3),
    "PatchEmbedding": lambda: PatchEmbedding(6, 2, use_bias=False),
    "RelativeAttention": lambda: RelativeAttention(2),
    "SelfAttention": lambda: SelfAttention(2, qkv_bias=False),
}
AFFINE = {
    "BatchNormalization": layers.BatchNormalization,
    "BatchNormalization without scale": lambda: layers.BatchNormalization(scale=False),
    "Affine": Affine,
    "LayerScale": lambda: LayerScale(0.1),
    "Rescaling": lambda: layers.Rescaling([0.5, 2, -1, 3], [1, -2, 0, 1]),
}


def rank(name):
    return {"Conv1D": 1, "DepthwiseConv1D": 1, "Conv3D": 3}.get(name, 2)


@pytest.mark.parametrize("linear", LINEAR)
@pytest.mark.parametrize("affine", AFFINE)
def test_a_scale_goes_into_the_linear_map_after_it(linear, affine):
    model = network((8,) * rank(linear) + (4,), AFFINE[affine](), LINEAR[linear]())
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model)[1:]
    assert difference(model, fused, images(model)) < 1e-9


@pytest.mark.parametrize("linear", LINEAR)
@pytest.mark.parametrize("affine", ["BatchNormalization", "Affine", "LayerScale"])
def test_a_scale_goes_into_the_linear_map_before_it(linear, affine):
    model = network((8,) * rank(linear) + (4,), LINEAR[linear](), AFFINE[affine](), layers.ReLU())
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == [kinds(model)[0], "ReLU"]
    assert difference(model, fused, images(model)) < 1e-9


@pytest.mark.parametrize("norm", [layers.LayerNormalization, lambda: layers.GroupNormalization(1)])
def test_norms_lose_their_scale_and_shift_to_the_linear_map_after_them(norm):
    model = network((5, 5, 4), norm(), layers.Dense(3))
    fused, report = keras_mlp.fuse(model, report=True)
    assert not fused.layers[1].weights
    assert report.parameters_before - report.parameters_after == 2 * 4
    assert difference(model, fused, images(model)) < 1e-9


def test_the_last_norm_goes_through_the_average_into_the_classifier():
    model = network((5, 5, 4), layers.BatchNormalization(), layers.GlobalAveragePooling2D(), layers.Dense(3))
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == ["GlobalAveragePooling2D", "Dense"]
    assert difference(model, fused, images(model)) < 1e-9


@pytest.mark.parametrize("padding", ["same", "a layer", "a shift of the map", "a deformable merging"])
def test_a_shift_does_not_pass_zeros_at_a_border(padding):
    convolution = {
        "same": [layers.Conv2D(3, 3, padding="same")],
        "a layer": [layers.ZeroPadding2D(1), layers.Conv2D(3, 3)],
        "a shift of the map": [PixelShift(4), layers.Conv2D(3, 1)],
        "a deformable merging": [DeformableMerging(3)],
    }[padding]
    model = network((5, 5, 4), layers.BatchNormalization(center=False), *convolution)
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model)
    assert difference(model, fused, images(model)) < 1e-9
    model.layers[1].moving_mean.assign(np.zeros(4))  # nothing is shifted now
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model)[1:]
    assert difference(model, fused, images(model)) < 1e-9


def test_a_shift_that_keeps_its_border_carries_what_is_added():
    model = network((5, 5, 4), layers.BatchNormalization(), PixelShift(4, border="replicate"), layers.Conv2D(3, 1))
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model)[1:]
    assert difference(model, fused, images(model)) < 1e-9


def test_all_that_read_a_norm_take_it_up_or_none():
    def read_by(last):
        source = keras.Input((5, 5, 4), dtype="float64")
        x = layers.BatchNormalization()(source)
        y = layers.Concatenate()([layers.Dense(3)(x), layers.Conv2D(2, 3, padding="same", activation="relu")(last(x))])
        return randomised(y, source=source)

    for last, gone in ((layers.MaxPooling2D(1), False), (layers.Conv2D(4, 1), True)):
        model = read_by(last)
        fused = keras_mlp.fuse(model)
        assert ("BatchNormalization" not in kinds(fused)) == gone
        assert difference(model, fused, images(model)) < 1e-9


def test_norms_that_are_called_as_in_training_stay():
    source = keras.Input((4,))
    x = layers.BatchNormalization()(layers.Dense(4)(source), training=True)
    model = randomised(layers.Dropout(0.5)(x, training=True), source=source)
    assert kinds(keras_mlp.fuse(model)) == kinds(model)


def test_pixels_that_are_bytes_stay_scaled():
    source = keras.Input((4,), dtype="uint8")
    model = randomised(layers.Dense(3)(layers.Rescaling(1 / 255)(source)), source=source)
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model)
    assert difference(model, fused, np.arange(8, dtype="uint8").reshape(2, 4)) == 0


def test_scales_around_a_linear_layer_across_the_positions_stay():
    """As one they would be a number for each channel and position."""
    model = network((3, 2, 4), Affine(), TokenDense(), LayerScale(0.1))
    fused, report = keras_mlp.fuse(model, report=True)
    assert kinds(fused) == kinds(model) and report.merges == ()


def test_what_the_model_computes_stays():
    model = network((5, 5, 4), layers.LayerNormalization())
    fused, report = keras_mlp.fuse(model, report=True)
    assert report.merges == () and difference(model, fused, images(model)) == 0


@pytest.mark.parametrize("alike", [True, False])
def test_the_average_of_linear_maps_of_one_tensor_is_one(alike):
    source = keras.Input((5,), dtype="float64")
    other = source if alike else layers.ReLU()(source)
    maps = [layers.Dense(3, use_bias=False)(source), layers.Dense(3)(source), layers.Dense(3)(other)]
    model = randomised(layers.Softmax()(layers.Average()(maps)), source=source)
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == (["Dense", "Softmax"] if alike else kinds(model))
    assert difference(model, fused, images(model)) < 1e-9


def test_an_activation_stands_between():
    model = network((4,), layers.Dense(4, activation="gelu"), layers.BatchNormalization(), layers.ReLU())
    assert kinds(keras_mlp.fuse(model)) == kinds(model)


def test_a_layer_called_twice_stays():
    shared = layers.Dense(4)
    model = network((4,), layers.BatchNormalization(), shared, layers.ReLU(), shared)
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model) and fused.count_params() == model.count_params()
    assert difference(model, fused, images(model)) < 1e-9


def test_dropout_is_dropped():
    model = network((4,), layers.Dense(4), layers.Dropout(0.5), layers.BatchNormalization())
    fused, report = keras_mlp.fuse(model, report=True)
    assert kinds(fused) == ["Dense"]
    assert [merge.how for merge in report.merges] == ["dropped", "scale and shift"]


def test_convolutions_of_several_sizes_and_the_identity_beside_them_are_one():
    source = keras.Input((6, 6, 4), dtype="float64")
    branches = [layers.BatchNormalization()(layers.Conv2D(4, k, padding="same", groups=2)(source)) for k in (1, 3, 5)]
    model = randomised(layers.ReLU()(layers.Add()([*branches, source])), source=source)
    fused, report = keras_mlp.fuse(model, report=True)
    assert kinds(fused) == ["Conv2D", "ReLU"] and fused.layers[1].kernel_size == (5, 5)
    assert difference(model, fused, images(model)) < 1e-9
    assert sum(merge.how == "parallel branch" for merge in report.merges) == 3
    assert report.macs_after < report.macs_before


@pytest.mark.parametrize("strides, merged", [(1, True), (2, False)])
def test_windows_are_centred_on_each_other_only_where_they_stand_alike(strides, merged):
    source = keras.Input((6, 6, 4), dtype="float64")
    branches = [layers.Conv2D(4, k, strides, padding="same")(source) for k in (1, 3)]
    model = randomised(layers.Add()(branches), source=source)
    fused = keras_mlp.fuse(model)
    assert ("Add" not in kinds(fused)) == merged
    assert difference(model, fused, images(model)) < 1e-9


@pytest.mark.parametrize("hidden, merged", [(32, True), (2, False)])
def test_layers_that_follow_each_other_are_merged_if_that_is_less_work(hidden, merged):
    stack = layers.Conv2D(hidden, 2, use_bias=False), layers.Dense(5, activation="relu")
    model = network((4, 4, 6), *stack)
    fused, report = keras_mlp.fuse(model, report=True)
    assert kinds(fused) == (["Conv2D"] if merged else ["Conv2D", "Dense"])
    assert difference(model, fused, images(model)) < 1e-9
    assert (report.macs_after < report.macs_before) == merged


def test_models_inside_the_model_are_fused_and_sequential_ones_are_functional():
    inner = keras.Sequential([keras.Input((4,), dtype="float64"), layers.Dense(4), layers.BatchNormalization()])
    model = network((4,), inner, layers.Dense(2))
    fused = keras_mlp.fuse(model)
    assert kinds(fused.layers[1]) == ["Dense"]
    assert difference(model, fused, images(model)) < 1e-9
    assert difference(inner, keras_mlp.fuse(inner), images(inner)) < 1e-9


@keras.saving.register_keras_serializable(package="test")
class SquaredDense(layers.Dense):
    def call(self, x, training=None):
        return super().call(x, training=training) ** 2


def test_layers_that_do_not_speak_up_are_left_alone():
    model = network((4,), SquaredDense(4), layers.BatchNormalization(), Cumulated(), layers.Dense(2))
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model)
    assert difference(model, fused, images(model)) < 1e-9


class Cumulated(layers.Layer):
    def call(self, x):
        return keras.ops.cumsum(x, axis=-1)


def test_quantised_layers_are_left_alone():
    keras.config.set_dtype_policy("float32")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense"), layers.BatchNormalization()])
    model.layers[1].moving_mean.assign([1, 2, 3, 4])
    model.layers[0].quantize("int8")
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == kinds(model)
    assert difference(model, fused, images(model)) < 1e-6


def test_adapters_become_part_of_the_weights_that_they_adapt():
    keras.utils.set_random_seed(0)  # with some weights ReLU gives nothing but zeros
    model = network((4,), layers.Dense(4), layers.BatchNormalization(), layers.Dense(3, use_bias=False), layers.ReLU())
    for layer in model.layers[1:4:2]:
        layer.enable_lora(2, lora_alpha=3)
        layer.lora_kernel_b.assign(np.random.default_rng(0).normal(size=layer.lora_kernel_b.shape))
    fused = keras_mlp.fuse(model)
    assert kinds(fused) == ["Dense", "ReLU"] and not any("lora" in weight.path for weight in fused.weights)
    assert difference(model, fused, images(model)) < 1e-6  # the factors are in float32


# Families: what disappears.


def test_lit_has_no_batch_norm_left():
    """Those after its mergings are in them."""
    fused = keras_mlp.fuse(golden.build(golden.load("lit/tiny.json")))
    assert "BatchNormalization" not in kinds(fused)


def test_hire_mlp_has_no_batch_norm_left():
    fused = keras_mlp.fuse(golden.build(golden.load("hire_mlp/tiny.json")))
    assert "BatchNormalization" not in kinds(fused)


def test_repmlpnet_is_in_deploy_form():
    case = golden.load("repmlpnet/tiny.json")
    fused, report = keras_mlp.fuse(golden.build(case), report=True)
    assert "LocalPerceptron" not in kinds(fused)
    assert report.macs_after == golden.load("repmlpnet/tiny_deploy.json").macs
    assert case.error(fused(case.images())) < 1e-4


def test_raft_mlp_embeds_patches_by_one_convolution_and_swat_has_none_in_its_attention():
    for key in ("raft_mlp/tiny_cross_raft2", "swat/tiny_deit"):
        _, report = keras_mlp.fuse(golden.build(golden.load(f"{key}.json")), report=True)
        assert report.macs_after < report.macs_before


def test_preprocessing_goes_into_a_stem_without_padding():
    shape = (32, 32, 3)
    model = keras_mlp.MLPMixer(16, 8, 1, input_shape=shape)
    fused = keras_mlp.fuse(model)
    assert "preprocessing" in [layer.name for layer in model.layers]
    assert "preprocessing" not in [layer.name for layer in fused.layers]
    pixels = 255 * np.random.default_rng(0).random((2, *shape))
    np.testing.assert_allclose(fused(pixels), model(pixels), rtol=1e-9)


# The fused model is an ordinary one.


@pytest.mark.parametrize("names", [QUICK, pytest.param(sorted(FAMILIES), marks=golden.HUGE)], ids=["few", "all"])
def test_save_and_load_in_a_fresh_process(names, tmp_path):
    cases = map(golden.small, names)
    models = ((golden.family(case), (keras_mlp.fuse(golden.build(case)), case.images())) for case in cases)
    for name, (saved, loaded) in fresh.answers(models, tmp_path).items():
        np.testing.assert_allclose(loaded, saved, atol=1e-6, err_msg=name)


@family
def test_half_precision_stays_near(case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = golden.build(case)
    keras.config.set_dtype_policy("float32")
    fused = keras_mlp.fuse(model)
    policies = {layer.name: layer.dtype_policy.name for layer in model.layers}
    for layer in fused.layers[1:]:
        assert layer.dtype_policy.name == policies.get(layer.name, "mixed_bfloat16"), layer.name
    answer = fused(case.images())
    assert answer.dtype == "float32" and case.error(answer) < 2e-1


def test_preprocessing_stays_in_full_precision():
    model = keras_mlp.MLPMixer(16, 8, 1, input_shape=(32, 32, 3), dtype="mixed_float16")
    assert keras_mlp.fuse(model).get_layer("preprocessing").compute_dtype == "float32"


def test_the_original_is_left_as_it_was():
    case = golden.load("hire_mlp/tiny.json")
    model = golden.build(case)
    config, weights = model.get_config(), model.get_weights()
    fused = keras_mlp.fuse(model)
    for weight in fused.weights:
        weight.assign(keras.ops.zeros_like(weight))
    assert model.get_config() == config
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_exports_to_tflite(tmp_path):
    keras.config.set_dtype_policy("float32")
    case = golden.load("res_mlp/tiny.json")
    fused = keras_mlp.fuse(golden.build(case))
    exported = export.to_tflite(fused, tmp_path / "model.tflite", verify_with=case.images())
    assert exported.verification.max_difference < 1e-4


def test_images_of_any_size():
    case = golden.load("hire_mlp/tiny.json")
    builder, arguments = golden.arguments(case)
    model = builder(**arguments | {"input_shape": (None, None, 3)}, include_top=False)
    fused, report = keras_mlp.fuse(model, report=True)
    assert fused.input.shape == model.input.shape and report.macs_before is None
    for size in ((64, 64), (96, 64)):
        pixels = golden.image((1, *size, 3))
        np.testing.assert_allclose(fused(pixels), model(pixels), atol=1e-4)


def test_resizes_as_the_original_does():
    case = golden.load("res_mlp/tiny.json")
    model = golden.build(case)
    size = tuple(2 * side for side in case.input_shape[1:3])
    pixels = golden.image((2, *size, 3))
    resized = keras_mlp.resize(model, size)
    assert difference(resized, keras_mlp.resize(keras_mlp.fuse(model), size), pixels) < 1e-4


@pytest.mark.parametrize("key", ["wave_mlp/tiny", "raft_mlp/tiny_cross_raft2", "repmlpnet/tiny"])
def test_pyramids_are_fused_level_by_level(key):
    case = golden.load(f"{key}.json")
    pyramid = keras_mlp.feature_pyramid(golden.build(case))
    fused = keras_mlp.fuse(pyramid)
    levels = fused(case.images())
    for name, level in pyramid(case.images()).items():
        np.testing.assert_allclose(levels[name], level, atol=1e-3 * np.std(level))
    # After fusion the levels are still found; only the last norm is in the classifier.
    of_fused = keras_mlp.feature_pyramid(keras_mlp.fuse(golden.build(case))).output
    assert {name: tensor.shape for name, tensor in of_fused.items()} == {
        name: tensor.shape for name, tensor in pyramid.output.items()
    }


def test_a_compiled_model_is_warned_of_and_others_are_refused():
    model = network((4,), layers.Dense(4), layers.BatchNormalization())
    model.compile("adam", "mse")
    with pytest.warns(UserWarning, match="is compiled"):
        assert not keras_mlp.fuse(model).compiled

    class Subclassed(keras.Model):
        def call(self, x):
            return x

    for other in (Subclassed(), "hire_mlp_tiny"):
        with pytest.raises(ValueError, match="functional"):
            keras_mlp.fuse(other)


def test_the_report_is_readable():
    model = network((4,), layers.Dense(4, name="fc"), layers.BatchNormalization(name="norm"))
    _, report = keras_mlp.fuse(model, report=True)
    assert str(report) == "\n".join(
        [
            "norm: scale and shift, into fc",
            "parameters: 36 before, 20 after",
            "multiply-adds: 16 before, 16 after",
        ]
    )
