"""What every family must do, on a small configuration of each: its golden cases named "tiny"."""

import inspect
import subprocess
import sys

import fresh
import golden
import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import BACKENDS, needs_torch

import keras_mlp
from keras_mlp import names
from keras_mlp.checkpoints import naming
from keras_mlp.layers import activations
from keras_mlp.training import depth
from keras_mlp.training.moco_v3 import pooled_features
from keras_mlp.zoo import FAMILIES

CASES = [golden.small(family) for family in sorted(FAMILIES)]
TINY = golden.tiny()
SMALL = [case.key for case in CASES]
MORE = [case for case in TINY if case.key not in SMALL]
family = pytest.mark.parametrize("case", CASES, ids=golden.family)
few = pytest.mark.parametrize("case", golden.chosen(CASES, golden.FEW, *golden.HUGE))
"""All families, but quickly only some: what takes long, and fails for one as it would for all."""


def takes(case, argument):
    """Whether the builder of a case has such an argument."""
    return argument in inspect.signature(golden.arguments(case)[0]).parameters


def no_rates(case):
    """The arguments with which a builder drops nothing in training, its head included."""
    parameters = inspect.signature(golden.arguments(case)[0]).parameters
    return {name: 0.0 for name in parameters if name.endswith("_rate")}


def run(code, *arguments, **environment):
    """Run Python in a process of its own, as a user would."""
    import os

    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("names", [golden.FEW, pytest.param(sorted(FAMILIES), marks=golden.HUGE)], ids=["few", "all"])
def test_every_family_saves_and_loads_in_a_fresh_process(names, tmp_path):
    models = ((name, (golden.build(golden.small(name)), golden.small(name).images())) for name in names)
    for family, (saved, loaded) in fresh.answers(models, tmp_path).items():
        np.testing.assert_allclose(loaded, saved, atol=1e-6, err_msg=family)


@few
def test_layers_survive_their_config(case):
    model = golden.build(case)
    for layer in model.layers:
        copy = layer.__class__.from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()
    rebuilt = keras.models.clone_model(model)
    rebuilt.set_weights(model.get_weights())
    np.testing.assert_array_equal(rebuilt(case.images()), model(case.images()))


@few
@pytest.mark.parametrize("policy, limit", [("mixed_float16", 2e-2), ("mixed_bfloat16", 2e-1)])
def test_half_precision_stays_near_and_the_output_is_float32(case, policy, limit):
    keras.config.set_dtype_policy(policy)
    model = golden.build(case)
    answer = model(case.images())
    assert answer.dtype == "float32"
    assert case.error(answer) < limit


@few
def test_dtype_argument_sets_the_policy_of_this_model_only(case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    wide = golden.build(case, dtype="float64")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert {variable.dtype for variable in wide.trainable_variables} == {"float64"}
    assert wide.output.dtype == "float64"
    assert case.error(wide(case.images())) < 1e-6


@few
def test_compiles_with_xla_and_computes_alike_in_a_batch_of_any_size(case):
    model = golden.build(case)
    images = case.images()
    compiled = tf.function(lambda x: model(x, training=False), jit_compile=True)
    together = compiled(images)
    assert case.error(together) < 1e-4
    one_by_one = np.concatenate([model(image[None]) for image in images])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5 * max(1, case.logits.std()))


@pytest.mark.parametrize("case", golden.chosen(CASES, golden.FEW, golden.SLOW))
def test_gradients_reach_every_trainable_variable(case):
    """With the case's weights; in a binary family, whose roundings may be flat for all that they get, or with fresh.

    All but those of which a family's reference says that no output depends on them.
    """
    left, unread = None, getattr(golden.REFERENCES[case.family], "UNREAD", set())
    for seed in range(4 if golden.family(case) == "bimlp" else 1):
        keras.utils.set_random_seed(seed)
        model = golden.build(case, load=not seed)
        if seed:
            model.get_layer("head").kernel.assign(golden.tensor("head", model.get_layer("head").kernel.shape))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(case.images(), training=True) ** 2)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        assert not any(gradient is None for gradient in gradients)
        flat = {v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if not np.any(g)}
        left = flat if left is None else left & flat
        if left <= unread:
            break
    assert left <= unread


