"""Models looked into from the command line."""

import csv
import json
import re

import keras
import pytest

import keras_mlp


@pytest.fixture
def saved(tmp_path):
    """Two small models of photographs in files."""
    keras.utils.set_random_seed(0)
    options = dict(input_shape=(32, 48, 3), classes=3)
    paths = [str(tmp_path / name) for name in ("mixer.keras", "shifts.keras")]
    keras_mlp.MLPMixer(patch_size=8, dim=8, depth=2, **options).save(paths[0])
    keras_mlp.ASMLP(patch_size=4, dim=6, depths=(1, 1), shift_size=3, **options).save(paths[1])
    return paths


def test_every_analysis_writes_a_picture_and_its_numbers(command, saved, tmp_path):
    out = tmp_path / "out"

    def analyze(what, *words):
        done = command("analyze", what, *words, f"--output={out}", "--count=4")
        assert done.code == 0, done.err
        assert json.loads((out / f"{what}.json").read_text()) == done.rows
        return done.rows

    fields = analyze("receptive_field", *saved)
    assert [(row["block"], row["shape"]) for row in fields if row["model"] == saved[0]] == [
        ("blocks_0", "whole image"),
        ("blocks_1", "whole image"),
        ("norm", "whole image"),
    ]
    assert next(row for row in fields if row["model"] == saved[1])["shape"] == "cross"
    (effective,) = analyze("effective_field", saved[1], "--layer=stages_0_0")
    assert 0 < effective["50 % of area"] <= effective["99 % of area"] <= 1
    alike = analyze("similarity", *saved)
    assert {row["block"] for row in alike} == {"stem", "blocks_0", "blocks_1", "norm"}
    steps = analyze("robustness", saved[0])
    assert steps[0]["agreement"] == 1 and len(steps) == 31 and steps[0]["accuracy"] is None
    heats = analyze("attribution", saved[0])
    assert len(heats) == 4 and len({row["picture"] for row in heats}) == 4
    (drawn,) = analyze("mixing", saved[0])
    sizes = analyze("resolution", saved[0], "--images=photos", "--sizes=16,64")
    assert [(row["height"], row["way"]) for row in sizes[:3]] == [
        (32, "own size"),
        (16, "weights resampled"),
        (16, "maps resized"),
    ]
    assert len(sizes) == 7 and sizes[0]["agreement"] == 1 and sizes[0]["accuracy"] is None
    pictures = {
        "resolution.png",
        "receptive_field.png",
        "effective_field.png",
        "similarity.png",
        "robustness.png",
        drawn["picture"],
    }
    written = {path.name for path in out.glob("*.png")}
    assert written == pictures | {row["picture"] for row in heats}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in written)


def test_models_of_one_name_have_a_picture_each(command, saved, tmp_path):
    other = tmp_path / "other" / "mixer.keras"
    other.parent.mkdir()
    keras.saving.load_model(saved[0]).save(other)
    done = command("analyze", "mixing", saved[0], str(other), "--count=1", f"--output={tmp_path / 'out'}")
    assert [row["picture"] for row in done.rows] == ["mixing_mixer.png", "mixing_mixer_2.png"]
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {row["picture"] for row in done.rows}


def test_models_of_videos_look_at_a_clip_to_draw_their_attention(command, tmp_path):
    path = str(tmp_path / "clips.keras")
    options = dict(dims=(8, 16), depths=(1, 1), heads=(1, 2), strides=(1, 2), key_stride=2, classes=3)
    keras_mlp.MViTVideo(**options, input_shape=(4, 32, 32, 3)).save(path)
    done = command("analyze", "mixing", path, f"--output={tmp_path}")
    assert done.code == 0, done.err
    assert (tmp_path / done.rows[0]["picture"]).read_bytes().startswith(b"\x89PNG")
    refused = command("analyze", "attribution", path, f"--output={tmp_path}")
    assert refused.code == 1 and "takes videos, and this command reads data sets and folders of images" in refused.err


def test_images_of_other_classes_are_refused_with_what_to_do(command, saved, tmp_path):
    done = command("analyze", "resolution", saved[0], f"--output={tmp_path}")
    assert done.code == 1 and "tells 3 classes apart, and digits has 10. Name images of its classes" in done.err


def test_other_sizes_are_measured_of_models_that_mix_a_sequence(command, tmp_path):
    path = str(tmp_path / "model.keras")
    keras_mlp.FeedForward(patch_size=8, dim=8, depth=1, input_shape=(32, 32, 3), classes=3).save(path)
    done = command("analyze", "resolution", path, "--images=photos", "--sizes=48", "--count=2", f"--output={tmp_path}")
    assert [row["way"] for row in done.rows] == ["own size", "weights resampled", "image resized"]
    assert "no maps are resized. Layer 'blocks_0_token_mixing' mixes the positions of a sequence" in done.err


def test_costs_are_drawn_against_scores_in_one_file_that_needs_no_network(command, tmp_path):
    done = command("analyze", "costs", "mlp_mixer_b16", "conv*", f"--output={tmp_path}")
    assert done.code == 0, done.err
    mixer = [row for row in done.rows if row["name"] == "mlp_mixer_b16"]
    assert {row["training"]: row["score"] for row in mixer}["ImageNet-1k"] == 76.616
    assert mixer[0]["parameters"] == pytest.approx(59.88, abs=0.01) and mixer[0]["macs"] == pytest.approx(12.6, abs=0.1)
    assert {row["family"] for row in done.rows} >= {"MLP-Mixer", "ConvNeXt", "ConvMixer", "ConvMLP"}
    page = (tmp_path / "costs.html").read_text(encoding="utf-8")
    assert "Mixer-B\\u002f16" in page and "Plotly.newPlot" in page
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.https?:", page), "it needs no network"
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")


def test_the_complexity_of_families_is_told_beside_the_survey(command, tmp_path):
    done = command("analyze", "complexity", "res*", "shift_vit", f"--output={tmp_path}")
    assert done.code == 0, done.err
    assert [(row["family"], row["macs"], row["survey_macs"]) for row in done.rows] == [
        ("res_mlp", "H²W²C", "H²W²C"),
        ("shift_vit", "0", ""),
    ]
    with (tmp_path / "complexity.csv").open(encoding="utf-8") as file:
        assert [row["parameters"] for row in csv.DictReader(file)] == ["H²W²", "0"]
    assert (tmp_path / "complexity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("looks", "as_mlp_tiny"), "WHAT must be one of receptive_field, effective_field"),
        (("similarity",), "which model?"),
        (("similarity", "as_mlp_tiny"), "--output is missing"),
        (("similarity", "a", "b", "c", "--output=x"), "similarity compares one model with itself, or two"),
    ],
)
def test_a_mistaken_command_is_told_before_anything_is_opened(command, words, told):
    done = command("analyze", *words)
    assert done.code == 2 and told in done.err
