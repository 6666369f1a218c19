"""The benchmarks' machinery; speed itself is never tested."""

import json
import re

import processes
import pytest

from benchmarks import detectors, machine, models, segmenters, tables
from benchmarks.contender import Contender, Unavailable
from benchmarks.worker import Worker
from keras_mlp.export import forms
from keras_mlp.forms import FORMS

KEYS = ["model", "who", "form", "precision", "batch", "images_per_second", "peak_share"]
SMALL = [
    "--models=mlp_mixer_s32",
    "--image_size=32",
    "--forms=graph",
    "--precisions=float32",
    "--rounds=1",
    "--seconds=0",
]


def command(task, *arguments):
    return processes.run(["-m", f"benchmarks.{task}", *arguments])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "batches"), [("inference", [1, 2]), pytest.param("training", [2], marks=pytest.mark.huge)]
)
def test_rows(task, batches, tmp_path):
    """A fused model is no form of training. What is measured already is kept and left out."""
    listed, words = ",".join(map(str, batches)), [*SMALL, "--peers=", f"--json={tmp_path / 'rows.json'}"]
    kinds = ["graph", "frozen"] if task == "inference" else ["graph", "jax"]
    done = command(task, *words, "--forms=graph,frozen" + ",jax" * (task == "training"), f"--batches={listed}")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    again = command(task, *words, "--models=mlp_mixer_s32,res_mlp_12", "--resume", "--minutes=0")
    assert again.returncode == 0 and "res_mlp_12 and what follows is left out after 0 minutes" in again.stderr
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert [list(row) for row in rows] == [[*KEYS, "command", "machine", "commit", "date"]] * len(batches) * len(kinds)
    assert [(row["batch"], row["form"]) for row in rows] == [(batch, form) for batch in batches for form in kinds]
    for row in rows:
        assert [row[key] for key in KEYS[:2]] == ["mlp_mixer_s32", "keras_mlp"] and row["precision"] == "float32"
        assert row["images_per_second"] > 0
        assert 0 < row["peak_share"] < 1
        assert f"{row['images_per_second']:.2f}" in done.stdout


@pytest.mark.slow
@pytest.mark.huge
def test_clips_are_counted_where_a_model_takes_videos(tmp_path):
    """And their frames stay as many at another image size."""
    words = ["--models=mvit_video_b16x4", "--batches=1", "--peers=", f"--json={tmp_path / 'rows.json'}"]
    done = command("inference", *SMALL, *words)
    assert done.returncode == 0, done.stderr
    assert "G multiply-adds per clip" in done.stdout and " clips/s " in done.stdout
    assert models.input_shape("mvit_video_b16x4", 32) == (16, 32, 32, 3)
    done = command("summary", f"--json={tmp_path / 'rows.json'}")
    assert done.returncode == 0 and " clips/s " in done.stdout.splitlines()[0], done.stderr


def test_our_forms_are_those_of_the_package():
    """The benchmarks have them by name, as each may need another backend of Keras."""
    assert set(models.OURS) == set(FORMS) == set(forms._MAKERS)


def test_mistakes_are_told_before_anything_starts(tmp_path):
    for arguments, message in (
        (["--batches=0"], "--batches must be positive integers"),
        (
            ["--peers=tim"],
            "--peers: 'tim' is not known. It takes: timm, kecam, zeromodels, keras_applications, torchvision.",
        ),
        (["--precisions=float8"], "--precisions: 'float8' is not known"),
        ([f"--json={tmp_path / 'missing' / 'rows.json'}"], "--json: there is no folder"),
        (["--models=mlp_mixer_b61"], "mlp_mixer_b61"),
        (["--resume"], "--resume goes on with the file of --json, which is not given"),
    ):
        done = command("inference", *SMALL, *arguments)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_help_names_the_options():
    done = command("training", "--help")
    for option in ("models", "peers", "batches", "rounds", "seconds", "threads", "image_size", "json"):
        assert f"--{option}" in done.stdout or f"--[no]{option}" in done.stdout


def contender(**changes):
    arguments = dict(task="inference", model="mlp_mixer_b16", who="tensorflow", form="matmul", precision="float32")
    return Contender(**arguments | dict(image_size=None, threads=1) | changes)


def test_a_peer_without_the_model_says_so():
    for who in ("timm", "kecam", "zeromodels", "keras_applications", "torchvision"):
        with pytest.raises(Unavailable, match=r"does not have our_own_invention|is not installed"):
            Worker(contender(who=who, model="our_own_invention"))


@pytest.mark.slow
def test_a_process_that_dies_says_so():
    worker = Worker(contender())
    assert worker.run(1, 0) > 0
    worker._process.kill()
    with pytest.raises(Unavailable, match="ended with code -9"):
        worker.run(1, 0)
    worker.close()
    with pytest.raises(Unavailable, match=r"(?s)ended with code 1: ValueError.*no_such_model"):
        Worker(contender(who="keras_mlp", model="no_such_model"))


