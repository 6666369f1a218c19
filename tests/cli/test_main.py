"""The command itself: help, mistakes, exit codes, the terminal."""

import os
import pathlib
import pty
import signal
import subprocess
import sys

import pytest

from keras_mlp.cli import commands, main

TRAIN = ["train", "--model=mlp_mixer_s32", "--dataset=none/", "--output=none"]


def test_every_file_in_commands_is_a_command():
    files = {path.stem for path in pathlib.Path(commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == set(main.COMMANDS)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(command, words):
    result = command(*words)
    assert result.code == 0 and not result.err
    for name in main.COMMANDS:
        assert f"\n  {name} " in result.out


@pytest.mark.parametrize("name", main.COMMANDS)
def test_help_on_a_command_shows_its_own_flags_only(command, name):
    result = command(name, "--help")
    assert result.code == 0 and result.out == command("help", name).out
    assert f"Usage: keras-mlp {name}" in result.out and "--verbose" in result.out
    assert "TODO" not in result.out and "logtostderr" not in result.out and "flagfile" not in result.out


def test_help_states_choices_and_defaults(command):
    out = " ".join(command("export", "--help").out.split())
    assert "(one of float32, float16, dynamic_int8, int8, int16x8; default float32)" in out
    assert "for a .tflite file. (default 1,2)" in command("benchmark", "--help").out
    assert "(default 0)" in command("demo", "--help").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lst"], "Did you mean list?"),
        (["frobnicate"], "There are: list, info"),
        (["help", "exprot"], "Did you mean export?"),
        (["--model=x", "predict"], "the command comes first"),
        (["list", "--wieghts=imagenet"], "did you mean --weights"),
        (["list", "a", "b"], "takes one argument. Received: a b"),
        (["info"], "which MODEL?"),
        (["predict", "x.jpg"], "--model is missing"),
        (["predict", "--model=m"], "which images or videos?"),
        (["predict", "--model=mlp_mixer_s32", "--top=many", "x.jpg"], "--top=many"),
        (["predict", "--model=mlp_mixer_s32", "--top=0", "x.jpg"], "--top=0"),
        (["predict", "--model=mlp_mixer_s32", "--image_size=1,2,3", "x.jpg"], "Received: 1,2,3"),
        (["predict", "--model=a.keras", "--weights=imagenet", "x.jpg"], "--weights goes with a model by name"),
        (["predict", "--model=a.tflite", "--image_size=9", "x.jpg"], "not with an exported file"),
        (["export", "--model=a.keras", "--output=a.tflite", "--precision=int4"], "int4"),
        (["export", "--model=a.keras", "--output=a.tflite", "--precision=int8"], "--representative"),
        (["export", "--model=a.keras", "--output=a.pb"], "must end in one of .tflite, .onnx, .openvino,"),
        (["export", "--model=a.keras", "--output=a.onnx", "--precision=float16"], "goes with a .tflite file"),
        (["benchmark", "mlp_mixer_s32", "--batch_size=0"], "--batch_size is a list of positive numbers"),
        ([*TRAIN, "--checkpoint_seconds=nan"], "--checkpoint_seconds must be a number. Received: nan"),
        ([*TRAIN, "--change=mixpu=1"], "a recipe has no mixpu"),
        (["convert", "a.npz", "--model=mlp_mixer_s32", "--output=a.h5"], "must end in .safetensors or .weights.h5"),
    ],
)
def test_mistakes_in_the_command_line(command, words, told):
    result = command(*words)
    assert result.code == 2 and not result.out
    assert result.err.startswith("keras-mlp: ") and result.err.count("\n") == 1
    assert told in result.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["info", "mlp_mixer_b61"], "Did you mean 'mlp_mixer_b16'"),
        (["list", "--family=mlp_mixr"], "Did you mean 'mlp_mixer'"),
        (["list", "*nothing*"], "no model matches *nothing*"),
        (["predict", "--model=none.keras", "x.jpg"], "There is no file none.keras"),
        (["benchmark", "none.tflite"], "There is no file none.tflite"),
        (
            ["convert", "none.npz", "--model=mlp_mixer_s32", "--output=a.safetensors"],
            "There is no checkpoint file none.npz",
        ),
        (["predict", "--model=mlp_mixer_s32", "--weights=imagnet", "x.jpg"], "Did you mean 'imagenet'"),
        ([*TRAIN, "--change=mixup=-1"], "A recipe's mixup must be a number from 0. Received: -1"),
        ([*TRAIN, "--change=label_smoothing=2"], "A recipe's label_smoothing must be a number from 0 below 1"),
        ([*TRAIN, "--change=epochs=0"], "A recipe's epochs must be an integer from 1. Received: 0"),
        ([*TRAIN, "--change=mixup=nan"], "A recipe's mixup must be a number from 0. Received: 'nan'"),
        ([*TRAIN, "--learning_rate=0"], "A recipe's learning_rate must be a number above 0. Received: 0.0"),
        ([*TRAIN, "--learning_rate=inf"], "A recipe's learning_rate must be"),
    ],
)
def test_failures_take_one_line_and_no_traceback(command, words, told):
    result = command(*words)
    assert result.code == 1 and not result.out
    assert result.err.count("\n") == 1 and told in result.err and "Traceback" not in result.err