@few
def test_a_training_step_lowers_the_loss(case):
    model = golden.build(case, **no_rates(case))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = getattr(golden.REFERENCES[case.family], "LEARNING_RATE", 1e-3)
    model.compile(keras.optimizers.Adam(rate), loss, run_eagerly=True)  # tracing takes longer than three steps
    images, labels = case.images(), np.arange(len(case.images()))
    losses = model.fit(images, labels, epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[1] < losses[0]


@few
def test_stochastic_depth_drops_whole_branches_in_training_only(case):
    keras.utils.set_random_seed(0)
    model = golden.build(case, drop_path_rate=0.5)
    assert case.error(model(case.images())) < 1e-4
    draws = np.stack([model(case.images(), training=True) for _ in range(4)])
    assert draws.std(axis=0).max() > 1e-2


@pytest.mark.parametrize("cases", [CASES, pytest.param(TINY, marks=golden.HUGE)], ids=["small", "all"])
def test_every_layer_with_weights_says_where_it_is_and_learns_at_the_rate_of_that_place(cases):
    for case in cases:
        model = golden.build(case, load=False)
        layers = [layer for layer in model.layers if layer.weights]
        parts = [names.parse(layer.name).part for layer in layers]
        stem, *_, top = depth.groups(model)
        assert stem == [layer for layer, part in zip(layers, parts, strict=True) if part == "stem"], case.key
        last = [layer for layer, part in zip(layers, parts, strict=True) if part in ("task", "top", "head")]
        assert top == last, case.key
        places = {names.parse(layer.name) for layer in layers}
        blocks = {place for place in places if place.part not in ("stem", "task", "top", "head")}
        assert len(depth.groups(model)) == len(blocks) + 2, case.key


@few
def test_models_on_one_input_tensor_are_joined_where_a_prefix_tells_their_layers_apart(case):
    images = keras.Input(case.images().shape[1:])
    plain, left = (golden.build(case, input_tensor=images, layer_prefix=prefix) for prefix in (None, "left"))
    for answer in keras.Model(images, [plain.output, left.output])(case.images()):
        assert case.error(answer) < 1e-4
    assert all(layer.name.startswith("left.") for layer in left.layers[1:])
    assert list(naming.named_variables(left)) == list(naming.named_variables(plain))
    assert [len(group) for group in depth.groups(left)] == [len(group) for group in depth.groups(plain)]
    assert list(keras_mlp.feature_pyramid(left).output) == list(keras_mlp.feature_pyramid(plain).output)


@few
def test_fresh_models_differ_and_a_seed_repeats_them(case):
    builder, arguments = golden.arguments(case)

    def features(seed):
        keras.utils.set_random_seed(seed)
        return np.asarray(builder(**arguments, include_top=False, pooling="avg")(case.images()))

    first = features(1)
    np.testing.assert_array_equal(features(1), first)
    assert np.abs(first - features(2)).max() > 1e-3 * min(1, np.abs(first).max())


@few
def test_features_are_a_map_in_proportion_to_the_image(case):
    builder, arguments = golden.arguments(case)
    model = builder(**arguments, include_top=False)
    batch, *frames, height, width, channels = model.output.shape
    _, *input_frames, input_height, input_width, _ = model.input.shape
    assert (batch, height * input_width, channels > 0) == (None, width * input_height, True)
    assert input_height % height == 0 and len(frames) == len(input_frames)
    axes = tuple(range(1, len(model.output.shape) - 1))
    for pooling, reduce in {"avg": np.mean, "max": np.max}.items():
        pooled = builder(**arguments, include_top=False, pooling=pooling)
        pooled.set_weights(model.get_weights())
        np.testing.assert_allclose(pooled(case.images()), reduce(model(case.images()), axis=axes), atol=1e-5)


@few
def test_checkpoints_load_at_another_input_size_as_resize_would(case):
    builder, arguments = golden.arguments(case)
    *frames, height, width, channels = arguments["input_shape"]
    larger = (*frames, 2 * height, 3 * width, channels)
    model = builder(**arguments | {"input_shape": larger}, include_top=False)
    keras_mlp.load_checkpoint(model, case.state_dict(), input_size=(height, width))
    resized = keras_mlp.resize(golden.build(case), (2 * height, 3 * width))
    images = np.random.RandomState(0).standard_normal((1, *larger))
    *_, expected = keras_mlp.feature_pyramid(resized)(images).values()  # the map that the head averages
    np.testing.assert_allclose(model(images), expected, atol=1e-4 * np.std(expected))


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    "case", [*golden.chosen(CASES, golden.FEW, *golden.HUGE), *golden.chosen(MORE, (), *golden.HUGE)]
)
def test_models_are_channels_last_whatever_the_global_format_is(case, channels_first, tmp_path):
    model = golden.build(case)
    assert keras.config.image_data_format() == "channels_first"
    assert {getattr(layer, "data_format", "channels_last") for layer in model._flatten_layers()} == {"channels_last"}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert case.error(loaded(case.images())) < 1e-4


