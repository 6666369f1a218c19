"""How token mixings grow with the map, which weights they share, and what the survey tells of them."""

import os
import subprocess
import sys

import keras
import pytest
from backends import BACKENDS

from keras_mlp import layers
from keras_mlp.analysis import Complexity, Row, Sharing, complexity, plot_complexity, sharing
from keras_mlp.analysis.complexity import leading, value, written
from keras_mlp.analysis.survey import SURVEY, declared, survey
from weights import tables


def test_exponents_are_those_of_the_layers_sizes():
    """Along tokens: W is (HW, HW). Along one side: (H, H). Across channels: (C, C)."""
    one = complexity(lambda x: layers.TokenDense(use_bias=False)(x))
    assert one.parameters == {(2, 2, 0): 1} and one.macs == {(2, 2, 1): 1}
    side = complexity(lambda x: layers.AxisDense("height", use_bias=False)(x))
    assert side.parameters == {(2, 0, 0): 1} and side.macs == {(2, 1, 1): 1}
    channels = complexity(lambda x: layers.Dense(x.shape[-1])(layers.CycleShift("width", 3)(x)))
    assert channels.parameters == {(0, 0, 2): 1, (0, 0, 1): 1} and channels.macs == {(1, 1, 2): 1}


def test_a_row_tells_each_thing_in_which_the_survey_and_the_code_differ():
    """Hire-MLP's row, had it been measured of ResMLP's mixing."""
    row = Row("hire_mlp", "", "", Complexity({(2, 2, 0): 1.0}, {(2, 2, 1): 1.0}), Sharing(None, 1), SURVEY["hire_mlp"])
    assert row.differences == [
        "Spatial: the survey says agnostic, the code is specific.",
        "Channel: the survey says specific, the code is agnostic.",
        "Tied to the size: the survey says no, the code yes.",
        "Parameters: the survey says C², the code has H²W².",
        "Multiply-adds: the survey says HWC², the code has H²W²C.",
    ]


def test_what_grows_as_no_polynomial_is_told():
    def doubling(x):
        return layers.Dense(x.shape[-1])(layers.Dense(2 ** (x.shape[1] // 4))(x))

    with pytest.raises(ValueError, match="must cost a polynomial of the map's sides and channels"):
        complexity(doubling)


def test_leading_terms_are_those_that_no_other_outgrows(tmp_path):
    terms = {(2, 1, 1): 1.0, (1, 2, 1): 1.0, (1, 1, 2): 3.0, (1, 1, 1): 7.0, (0, 0, 2): 0.5}
    assert set(leading(terms)) == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}
    assert written(terms) == "H²WC + HW²C + 3HWC²" and written({}) == "0"
    assert value(terms, 2, 3, 5) == 4 * 3 * 5 + 2 * 9 * 5 + 3 * 6 * 25 + 7 * 30 + 0.5 * 25
    plot_complexity({"one": complexity(lambda x: layers.PixelShift(4)(x))}, tmp_path / "lines.png")
    assert (tmp_path / "lines.png").read_bytes().startswith(b"\x89PNG")


def along_windows(windows):
    """One linear layer over the nine positions of each window."""
    return keras.layers.EinsumDense("bwnc,nm->bwmc", (None, 9, windows.shape[-1]))(windows)


@pytest.mark.parametrize(
    ("mixing", "window", "groups"),
    [
        (lambda x: layers.TokenDense()(x), None, 1),
        (lambda x: keras.layers.DepthwiseConv2D(3, padding="same")(x), 1, 24),
        (lambda x: keras.layers.AveragePooling2D(3, 1, padding="same")(x), 1, 1),
        (lambda x: layers.CycleShift("width", 3)(x), 1, 3),
        (lambda x: layers.Dense(x.shape[-1])(layers.AxialShift("width", 3)(layers.Dense(x.shape[-1])(x))), 1, 24),
        (lambda x: layers.WindowMerge(3)([along_windows(layers.WindowPartition(3)(x)), x]), 3, 1),
    ],
)
def test_what_positions_and_channels_share_is_seen_in_the_outputs(mixing, window, groups):
    found = sharing(mixing)
    assert (found.window, found.groups) == (window, groups)
    assert found.spatial == ("agnostic" if window == 1 else "specific")
    assert found.channel == {1: "agnostic", 24: "specific"}.get(groups, "group")


def test_a_mixing_that_does_not_depend_on_its_input_is_refused():
    with pytest.raises(ValueError, match="must depend on its input"):
        sharing(lambda x: x * 0)
    with pytest.raises(ValueError, match="must give a map of the same shape"):
        sharing(lambda x: layers.Dense(2)(x))


ON_ANOTHER_BACKEND = """
import keras
from keras_mlp import layers
from keras_mlp.analysis import sharing
mixings = layers.TokenDense(), keras.layers.DepthwiseConv2D(3, padding="same")
print([(found.window, found.groups) for found in (sharing(lambda x: layer(x)) for layer in mixings)])
"""


@pytest.mark.slow
@pytest.mark.huge
@pytest.mark.parametrize("backend", BACKENDS)
def test_sharing_is_seen_on_other_backends_if_these_compute_in_float64(backend):
    def run(**settings):
        environment = os.environ | {"KERAS_BACKEND": backend} | settings
        return subprocess.run(
            [sys.executable, "-c", ON_ANOTHER_BACKEND], capture_output=True, text=True, env=environment
        )

    done = run(JAX_ENABLE_X64="1")
    assert done.stdout.strip() == "[(None, 1), (1, 24)]", done.stderr
    if backend == "jax":
        assert "set JAX_ENABLE_X64=1 before Python starts" in run(JAX_ENABLE_X64="0").stderr


def test_families_of_other_names_are_refused_before_anything_is_measured():
    with pytest.raises(ValueError, match="`families` must be among mlp_mixer, .* Received: 'resnet'"):
        survey(["mlp_mixer", "resnet"])


@pytest.mark.parametrize("name", ["res_mlp", "raft_mlp", "smlp"])
def test_exponents_are_one_and_two_where_the_survey_says_so(name):
    (row,) = survey([name])
    assert set(leading(row.complexity.parameters)) == SURVEY[name].parameter_terms
    assert set(leading(row.complexity.macs)) == SURVEY[name].mac_terms
    (page,) = tables.MEASURED
    assert tables.token_mixings([row]).splitlines()[2] in (tables.ROOT / page).read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_the_page_has_every_row_of_the_survey_and_each_is_what_the_code_says():
    """`python -m weights.tables --measured` writes it."""
    assert set(SURVEY) <= set(declared())
    (page,) = tables.MEASURED
    assert tables.render(page) == (tables.ROOT / page).read_text(encoding="utf-8")
