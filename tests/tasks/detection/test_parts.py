"""The parts of detectors: exact to mmdetection, alike on all backends, of static shapes."""

import pathlib

import golden
import keras
import numpy as np
import pytest

from keras_mlp.tasks import necks
from keras_mlp.tasks.detection import boxes, nms
from keras_mlp.tasks.detection.coder import LARGEST, BoxCoder
from keras_mlp.tasks.detection.matching import IGNORED, NEGATIVE, Matcher, Sampler

CASES = pathlib.Path(__file__).parent / "cases"


def load(name):
    return golden.load(CASES / f"{name}.json")


@pytest.fixture
def in_float64():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")


def assert_fields(found, case, relative=1e-6):
    """Every field of every part of a case, to some share of its largest value."""
    for mine, stored in zip(found["cases"], case.cases, strict=True):
        assert set(mine) == set(stored)
        for key, value in stored.items():
            levels = zip(mine[key], value, strict=True) if "anchors" in key else [(mine[key], value)]
            for have, want in levels:
                if want and isinstance(want, list) and np.asarray(want).dtype.kind == "f":
                    np.testing.assert_allclose(have, want, rtol=0, atol=relative * np.abs(want).max(), err_msg=key)
                else:
                    assert have == want, key


@pytest.mark.parametrize("name", ["anchors", "box_coder", "nms", "box_assigners"])
def test_parts_compute_what_mmdetection_does(name, in_float64):
    assert_fields(golden.compute(load(name)), load(name))


def test_suppression_keeps_the_same_boxes_in_float32():
    assert_fields(golden.compute(load("nms")), load("nms"))


@pytest.mark.parametrize("name", ["fpn_neck_rcnn_tiny", "fpn_neck_retina_tiny"])
def test_feature_pyramids_compute_like_mmdetections(name, in_float64):
    case = load(name)
    assert case.error(golden.compute(case)["logits"]) < 1e-6


def test_a_pyramid_of_fewer_levels_than_maps_is_refused():
    maps = [keras.Input((8, 8, 3)), keras.Input((4, 4, 3))]
    for options in ({"levels": 1}, {"extra": "on_lateral"}):
        with pytest.raises(ValueError, match="`levels` must be at least 2.*`extra` one of pool, on_input, on_output"):
            necks.feature_pyramid_network(maps, 4, **options)


def random_boxes(seed, *shape, size=60):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(1, size / 2, (*shape, 2))], -1).astype("float32")


def test_what_is_encoded_is_decoded_as_the_same_box():
    start, end = random_boxes(0, 2, 30), random_boxes(1, 2, 30)
    coder = BoxCoder((0.1, 0.1, 0.2, 0.2))
    np.testing.assert_allclose(coder.decode(start, coder.encode(start, end)), end, atol=1e-3)
    far = np.full((1, 1, 4), 1e4, "float32")
    sides = boxes.sides(BoxCoder().decode(start[:1, :1], far))
    np.testing.assert_allclose(sides, boxes.sides(start[:1, :1]) * np.exp(LARGEST), rtol=1e-4)
    assert np.isfinite(coder.encode(start, np.zeros_like(start))).all()  # padding


def greedy(where, scores, labels, count, threshold):
    """Suppression by its definition, in NumPy."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] <= 0 or len(kept) == count:
            break
        rivals = [k for k in kept if labels is None or labels[k] == labels[i]]
        if all(float(boxes.iou(where[i], where[k])) <= threshold for k in rivals):
            kept.append(i)
    return kept + [-1] * (count - len(kept))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("labelled", [True, False])
def test_suppression_is_greedy_by_operator_by_loop_and_compiled(batch, labelled, monkeypatch):
    where, rng = random_boxes(2, batch, 40), np.random.default_rng(3)
    scores = rng.uniform(-0.2, 1, (batch, 40)).astype("float32")
    labels = rng.integers(0, 3, (batch, 40)) if labelled else None
    expected = [greedy(where[i], scores[i], None if labels is None else labels[i], 12, 0.4) for i in range(batch)]
    np.testing.assert_array_equal(nms.suppress(where, scores, 12, 0.4, labels), expected)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        given = tf.constant(where), tf.constant(scores)
        compiled = tf.function(lambda: nms.suppress(*given, 12, 0.4, labels), jit_compile=True)
        np.testing.assert_array_equal(compiled(), expected)
    monkeypatch.setattr(nms, "_by_operator", nms._by_loop)
    np.testing.assert_array_equal(nms.suppress(where, scores, 12, 0.4, labels), expected)


def test_a_box_that_none_overlaps_enough_takes_its_best_candidates():
    candidates = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], "float32")
    truth = np.array([[[0, 0, 10, 3], [80, 80, 90, 90], [0, 0, 0, 0]]], "float32")
    labels = np.array([[1, 0, -1]])
    found = Matcher(0.5, 0.4, 0.0)(candidates, truth, labels)
    np.testing.assert_array_equal(found, [[0, 0, NEGATIVE]])
    found = Matcher(0.5, 0.2, None)(candidates, truth, labels)
    np.testing.assert_array_equal(found, [[IGNORED, IGNORED, NEGATIVE]])
    with pytest.raises(ValueError, match="`negative` must be at most `positive`"):
        Matcher(0.3, 0.4)


def test_samples_have_their_share_of_positives_and_never_more_than_there_are():
    matches = np.full((3, 50), NEGATIVE)
    matches[0, :20], matches[1, :2], matches[2, :45] = 7, 3, IGNORED
    for seed in (None, keras.random.SeedGenerator(0)):
        indices, found = map(np.asarray, Sampler(12, 0.25)(matches, seed))
        assert (found >= 0).sum(1).tolist() == [3, 2, 0]
        assert (found == NEGATIVE).sum(1).tolist() == [9, 10, 5]
        drawn = found != IGNORED
        np.testing.assert_array_equal(np.where(drawn, np.take_along_axis(matches, indices, 1), IGNORED), found)
        for row, there in zip(indices, drawn, strict=True):
            assert len(set(row[there])) == there.sum()
    generator = keras.random.SeedGenerator(0)
    draws = [np.asarray(Sampler(12, 0.25)(matches, generator)[0]) for _ in range(2)]
    assert (draws[0] != draws[1]).any()
    everything = np.asarray(Sampler(10**6, 1.0)(matches)[1])
    assert [(everything[0] == kind).sum() for kind in (7, NEGATIVE)] == [20, 30]