@pytest.mark.slow
@pytest.mark.huge
def test_the_roof_is_made_of_the_models_own_products():
    done = command("roof", "--models=mlp_mixer_s32", "--batch=1", "--rounds=1")
    assert done.returncode == 0, done.stderr
    name, batch, products, *numbers = done.stdout.splitlines()[-1].split()
    # Four in each of the eight blocks, and the head.
    assert (name, batch, products) == ("mlp_mixer_s32", "1", str(4 * 8 + 1))
    assert all(float(number.rstrip("%")) > 0 for number in numbers)
    assert "Did you mean 'mlp_mixer_b16'" in command("roof", "--models=mlp_mixer_b61").stderr


@pytest.mark.slow
@pytest.mark.huge
def test_fusing_is_measured_against_the_model_as_it_was():
    done = command("fusing", "--models=mlp_mixer_s32", "--batch=1", "--rounds=1")
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[-1].split()
    assert row[0] == "mlp_mixer_s32" and float(row[2]) >= float(row[4]) and 0 < float(row[10]) < 100
    assert "Did you mean 'mlp_mixer_b16'" in command("fusing", "--models=mlp_mixer_b61").stderr


@pytest.mark.slow
@pytest.mark.huge
def test_experts_are_timed_over_one_dense_mlp():
    done = command("experts", "--experts=2,4", "--batches=1", "--rounds=1")
    assert done.returncode == 0, done.stderr
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head[:6] == ["items", "form", "batch", "experts", "k", "slots"]
    assert [row[:5] for row in rows] == [
        [items, form, "1", experts, k]
        for items, k in (("channels", "1"), ("tokens", "2"))
        for form in ("graph", "xla")
        for experts in ("2", "4")
    ]
    for row in rows:
        assert int(row[4]) <= float(row[5]) < 1.1 * int(row[4]) and float(row[7]) > 0


@pytest.mark.slow
def test_keep_rates_are_timed_over_the_backbone(tmp_path):
    words = ["keep_rates", "--models=dynamic_vit_deit_256_r70", "--image_size=32", "--batches=2", "--rounds=1"]
    done = command(*words, "--rates=0.5", "--forms=graph")
    assert done.returncode == 1 and "must leave tokens" in done.stderr and "Traceback" not in done.stderr
    words[2] = "--image_size=64"
    done = command(*words, "--rates=0.5", "--forms=graph,tflite", f"--save={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "rows.json").read_text())
    assert [row[:4] for row in saved["rows"]] == [
        ["dynamic_vit_deit_256_r70", form, "2", rate] for form in ("graph", "tflite") for rate in ("backbone", "0.5")
    ]
    for macs, rate, promised, faster, _, kept in (row[4:] for row in saved["rows"]):
        assert float(macs) > 0 and float(rate) > 0
        assert float(kept) == pytest.approx(float(faster) / float(promised), abs=0.02)
    assert saved["rows"][0][6] == "1.00" < saved["rows"][1][6] and saved["commit"]
    assert "--save" not in saved["command"]


@pytest.mark.slow
def test_keep_rates_names_what_it_does_not_know():
    for arguments, message in (
        (["--models=deit_s"], "--models: 'deit_s' is not known. It takes: dynamic_vit_deit_256_r70"),
        (["--forms=eager"], "--forms: 'eager' is not known"),
        (["--rates=half"], "--rates must be numbers"),
    ):
        done = command("keep_rates", *arguments)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("task", [pytest.param("inference", marks=pytest.mark.huge), "training"])
def test_operators_are_told_by_their_time(task):
    done = command("operators", "--models=mlp_mixer_s32", "--batch=1", "--steps=1", "--top=3", f"--task={task}")
    assert done.returncode == 0, done.stderr
    assert "mlp_mixer_s32, batch 1" in done.stdout
    *lines, roof, _, heads, row = done.stdout.splitlines()
    assert roof.startswith("roof: products at ") and int(roof.split("%")[0].split()[-1]) > 0
    assert heads.split()[0] == "model" and row.split()[0] == "`mlp_mixer_s32`" and "MatMul" in row
    rows = [line.split() for line in lines[-4:]]
    assert rows[-1][0] == "others" and any("MatMul" in row[0] for row in rows)
    assert sum(float(row[3].rstrip("%")) for row in rows) == pytest.approx(100, abs=0.3)
    assert "Did you mean 'mlp_mixer_b16'" in command("operators", "--models=mlp_mixer_b61").stderr


@pytest.mark.slow
@pytest.mark.huge
def test_growth_is_fitted_and_drawn(tmp_path):
    """The multiply-adds of Mixer are linear in the tokens: the width of its token mixing is fixed."""
    words = ["--models=mlp_mixer_s32", "--sizes=64,128", "--batches=1,2", "--rounds=1"]
    done = command("growth", *words, f"--picture={tmp_path / 'growth.png'}", f"--json={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[1] for row in rows] == ["pixels", "batch"] and [row[2] for row in rows] == ["1.00", "1.00"]
    assert (tmp_path / "growth.png").stat().st_size > 5_000
    assert [row["size"] for row in json.loads((tmp_path / "rows.json").read_text())] == [64, 128, 64, 64]


@pytest.mark.slow
@pytest.mark.huge
def test_memory_of_an_image_is_less_with_rematerialised_mlps():
    done = command("memory", "--models=mlp_mixer_s32", "--peers=timm", "--batches=2,34", "--steps=1")
    assert done.returncode == 0, done.stderr
    plain, remat, *_ = (line.split() for line in done.stdout.splitlines()[1:])
    assert plain[1] == "keras_mlp" and remat[2] == "remat"
    assert 1 < float(remat[3]) < float(plain[2]) < 100


@pytest.mark.slow
@pytest.mark.huge
def test_the_start_is_timed():
    done = command("start", "--models=mlp_mixer_s32", "--rounds=1")
    assert done.returncode == 0, done.stderr
    assert [line.rsplit(maxsplit=2)[0].strip() for line in done.stdout.splitlines()[:3]] == [
        *("import keras", "import keras_mlp, after keras", "list_models"),
    ]
    assert done.stdout.splitlines()[-1].split()[:2] == ["mlp_mixer_s32", "62"]
    assert "Did you mean 'mlp_mixer_b16'" in command("start", "--models=mlp_mixer_b61", "--rounds=1").stderr


@pytest.mark.slow
def test_augmentation_is_timed_and_repeated():
    done = command("augmentation", "--only=mixup", "--image_size=16", "--images=64", "--rounds=1")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[1] for row in rows] == ["keras_mlp", "keras.layers", "keras_cv"]
    assert "repeatable" in rows[0] and "not" not in rows[0] and all(float(row[2]) > 0 for row in rows)


@pytest.mark.slow
def test_a_segmenter_is_timed_with_its_parts(tmp_path):
    words = ["--image_size=64", "--rounds=1", "--seconds=0", f"--save={tmp_path / 'rows.json'}"]
    done = command("tasks", *words, "--peers=")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row[:4] for row in rows] == [
        ["as_mlp_tiny", part, "keras_mlp", "graph"] for part in ("whole", "backbone", "head")
    ]
    assert all(float(row[4]) > 0 for row in rows) and rows[0][6] == "100%" and {row[7] for row in rows} == {"-"}