def test_verbose_shows_where_it_failed(command):
    result = command("info", "mlp_mixer_b61", "--verbose")
    assert result.code == 1 and "Traceback" in result.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *((["--help"], 0), (["predict", "--help"], 0), (["predict", "--tpo=3"], 2)),
        *((["list"], 0), (["list", "--family=vpi"], 1), (["info", "vip_small7"], 0), (["info", "vip_smal7"], 1)),
    ],
)
def test_help_cards_and_mistakes_do_not_wait_for_tensorflow(launcher, words, code):
    program = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv.pop(0) and sys.argv[0], run_name='__main__')\n"
        "finally: assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    python, script = launcher
    assert subprocess.run([python, "-c", program, script, *words], capture_output=True).returncode == code


@pytest.mark.slow
def test_the_package_is_a_command():
    words = [sys.executable, "-m", "keras_mlp", "info", "vip_smal7"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and "\nkeras-mlp: There is no model 'vip_smal7'" in "\n" + done.stderr


def test_info_tells_the_warm_up_once(command):
    out = command("info", "mlp_mixer_s32").out
    assert "warmup steps           10000" in out and "warmup epochs" not in out
    assert "warmup epochs" in command("info", "vip_small7").out


def test_info_tells_of_published_segmenters(command):
    out = command("info", "as_mlp_tiny").out
    assert (
        "--task=segmentation --segmenter=upernet --recipe=upernet_as_mlp_tiny_ade20k, on ADE20K, from svip-lab" in out
    )
    for part in ("published mIoU, several scales  46.50 %", "steps", "160000", "warmup steps", "1500"):
        assert part in out
    out = command("info", "vit_l16").out
    assert "of 768 pixels, every 512 pixels" in out and "class_token=False" in out
    out = command("info", "cycle_mlp_b1").out
    assert "on ADE20K, from inferred: CycleMLP's configurations were never released" in out
    assert "~40.80 %" in out and "not exact: the paper, remembered" in out
    (row,) = command("info", "cycle_mlp_b1", "--json").rows
    assert row["segmenters"]["semantic_fpn_cycle_mlp_b1_ade20k"]["scores"][0]["exact"] is False


def test_info_tells_of_trainings_on_other_videos(command):
    (row,) = command("info", "morph_mlp_video_s16", "--json").rows
    assert row["videos"]["morph_mlp_video_s16_ssv2"]["recipe"]["learning_rate"] == 4e-4


def test_info_and_list_tell_of_published_detectors(command):
    out = command("info", "convnext_base").out
    for part in (
        "--task=detection --detector=cascade_mask_rcnn --recipe=cascade_mask_rcnn_convnext_base_3x_22k, on COCO",
        "54.00 % (ImageNet-22k)",
        "stages_2_26_=0.64, down_3=0.8",
    ):
        assert part in out
    (row,) = command("info", "gc_vit_tiny", "--json").rows
    assert row["detectors"]["mask_rcnn_gc_vit_tiny_3x"]["scores"][1]["value"] == 43.2
    found = {row["name"]: row["detectors"] for row in command("list", "--task=detection").rows}
    assert found["hornet_large_gf"] == ["cascade_mask_rcnn_hornet_large_gf_3x"] and "mlp_mixer_b16" not in found
    assert {"vit_l16", "repmlpnet_d256"} <= {row["name"] for row in command("list", "--task=segmentation").rows}


def test_a_terminal_shows_what_is_asked_for_and_nothing_that_libraries_write(launcher, tiny, picture):
    """Both streams of a real terminal, with TensorFlow at work."""
    master, slave = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    words = [*launcher, "predict", f"--model={tiny}", picture]
    with subprocess.Popen(words, stdout=slave, stderr=slave, env=environment) as running:
        os.close(slave)
        shown = _read_all(master)
    assert running.returncode == 0, shown
    first, *others = shown.splitlines()
    assert first == str(picture)
    assert len(others) == 3 and all("%" in line for line in others), shown


def test_ctrl_c_ends_in_one_line(launcher, tiny, picture):
    words = [*launcher, "predict", "--batch_size=1", f"--model={tiny}", *[picture] * 20_000]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # A shell starts its background jobs with Ctrl-C ignored, and these tests may be one.
    with subprocess.Popen(words, **pipes, text=True, preexec_fn=_answer_to_ctrl_c) as running:
        running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and err == "keras-mlp: interrupted\n"


def test_a_reader_that_goes_away_is_no_error(launcher, tiny, picture):
    words = [*launcher, "predict", "--batch_size=1", f"--model={tiny}", *[picture] * 20_000]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
    assert running.returncode == 128 + signal.SIGPIPE and not err


def _answer_to_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _read_all(master) -> str:
    """Everything that is written to a terminal until its last writer is gone."""
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        if not part:
            return shown.decode()
        shown += part
