"""Keras' own tests of `keras.applications`, on a builder of every family of images.

    python tests/keras_applications.py KERAS/keras/src/applications/applications_test.py [FAMILY …]

The file is Keras' own, from a checkout of the version that is installed: it is no part of its wheel, and nothing is
fetched. Its list of models is replaced by ours, the cheapest published variant of each family with the width of its
map as the variant declares it. Everything else runs as it is, in `channels_last`, but what `DEVIATIONS` says. A test
that fails for another reason is an error.
"""

import ast
import pathlib
import sys
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


from keras_mlp.zoo import FAMILIES  # noqa: E402

GRID = {"custom_input_shape", "custom_input_tensor", "variable_input_channels"}
DEVIATIONS = {
    "channels_first": (
        "Models are channels last whatever Keras' global format is, so that one file of weights serves both. The file "
        "has a list of models without that format, MODELS_UNSUPPORTED_CHANNELS_FIRST, and ours are in it."
    ),
    "variable_input_channels": (
        "It builds for images of an unknown height and width. A model with weights for each position has no such form, "
        "and refuses it with a ValueError that says so."
    ),
    "custom_input_shape": (
        "123 pixels are no multiple of most patches. Models that cut off what is left over, as Keras' do, would answer "
        "for a part of the image; ours refuse it with a ValueError that names the multiple."
    ),
    "custom_input_tensor": "The same: the tensor is 99 pixels wide and high.",
    "application_base": (
        "It downloads weights and a photo. Published weights are checked against the reference in `tests/checkpoints`. "
        "What it asks beside them, that the model is made anew from its configuration, is asked here."
    ),
}
WIDTHS = {"conv_mlp": 512}
"""Widths of maps that no `dims` or `dim` declares as such."""


def main(path, *families):
    families = families or [name for name, family in FAMILIES.items() if family.input == "image"]
    models = [_row(FAMILIES[name]) for name in families]
    suite = _suite(pathlib.Path(path).read_text(encoding="utf-8"), models)
    result = unittest.TextTestRunner(verbosity=2, resultclass=_Result).run(suite)
    failed = {test.id().rpartition(".")[2]: text for test, text in result.failures + result.errors}
    wrong = {name: text for name, text in failed.items() if not _is_refusal(name, text)}
    for name, text in wrong.items():
        print(f"{name}\n{text}")
    refused = sorted(set(failed) - set(wrong))
    print(f"{result.testsRun} tests of {len(models)} families: {len(result.skipped)} skipped, {len(refused)} refused")
    print(*refused, sep="\n")
    return bool(wrong)


def _row(family):
    """A row of Keras' MODEL_LIST: builder, width of its map, module."""
    variant = min(family.variants.values(), key=lambda variant: variant.macs)
    arguments = {parameter.name: parameter.default for parameter in family.architecture} | variant.config
    width = WIDTHS.get(family.name) or (arguments["dims"][-1] if "dims" in arguments else _width(family, variant))
    return family.builders[variant.name], width, types.ModuleType(family.name)


def _width(family, variant):
    """The width of the map where no `dims` declare it: what the classifier, or the projection before it, reads."""
    model = family.builders[variant.name](weights=None)
    names = [layer.name for layer in model.layers]
    first = "head_projection" if "head_projection" in names else "head"
    return model.get_layer(first).input.shape[-1]


def _suite(source, models):
    """Keras' cases with `models` in place of its own, without `test_application_base`."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        targets = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
        if "MODEL_LIST" in targets:
            node.value = ast.Name("OURS", ast.Load())
        if "MODELS_UNSUPPORTED_CHANNELS_FIRST" in targets:
            node.value = ast.parse(repr([build.__name__ for build, _, _ in models]), mode="eval").body
    module = {"__name__": "applications_test", "OURS": models}
    exec(compile(ast.fix_missing_locations(tree), "applications_test.py", "exec"), module)
    cases = module["ApplicationsTest"]
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(cases)
    kept = [test for test in suite if "test_application_base" not in test.id() and "channels_first" not in test.id()]
    return unittest.TestSuite([*kept, *(_Reconstructed(build) for build, _, _ in models)])


class _Reconstructed(unittest.TestCase):
    """What `test_application_base` asks beside published weights."""

    def __init__(self, build):
        super().__init__("test")
        self.build = build

    def id(self):
        return f"reconstructed_{self.build.__name__}"

    def test(self):
        from keras.saving import deserialize_keras_object, serialize_keras_object

        model = self.build(weights=None)
        again = deserialize_keras_object(serialize_keras_object(model))
        self.assertEqual(len(model.weights), len(again.weights))


class _Result(unittest.TextTestResult):
    """Names each test as it runs. `main` prints what went wrong: a refusal did not."""

    def printErrors(self):
        pass


def _is_refusal(name, text):
    """Whether a test failed because a model refuses a size, as `DEVIATIONS` says that it may."""
    return any(part in name for part in GRID) and "ValueError: " in text and "Received: " in text


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