@few
def test_features_and_fused_models_are_channels_last_whatever_the_global_format_is(case, channels_first):
    builder, arguments = golden.arguments(case)
    features = builder(**arguments | {"include_preprocessing": True}, include_top=False)
    pooled = builder(**arguments | {"include_preprocessing": True}, include_top=False, pooling="avg")
    pooled.set_weights(features.get_weights())
    pixels = np.random.RandomState(0).randint(0, 256, case.input_shape)
    expected = np.asarray(features(pixels))
    assert np.abs(keras_mlp.fuse(features)(pixels) - expected).max() < 1e-4 * expected.std()
    expected = expected.mean(axis=tuple(range(1, expected.ndim - 1)))
    for average in pooled, keras.Model(features.input, pooled_features(features)):
        np.testing.assert_allclose(average(pixels), expected, atol=1e-4 * expected.std())


@pytest.mark.parametrize(
    "case",
    golden.chosen(CASES, golden.FEW, *golden.HUGE)
    + golden.chosen([case for case in TINY if case.key not in SMALL], (), *golden.HUGE),
)
def test_exports_to_tflite_with_builtin_operators_and_the_same_output(case, tmp_path):
    from keras_mlp import export

    model = golden.build(case)
    images = case.images()
    export.to_tflite(model, tmp_path / "model.tflite")
    answer = export.Runner(tmp_path / "model.tflite")(images)
    expected = np.asarray(model(images))
    assert np.abs(answer - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("case", golden.chosen(CASES, (), *golden.HUGE))
def test_exports_to_tflite_for_batches_of_any_size(case, tmp_path):
    from keras_mlp import export

    model = golden.build(case)
    export.to_tflite(model, tmp_path / "model.tflite", batch_size=None)
    runner = export.Runner(tmp_path / "model.tflite")
    images = np.tile(case.images(), (3, *[1] * (case.images().ndim - 1)))
    for count in (1, 3):
        expected = np.asarray(model(images[:count]))
        assert np.abs(runner(images[:count]) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "case", golden.chosen([case for case in CASES if takes(case, "activation")], golden.FEW, *golden.HUGE)
)
def test_both_forms_of_gelu_can_be_asked_for(case):
    exact, tanh = (golden.build(case, activation=form, load=False) for form in activations.GELU_FORMS)
    for model in (exact, tanh):
        keras_mlp.load_checkpoint(model, case.state_dict(), keep_activation=True)
    assert case.error(exact(case.images())) < 1e-4
    assert case.error(tanh(case.images())) > 1e-5


@pytest.mark.slow
def test_no_family_has_keras_own_gelu_which_onnx_and_core_ml_cannot_have():
    for case in CASES:
        for layer in golden.build(case, load=False)._flatten_layers():
            assert getattr(layer, "activation", None) is not keras.activations.gelu, (case.key, layer.path)


# Starting a backend takes longer than its answers: a quick one, a few together, and all.
FEW = [golden.small(family) for family in ("hire_mlp", "sparse_mlp", "spach")]


@needs_torch
@pytest.mark.parametrize(
    "cases", [pytest.param(FEW, marks=golden.SLOW), pytest.param(CASES, marks=golden.HUGE)], ids=["few", "all"]
)
def test_every_family_predicts_trains_and_is_saved_on_pytorch(cases, tmp_path):
    """In one process: the reference's outputs, three steps of training, and the file, here and on TensorFlow.

    And what a recipe can ask of each variable: here only the last of two epochs moves any but the classifier's.
    """
    code = """
import sys, golden, keras, numpy as np
from keras_mlp.cards import Recipe
from keras_mlp.training import recipes
folder, *keys = sys.argv[1:]
for key in keys:
    case = golden.load(key + ".json")
    keras.utils.set_random_seed(0)
    model, images, labels = golden.build(case), case.images(), np.arange(len(case.images()))
    assert case.error(model.predict(images, verbose=0)) < 1e-4, key
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Small steps, and the best of them: dropout and the network's curvature may spoil one.
    model.compile(keras.optimizers.SGD(0.01), loss)
    first, *later = model.fit(images, labels, epochs=3, verbose=0).history["loss"]
    assert min(later) < first, (key, first, later)
    model.save(folder + "/model.keras")
    copy = keras.models.load_model(folder + "/model.keras")
    answer, loaded = (one.predict(images, verbose=0) for one in (model, copy))
    assert np.abs(loaded - answer).max() < 1e-6 * max(1, np.abs(answer).max()), key
np.save(folder + "/answer.npy", answer)
rates = dict(layer_decay=0.9, rate_factors=(("head", 0.0),), rate_delays=(("head", 0), ("*", 1)))
recipe = Recipe("a test", warmup_epochs=0, gradient_clip_factor=0.01, **rates)
model.compile(recipes.optimizer(recipe, model, steps_per_epoch=1), loss)
for epoch in range(2):
    before = {variable.path: np.array(variable) for variable in model.trainable_variables}
    model.fit(images, labels, verbose=0)
    moved = {v.path for v in model.trainable_variables if not np.array_equal(v, before[v.path])}
    assert bool(moved) == (epoch == 1) and not any(path.startswith("head/") for path in moved), moved
print(keras.backend.backend(), len(keys))
"""
    keys = [case.key for case in cases]
    printed = run(code, tmp_path, *keys, KERAS_BACKEND="torch", PYTHONPATH=str(golden.ROOT.parent))
    assert printed.split() == ["torch", str(len(keys))]
    answer = keras.models.load_model(tmp_path / "model.keras").predict(cases[-1].images(), verbose=0)
    np.testing.assert_allclose(answer, np.load(tmp_path / "answer.npy"), atol=1e-5 * answer.std())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "cases",
    [pytest.param(FEW, marks=golden.SLOW), pytest.param(TINY, marks=golden.HUGE)],
    ids=["few", "all"],
)
def test_other_backends_agree_with_tensorflow(backend, cases, tmp_path):
    """Tiny cases in float64 against the reference, and in float32 against TensorFlow to 1e-5."""
    for case in cases:
        np.save(tmp_path / f"{case.key.replace('/', '-')}.npy", golden.build(case)(case.images()))
    answer_all = """
import sys, golden, keras, numpy as np
folder, *keys = sys.argv[1:]
for key in keys:
    case = golden.load(key + ".json")
    keras.config.set_dtype_policy("float64")
    answer = golden.build(case).predict(case.images(), verbose=0)
    # On PyTorch, Keras computes means and the like in float32 whatever the policy is.
    limit = 1e-5 if keras.backend.backend() == "torch" else 1e-6
    assert answer.dtype == "float64" and case.error(answer) < limit, case.key
    keras.config.set_dtype_policy("float32")
    answer = golden.build(case).predict(case.images(), verbose=0)
    expected = np.load(folder + "/" + case.key.replace("/", "-") + ".npy")
    difference = np.abs(answer - expected).max() / expected.std()
    assert difference < 1e-5, (case.key, difference)
    print(case.key)
print(keras.backend.backend())
"""
    keys = [case.key for case in cases]
    path = str(golden.ROOT.parent)
    printed = run(answer_all, tmp_path, *keys, KERAS_BACKEND=backend, JAX_ENABLE_X64="1", PYTHONPATH=path)
    assert printed.split() == [*keys, backend]


@pytest.mark.slow
@pytest.mark.huge
def test_jax_agrees_on_a_published_variant_of_each_family():
    """The smallest full-size case of each family, in float32."""
    smallest = list(golden.smallest().values())
    answer = """
import sys, golden, keras
for key in sys.argv[1:]:
    case = golden.load(key + ".json")
    assert case.error(keras.ops.convert_to_numpy(golden.build(case)(case.images()))) < golden.limit(case), key
    print(key)
"""
    printed = run(answer, *smallest, KERAS_BACKEND="jax", PYTHONPATH=str(golden.ROOT.parent))
    assert printed.split() == smallest