@pytest.mark.slow
def test_a_detector_is_timed_with_its_parts(tmp_path):
    words = ["--task=detection", "--heads=retina_net", "--parts=whole,detections", "--image_size=64", "--peers="]
    done = command("tasks", *words, "--rounds=1", "--seconds=0", f"--save={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row[:5] for row in rows] == [
        ["as_mlp_tiny", "retina_net", part, "keras_mlp", "graph"] for part in ("whole", "detections")
    ]
    assert all(float(row[5]) > 0 for row in rows)


def test_mistakes_about_segmenters_are_told_before_anything_starts():
    for argument, message in (
        ("--peers=timm", "--peers: 'timm' is not known. It takes: mmsegmentation."),
        ("--forms=eager", "--forms: 'eager' is not known"),
        ("--models=as_mlp_small_", "as_mlp_small_"),
    ):
        done = command("tasks", argument)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_a_peer_without_a_package_says_which(monkeypatch):
    monkeypatch.setattr(segmenters.importlib.util, "find_spec", lambda name: None)
    for part, message in (("head", "the package torch is not installed"), ("whole", "it has no AS-MLP")):
        with pytest.raises(Unavailable, match=message):
            segmenters.mmsegmentation(contender(model="as_mlp_tiny", who="mmsegmentation", part=part))
    with pytest.raises(Unavailable, match="the package torch is not installed"):
        detectors.mmdetection(contender(model="as_mlp_tiny", who="mmdetection", head="retina_net", part="whole"))


@pytest.mark.skipif(machine.gpu() is not None, reason="there is a GPU")
def test_the_benchmark_for_gpus_says_what_it_lacks():
    done = command("accelerator", "--models=mlp_mixer_s32")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "error: --device=gpu: nvidia-smi names no GPU here."


def test_a_page_has_the_tables_that_it_names():
    """Every page is what `python -m benchmarks.tables` makes of it, and every file of measurements is in a page."""
    used = []
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.filled(text) == text, f"{page.name} is not up to date: python -m benchmarks.tables"
        used += re.findall("<!-- measured: (\\S+) -->", text)
    assert sorted(used) == sorted(path.stem for path in tables.MEASUREMENTS.glob("*.json")) and used
    for name in used:
        measured = tables.load(name)
        assert {len(row) for row in measured.rows} == {len(measured.columns)}
        assert all((measured.command, measured.machine, measured.commit, measured.date))


