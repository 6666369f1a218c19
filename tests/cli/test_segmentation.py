"""Segmenters on the command line: trained, measured, used on photos, exported."""

import keras
import numpy as np
import pytest
from PIL import Image

MODEL = ("--model=as_mlp", "--config=patch_size=2,dim=6,depths=(1,1),shift_size=3", "--image_size=32")
HEAD = ("--segmenter=semantic_fpn", "--segmenter_config=neck_channels=8,channels=8,auxiliary_channels=8")
TRAIN = ("train", "--task=segmentation", *MODEL, *HEAD, "--batch_size=4", "--epochs=2", "--warmup_epochs=0")


@pytest.fixture
def photos(tmp_path):
    """Bright squares on dark ground."""
    random = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for i in range(15):
        pixels, mask = random.integers(0, 60, (40, 50, 3), "uint8"), np.zeros((40, 50), "uint8")
        top, left = random.integers(0, (20, 30))
        pixels[top : top + 20, left : left + 20] += 150
        mask[top : top + 20, left : left + 20] = 1
        Image.fromarray(pixels).save(tmp_path / "data" / "images" / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"{i}.png")
    (tmp_path / "data" / "classes.txt").write_text("ground\nsquare\n")
    return tmp_path / "data"


@pytest.mark.slow
def test_a_segmenter_is_trained_measured_used_and_exported(command, photos, tmp_path):
    run = tmp_path / "run"
    training = (*TRAIN, f"--dataset={photos}", "--learning_rate=0.02", "--epochs=40", "--precision=float32")
    training += ("--change=random_scale=None,photometric_distortion=False",)
    trained = command(*training, "--check_data", f"--output={run}")
    assert trained.code == 0, trained.err
    assert "| square | " in trained.out and "best.keras: mIoU" in trained.out
    assert (run / "classes.txt").read_text() == "ground\nsquare\n"
    other = command(*training, "--noauxiliary", f"--output={run}")
    assert other.code == 1 and "auxiliary: True, now False" in other.err

    measured = command("evaluate", f"--model={run / 'best.keras'}", f"--dataset={photos}")
    assert measured.code == 0, measured.err
    (scores,) = measured.rows
    assert scores["images"] == 3 and set(scores["IoU"]) == {"ground", "square"} and scores["mIoU"] > 0.6
    (whole,) = command("evaluate", f"--model={run / 'best.keras'}", f"--dataset={photos}", "--resize=50,40").rows
    assert whole["mIoU"] > 0.5

    (tmp_path / "photos").mkdir()
    picture = np.zeros((70, 45, 3), "uint8")
    picture[:35] = 200
    for name in ("a.png", "b.jpg"):
        Image.fromarray(picture).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    found = command("segment", f"--model={run / 'best.keras'}", f"--output={out}", tmp_path / "photos", "--flip")
    assert found.code == 1 and "broken.png" in found.err and "1 of 3 files" in found.err
    assert len(found.rows) == 2 and all(sum(row["classes"].values()) == pytest.approx(1) for row in found.rows)
    assert {file.name for file in out.iterdir()} == {"a.png", "a_labels.png", "b.png", "b_labels.png"}
    labels = np.asarray(Image.open(out / "a_labels.png"))
    assert labels.shape == (70, 45) and labels[:30].mean() > labels[40:].mean()

    files = {name: tmp_path / f"{name}.tflite" for name in ("plain", "int8")}
    words = (f"--output={files['plain']}", f"--representative={photos / 'images'}")
    exported = command("export", f"--model={run / 'best.keras'}", *words)
    assert exported.code == 0 and "compared with the model on 15 representative images" in exported.out, exported.err
    words = ("--precision=int8", "--label_map", "--input_dtype=uint8", f"--output={files['int8']}")
    exported = command("export", f"--model={run / 'best.keras'}", *words)  # by the images of the run
    assert exported.code == 0, exported.err
    assert "gives a label map (1, 32, 32)" in exported.out and "on 12 representative images: the same" in exported.out
    for file in files.values():
        (found,) = command("evaluate", f"--model={file}", f"--dataset={photos}").rows
        assert found["mIoU"] == pytest.approx(scores["mIoU"], abs=0.02) and set(found["IoU"]) == {"ground", "square"}
        found = command("segment", f"--model={file}", f"--output={tmp_path / file.stem}", tmp_path / "photos" / "a.png")
        assert found.code == 0, found.err
        again = np.asarray(Image.open(tmp_path / file.stem / "a_labels.png"))
        assert (again == labels).mean() > 0.95
    refused = command("segment", f"--model={files['int8']}", f"--output={tmp_path}", "--window=16", tmp_path / "photos")
    assert refused.code == 2 and "is its own size (32, 32)" in refused.err

    Image.fromarray(np.full((40, 50), 7, "uint8")).save(photos / "masks" / "3.png")
    wrong = command(*training, f"--output={tmp_path / 'other'}")
    assert wrong.code == 1 and "3.png has the label 7. There are 2 classes, 0–1, and 255 for void." in wrong.err
    assert "Traceback" not in wrong.err


@pytest.mark.slow
def test_a_published_recipe_builds_the_backbone_as_its_authors_do(command, photos, tmp_path):
    vit = ("--model=vit", "--config=patch_size=8,dim=8,depth=4,heads=2", "--segmenter=setr_mla", "--noauxiliary")
    words = ("train", "--task=segmentation", *vit, "--segmenter_config=neck_channels=4,channels=4", "--image_size=16")
    words += ("--recipe=setr_mla_vit_l16_ade20k_160k_bs8", "--epochs=1", "--batch_size=4", f"--dataset={photos}")
    trained = command(*words, f"--output={tmp_path / 'run'}")
    assert trained.code == 0, trained.err
    assert keras.models.load_model(tmp_path / "run" / "last.keras").get_layer("position").tokens == ()


def test_what_cannot_be_a_segmenter_is_refused(command, photos, tiny, tmp_path):
    def refused(*words, code, match):
        outcome = command(*words)
        assert outcome.code == code and match in outcome.err, outcome.err

    words = (*TRAIN, f"--dataset={photos}", f"--output={tmp_path / 'run'}")
    refused(*words, "--multi_label", code=2, match="--multi_label is for classifiers")
    Image.fromarray(np.full((40, 50), 7, "uint8")).save(photos / "masks" / "3.png")
    refused(*words, "--check_data", code=1, match="3.png has the label 7. There are 2 classes")
    refused(*words, "--recipe=digits", code=2, match="--recipe is scenes or finetune for segmenters")
    published = "--recipe is scenes or finetune for segmenters, or a published one, by its name. There are: none for"
    refused(*words, "--recipe=published", code=2, match=published)
    refused(*words, "--segmenter_config=colours=3", code=2, match="--segmenter_config: ")
    refused(*words[:-2], "--dataset=nowhere", words[-1], code=1, match="nowhere")
    refused("segment", f"--model={tiny}", f"--output={tmp_path}", tmp_path, code=1, match="is no segmenter")
    refused("segment", f"--model={tiny}", f"--output={tmp_path}", code=2, match="which images?")
    assert not (tmp_path / "run").exists()
