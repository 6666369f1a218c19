"""Detectors on the command line: trained, gone on with, measured."""

import csv
import json
import signal
import subprocess
import time

import golden
import numpy as np
import pytest
from PIL import Image

from keras_mlp import tasks

MODEL = ("--model=as_mlp", "--config=patch_size=2,dim=6,depths=(1,1,1),shift_size=3", "--image_size=64")
DETECTOR = ("--detector_config=channels=8,convolutions=1,candidates=50,count=10",)
TRAIN = ("train", "--task=detection", *MODEL, *DETECTOR, "--batch_size=4", "--epochs=2", "--precision=float32")


@pytest.fixture
def photos(tmp_path):
    """Bright squares on dark ground, in COCO's form."""
    random, folder = np.random.default_rng(0), tmp_path / "photos"
    for split, count in (("train", 12), ("val", 4)):
        (folder / split).mkdir(parents=True)
        images, rows = [], []
        for i in range(count):
            pixels = random.integers(0, 60, (50, 60, 3), "uint8")
            left, top = random.integers(0, (35, 25))
            pixels[top : top + 24, left : left + 24] += 150
            Image.fromarray(pixels).save(folder / split / f"{i}.png")
            images.append(dict(id=i, file_name=f"{i}.png", height=50, width=60))
            box = [int(left), int(top), 24, 24]
            rows.append(dict(id=i, image_id=i, category_id=7, bbox=box, area=576, iscrowd=0))
        content = dict(images=images, annotations=rows, categories=[dict(id=7, name="square")])
        (folder / f"{split}.json").write_text(json.dumps(content))
    return folder


def rows_of(run):
    with open(run / "log.csv") as file:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_detector_is_trained_and_measured_with_cocos_numbers(command, photos, tmp_path):
    run = tmp_path / "run"
    trained = command(*TRAIN, "--check_data", f"--dataset={photos}", f"--output={run}")
    assert trained.code == 0, trained.err
    assert "| square | 12 | 12 |" in trained.out and "best.keras: AP" in trained.out
    assert (run / "classes.txt").read_text() == "square\n" and "val_ap50" in rows_of(run)[0]
    assert "average precision" in (run / "report.md").read_text()
    other = command(*TRAIN, "--skip_broken", f"--dataset={photos}", f"--output={run}")
    assert other.code == 1 and "skip_broken: False, now True" in other.err
    measured = command("evaluate", f"--model={run / 'best.keras'}", f"--dataset={photos}", "--split=val")
    assert measured.code == 0, measured.err
    (scores,) = measured.rows
    assert scores["images"] == 4 and set(scores["boxes"]["by class"]) == {"square"}
    assert scores["boxes"]["AP"] == pytest.approx(max(float(row["val_ap"]) for row in rows_of(run)), abs=1e-6)
    assert scores["boxes"]["AP large"] is None


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_log(command, launcher, photos, tmp_path):
    words = (*TRAIN, f"--dataset={photos}", "--checkpoint_seconds=0")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert command(*words, f"--output={whole}").code == 0
    process = subprocess.Popen([*launcher, *words, f"--output={broken}"], stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(broken.glob("checkpoints/*"))) < 2:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert command(*words, f"--output={broken}").code == 0
    assert rows_of(broken) == rows_of(whole)


def test_things_in_photos_are_drawn_told_and_written_as_cocos_results(command, photos, tiny, tmp_path):
    builder, config = golden.arguments(golden.small("as_mlp"))
    backbone = builder(**config | {"include_top": False, "input_shape": (32, 32, 3)})
    settings = dict(channels=8, convolutions=1, candidates=50, count=5, threshold=0.0)
    tasks.RetinaNet(backbone, 2, **settings).save(tmp_path / "detector.keras")
    (tmp_path / "classes.txt").write_text("square\ncircle\n")
    (photos / "val" / "broken.png").write_bytes(b"no image")
    words = (f"--model={tmp_path / 'detector.keras'}", f"--output={tmp_path / 'out'}", "--threshold=0.001")
    found = command("detect", *words, photos / "val")
    assert found.code == 1 and "broken.png" in found.err and "1 of 5 files" in found.err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*(f"{i}.png" for i in range(4)), "results.json"}
    assert Image.open(tmp_path / "out" / "0.png").size == (60, 50)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(found.rows) == 4 and sum(len(row["found"]) for row in found.rows) == len(results) > 0
    for row in results:
        left, top, width, height = row["bbox"]
        assert row["category_id"] in (1, 2) and left >= 0 and top >= 0 and left + width <= 60 and top + height <= 50
    assert {thing["class"] for row in found.rows for thing in row["found"]} <= {"square", "circle"}
    file = tmp_path / "detector.tflite"
    exported = command("export", words[0], f"--output={file}", f"--representative={photos}", "--precision=int8")
    assert exported.code == 0 and "compared with the model on" in exported.err + exported.out, exported.err
    (photos / "val" / "broken.png").unlink()
    words = (f"--model={file}", f"--output={tmp_path / 'again'}", "--threshold=0.001")
    again = command("detect", *words, photos / "val")
    assert again.code == 0 and len(again.rows) == 4, again.err
    assert {thing["class"] for row in again.rows for thing in row["found"]} <= {"square", "circle"}
    refused = command("evaluate", words[0], f"--dataset={photos}", "--split=val")
    assert refused.code == 1 and "The classes of" in refused.err
    content = json.loads((photos / "val.json").read_text())
    content["categories"].append(dict(id=8, name="circle"))
    (photos / "val.json").write_text(json.dumps(content))
    (scores,) = command("evaluate", words[0], f"--dataset={photos}", "--split=val").rows
    assert scores["images"] == 4 and set(scores["boxes"]["by class"]) == {"square", "circle"}
    refused = command("detect", f"--model={tiny}", f"--output={tmp_path}", photos)
    assert refused.code == 1 and "is no .keras or .tflite file of a detector" in refused.err


def test_what_cannot_be_trained_is_refused(command, photos, tmp_path):
    def refused(*words, code, match):
        outcome = command(*TRAIN, f"--dataset={photos}", f"--output={tmp_path / 'run'}", *words)
        assert outcome.code == code and match in outcome.err, outcome.err

    refused("--multi_label", code=2, match="--multi_label is for classifiers, not for --task=detection")
    refused("--recipe=digits", code=2, match="--recipe is scenes or finetune for detectors")
    refused("--detector_config=colours=3", code=2, match="--detector_config: ")
    refused("--dataset=nowhere", code=1, match="There is no folder or file nowhere")
    content = json.loads((photos / "train.json").read_text())
    content["annotations"][3]["bbox"] = [5, 5, -3, 9]
    (photos / "train.json").write_text(json.dumps(content))
    refused(code=1, match="3.png, annotation 3: the box (5, 5, 2, 14) is reversed")
    assert not (tmp_path / "run").exists()