def test_the_peers_tflite_files_are_refused_before_any_is_made():
    for arguments, message in (
        (["--models=hire_mlp_tiny"], "keras_cv_attention_models does not have hire_mlp_tiny."),
        (["--precisions=int4"], "--precisions: 'int4' is not known."),
    ):
        done = command("mobile_peers", *arguments)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_families_are_represented_by_their_smallest_and_largest_models():
    assert (models.smallest("g_mlp"), models.largest("g_mlp")) == ("g_mlp_ti16", "g_mlp_b16")


@pytest.mark.slow
def test_tflite_files_are_measured_once(tmp_path):
    kept, output = tmp_path / "rows.jsonl", tmp_path / "mobile.json"
    words = ["mobile", f"--rows={kept}", f"--save={output}", "--runs=2", "--images=2"]
    for arguments, message in (("--families=mixer", "'mixer' is not known"), ("--precisions=int4", "'int4' is not")):
        done = command(*words, arguments)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    done = command(*words, "--families=spach", "--precisions=float32")
    assert done.returncode == 0, done.stderr
    done = command(*words, "--families=spach", "--precisions=float32,int8")
    assert done.returncode == 0 and "float32" not in done.stderr, done.stderr
    exact, rounded = map(json.loads, kept.read_text().splitlines())
    assert exact["difference"] < 1e-4 < rounded["difference"] and rounded["size_MB"] < 0.5 * exact["size_MB"]
    saved = json.loads(output.read_text())
    assert [row[1] for row in saved["rows"]] == ["float32", "int8"] and saved["machine"] == exact["machine"]
    assert "--runs=2" in saved["command"] and "--save" not in saved["command"]


def test_what_was_measured_is_told_in_a_table_and_drawn(tmp_path):
    """A later file's row takes the place of an earlier one's; of each library the fastest form counts."""

    def row(who, form, rate):
        return dict(zip(KEYS, ("mlp_mixer_s16", who, form, "float32", 8, rate, rate / 100), strict=True))

    files = [tmp_path / "first.json", tmp_path / "second.json"]
    files[0].write_text(json.dumps([row("keras_mlp", "graph", 90.0), row("timm", "eager", 10.0)]))
    files[1].write_text(json.dumps([row("keras_mlp", "graph", 30.0), row("keras_mlp", "xla", 40.0)]))
    kept = tmp_path / "summary.json"
    done = command("summary", f"--json={files[0]},{files[1]}", f"--picture={tmp_path / 'speed.png'}", f"--save={kept}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["Mixer-S/16", "float32", "8", "40.0", "XLA", "40%", "4.00×"]
    assert (
        "| Mixer-S/16 | float32 | 8 | 40.0 | XLA | 40% | 4.00× |"
        in tables.Measured(**json.loads(kept.read_text())).markdown()
    )
    assert (tmp_path / "speed.png").stat().st_size > 5_000
    done = command("summary", f"--table={kept}", f"--picture={tmp_path / 'again.png'}")
    assert done.returncode == 0 and (tmp_path / "again.png").read_bytes() == (tmp_path / "speed.png").read_bytes()
    done = command("summary", f"--json={files[0]},{files[1]}", "--over=timm eager")
    head, only = done.stdout.splitlines()[:2]
    assert head.endswith("timm eager, images/s graph   XLA") and only.split()[-3:] == ["10.0", "3.00", "4.00"]
    int8 = row("keras_mlp", "openvino", 100.0) | {"precision": "int8"}
    files[0].write_text(json.dumps([row("keras_mlp", "graph", 20.0), row("keras_mlp", "xla", 40.0), int8]))
    done = command("summary", f"--json={files[0]}", "--over=float32")
    head, only = done.stdout.splitlines()
    assert head.split()[-2:] == ["int8", "OpenVINO"] and only.split() == ["Mixer-S/16", "8", "40.0", "XLA", "2.50"]
    for flag, given in {"json": [], "table": [], "over": [f"--json={files[0]}"]}.items():
        done = command("summary", f"--{flag}={tmp_path / 'none.json'}", *given)
        assert done.stderr.splitlines()[-1].startswith(f"error: --{flag}: ")


@pytest.mark.slow
@pytest.mark.huge
def test_the_jax_backend_takes_part_when_asked(tmp_path):
    words = [word for word in SMALL if not word.startswith("--forms")]
    done = command("inference", *words, "--forms=jax", "--peers=", "--batches=1", f"--json={tmp_path / 'rows.json'}")
    assert done.returncode == 0, done.stderr
    assert [row["form"] for row in json.loads((tmp_path / "rows.json").read_text())] == ["jax"]
