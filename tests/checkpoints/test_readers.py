import importlib.util
import os
import pathlib
import pickle
import subprocess
import sys
import tarfile
import zipfile

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from checkpoints import torch_writer
from checkpoints.torch_writer import Call, Name, Storage, save_legacy, save_pickle, save_zip, tensor

from keras_mlp.checkpoints import readers

WEIGHTS = {"stem.weight": np.arange(12, dtype="f4").reshape(3, 4), "stem.bias": np.array([1.5, -2.5], "f4")}
TORCH_FORMS = {"zip": save_zip, "legacy": save_legacy}


@pytest.fixture(params=TORCH_FORMS)
def save(request):
    return TORCH_FORMS[request.param]


def assert_same(tensors, expected):
    assert list(tensors) == list(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype, name
        np.testing.assert_array_equal(tensors[name], array, strict=True)


def write_npz(path):
    with open(path, "wb") as file:
        np.savez(file, **WEIGHTS)


def write_safetensors(path):
    safetensors.numpy.save_file(WEIGHTS, path, metadata={"licence": "MIT"})


def write_h5(path):
    with h5py.File(path, "w") as file:
        for name, array in WEIGHTS.items():
            file[name] = array


WRITERS = {
    "npz": write_npz,
    "safetensors": write_safetensors,
    "pth": lambda path: save_zip(WEIGHTS, path),
    "legacy pth": lambda path: save_legacy(WEIGHTS, path),
    "weights.h5": write_h5,
}


@pytest.mark.parametrize("format", WRITERS)
def test_a_file_is_recognised_by_its_content_whatever_its_name(tmp_path, format):
    path = tmp_path / "weights.bin"
    WRITERS[format](path)
    checkpoint = readers.read(path)
    assert checkpoint.format == format.removeprefix("legacy ")
    assert_same(dict(sorted(checkpoint.tensors.items())), dict(sorted(WEIGHTS.items())))


def test_a_safetensors_header_is_kept_and_bfloat16_becomes_float32(tmp_path):
    import ml_dtypes

    half = np.array([1.0, -3.0], ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"a": half}, tmp_path / "a", metadata={"licence": "MIT"})
    checkpoint = readers.read(tmp_path / "a")
    assert checkpoint.metadata == {"licence": "MIT"}
    assert_same(checkpoint.tensors, {"a": np.array([1, -3], "f4")})


def test_a_keras_weights_file_is_keyed_by_its_paths(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="named")])
    model.save_weights(tmp_path / "a.weights.h5")
    tensors = readers.read(tmp_path / "a.weights.h5").tensors
    np.testing.assert_array_equal(tensors["layers/dense/vars/0"], model.get_weights()[0])


def test_the_key_selects_by_the_first_part_of_flat_names(tmp_path):
    np.savez(tmp_path / "a.npz", **{"params/head/bias": np.ones(2), "opt/head/bias": np.zeros(2)})
    assert_same(readers.read(tmp_path / "a.npz", key="params").tensors, {"head/bias": np.ones(2)})
    with pytest.raises(ValueError, match=r"no tensors under key='ema'. Its names begin with: opt, params"):
        readers.read(tmp_path / "a.npz", key="ema")


# What is not a checkpoint -------------------------------------------------------------------------------------------


def write_keras(path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path.with_suffix(".keras"))
    os.replace(path.with_suffix(".keras"), path)


def write_whole_h5(path):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"


def write_objects(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.array([{}], object))


def write_tar(path):
    with tarfile.open(path, "w") as archive:
        archive.add(pathlib.Path(__file__), "storages")


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", "")


def writer_of(content):
    return lambda path: path.write_bytes(content)


IMPOSTORS = {
    "empty": (writer_of(b""), "an empty file. Fetch it again"),
    "web page": (writer_of(b"\n<!DOCTYPE html><html>Quota exceeded</html>"), "a web page"),
    "lfs": (writer_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"), "git lfs pull"),
    "text": (writer_of(b"404: Not Found"), "text, which begins with '404: Not Found'"),
    "gzip": (writer_of(b"\x1f\x8b\x08\0\0\0"), "a gzip archive. Unpack it first"),
    "tar": (write_tar, "a tar archive"),
    "other zip": (write_zip, "zip archive, but no checkpoint: it holds photo.jpg"),
    "tflite": (writer_of(b"\x1c\0\0\0TFL3"), "TFLite model"),
    "pickle": (writer_of(pickle.dumps({"a": 1})), "pickles are not executed"),
    "tensorflow": (writer_of(b"\0\0\1" + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"), "index of a TensorFlow checkpoint"),
    "unknown": (writer_of(b"\0\1\2\3" * 9), "of no known format: it starts with .* Supported are NumPy .npz"),
    "keras": (write_keras, "whole Keras model.*keras.models.load_model"),
    "whole h5": (write_whole_h5, "whole Keras model.*keras.models.load_model"),
    "objects": (write_objects, "as pickles, which are not executed"),
    "folder": (pathlib.Path.mkdir, "is a folder"),
}


@pytest.mark.parametrize("what", IMPOSTORS)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, what):
    write, message = IMPOSTORS[what]
    path = tmp_path / "weights.npz"
    write(path)
    with pytest.raises(ValueError, match=message) as error:
        readers.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file .*absent\.npz"):
        readers.read(tmp_path / "absent.npz")
    (tmp_path / "ckpt-1.index").touch()
    with pytest.raises(FileNotFoundError, match="TensorFlow checkpoint's name; these are not supported"):
        readers.read(tmp_path / "ckpt-1")


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_a_truncated_file_is_an_error(tmp_path, format, share):
    path = tmp_path / "weights"
    WRITERS[format](path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        readers.read(path)


@pytest.mark.parametrize("format", ["npz", "pth"])
def test_a_flipped_bit_is_an_error(tmp_path, format):
    path = tmp_path / "weights"
    WRITERS[format](path)
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHTS["stem.weight"].tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        readers.read(path)


# PyTorch's files ----------------------------------------------------------------------------------------------------


def test_every_dtype_and_view_of_a_pth_file(tmp_path, save):
    base = np.arange(24, dtype="f4")
    storage = Storage(base)
    bits = (np.array([1.0, -2.5, 3e38], "f4").view("u4") >> 16).astype("u2")
    tree = {
        **{code: np.array([[0, 1], [2, 3]], code) for code in torch_writer.KINDS},
        "bfloat16": tensor(bits, kind="BFloat16"),
        "scalar": np.array(7, "i8"),
        "empty": np.empty((0, 3), "f4"),
        "transposed": tensor(storage, shape=(6, 4), strides=(1, 6)),
        "slice": tensor(storage, offset=8, shape=(3, 2), strides=(6, 2)),
        "expanded": tensor(storage, offset=3, shape=(5, 2), strides=(0, 1)),
        "parameter": Call(Name("torch._utils", "_rebuild_parameter"), (tensor(storage), True, {})),
    }
    save(tree, tmp_path / "a.pth")
    grid = base.reshape(4, 6)
    expected = {code: tree[code] for code in torch_writer.KINDS} | {
        "bfloat16": (bits.astype("u4") << 16).view("f4"),
        "scalar": np.array(7, "i8"),
        "empty": np.empty((0, 3), "f4"),
        "transposed": grid.T,
        "slice": grid[1:, 2:6:2],
        "expanded": np.stack([base[3:5]] * 5),
        "parameter": base,
    }
    assert_same(readers.read(tmp_path / "a.pth").tensors, expected)


def test_a_file_of_a_big_endian_machine(tmp_path):
    save_zip(WEIGHTS, tmp_path / "a.pth", byteorder="big")
    assert_same(readers.read(tmp_path / "a.pth").tensors, WEIGHTS)


NAMESPACE = Call(Name("argparse", "Namespace"), (), {"lr": 0.1, "layers": [1, 2]})
NUMPY_SCALAR = Call(
    Name("numpy.core.multiarray", "scalar"),
    (Call(Name("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0)), b"\0" * 8),
)


def training_checkpoint():
    ema = {f"module.{name}": -array for name, array in WEIGHTS.items()}
    return {
        "epoch": 3,
        "best": NUMPY_SCALAR,
        "optimizer": {"state": {0: {"step": 5, "exp_avg": np.ones(2, "f4")}}, "param_groups": [{"lr": 0.1}]},
        "args": NAMESPACE,
        "config": Call(Name("yacs.config", "CfgNode"), (), {"MODEL": "mixer"}),
        "model_ema": ema,
        "model": Call(Name("collections", "OrderedDict"), ([*map(list, WEIGHTS.items())],), {"_metadata": {}}),
    }


def test_the_model_is_found_in_a_training_checkpoint_and_the_choice_is_told(tmp_path, save):
    save(training_checkpoint(), tmp_path / "a.pth")
    checkpoint = readers.read(tmp_path / "a.pth")
    assert_same(checkpoint.tensors, WEIGHTS)
    assert checkpoint.metadata == {"key": "model", "others": "model_ema"}


def test_a_key_says_which_and_may_go_on_into_the_names(tmp_path, save):
    save({"outer": training_checkpoint()}, tmp_path / "a.pth")
    negative = {name: -array for name, array in WEIGHTS.items()}
    assert_same(readers.read(tmp_path / "a.pth", key="outer.model_ema.module").tensors, negative)
    assert set(readers.read(tmp_path / "a.pth", key="outer.model_ema").tensors) == {
        f"module.{name}" for name in WEIGHTS
    }
    with pytest.raises(ValueError, match=r"no tensors at key='ema'; there are some at outer.model_ema, outer.model"):
        readers.read(tmp_path / "a.pth", key="ema")


def test_find_state_dict():
    one, two = {"a": np.ones(1), "steps": 3}, {"b": np.zeros(1), "c": np.zeros(1)}
    assert readers.find_state_dict(one) == ({"a": one["a"]}, {"key": "", "others": ""})
    assert readers.find_state_dict({"state_dict": two, "mean": np.zeros(3)})[1]["key"] == "state_dict"
    assert readers.find_state_dict({"anything": two})[1]["key"] == "anything"
    assert readers.find_state_dict({"model": {"state_dict": two}})[1]["key"] == "model.state_dict"
    assert readers.find_state_dict({"optimizer": {"exp_avg": two}, "anything": two})[1] == {
        "key": "anything",
        "others": "",
    }
    with pytest.raises(ValueError, match=r"several places \(x, y\): name one with `key`"):
        readers.find_state_dict({"x": one, "y": two})
    with pytest.raises(ValueError, match="holds no tensors"):
        readers.find_state_dict({"epoch": 3})


def test_an_optimizer_is_never_read(tmp_path):
    tree = training_checkpoint()
    save_zip(tree, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as whole, zipfile.ZipFile(tmp_path / "b.pth", "w") as part:
        for name in whole.namelist():
            if name != "archive/data/0":  # the optimizer's storage
                part.writestr(name, whole.read(name))
    assert_same(readers.read(tmp_path / "b.pth").tensors, WEIGHTS)


# PyTorch itself, where it is installed, agrees on both directions.
if importlib.util.find_spec("torch"):
    # In processes of their own: builds of PyTorch for GPUs and TensorFlow do not bear each other in one.
    SAVE = """
import argparse, sys, numpy as np, torch
folder, zipped, protocol = sys.argv[1], sys.argv[2] == "True", int(sys.argv[3])
base = torch.arange(24.0).reshape(4, 6)
state = {
    "half": torch.randn(5).half(), "bfloat16": torch.randn(5, 3).bfloat16(), "int64": torch.tensor(7),
    "transposed": base.t(), "slice": base[1:, 2:5:2], "parameter": torch.nn.Parameter(torch.randn(2)),
    "empty": torch.empty(0, 3), "expanded": torch.randn(1, 3).expand(5, 3), "bool": torch.tensor([True, False]),
    "uint16": torch.tensor([1, 65535], dtype=torch.uint16), "complex": torch.randn(2, dtype=torch.complex64),
}
layer = torch.nn.Linear(3, 4)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.randn(5, 3)).sum().backward()
optimizer.step()
tree = {
    "model": state, "optimizer": optimizer.state_dict(), "args": argparse.Namespace(lr=0.1, kind=torch.float16),
    "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5]).state_dict(),
    "best": np.float64(3.5), "classes": np.arange(6, dtype=">f4").reshape(2, 3, order="F"),
    "shape": torch.Size([1, 2]), "device": torch.device("cpu"), "names": {"a", "b"},
}
torch.save(tree, folder + "/a", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
plain = {name: value.float() if value.dtype == torch.bfloat16 else value for name, value in state.items()}
np.savez(folder + "/expected.npz", **{name: value.detach().numpy() for name, value in plain.items()})
"""
    LOAD = """
import sys, numpy as np, torch
state = torch.load(sys.argv[1] + "/a.pth", weights_only=True)["model"]
assert state.pop("b").tolist() == [1.0, -2.5]
np.savez(sys.argv[1] + "/read.npz", **{name: value.numpy() for name, value in state.items()})
"""

    def with_torch(code, *arguments):
        done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("protocol", [2, 5])
    def test_what_torch_saves_is_read(tmp_path, zipped, protocol):
        with_torch(SAVE, tmp_path, zipped, protocol)
        assert_same(readers.read(tmp_path / "a").tensors, np.load(tmp_path / "expected.npz"))

    def test_torch_reads_what_the_tests_write(tmp_path, save):
        bits = np.array([0x3F80, 0xC020], "u2")
        save({"model": WEIGHTS | {"b": tensor(bits, kind="BFloat16")}, "epoch": 3}, tmp_path / "a.pth")
        with_torch(LOAD, tmp_path)
        assert_same(np.load(tmp_path / "read.npz"), WEIGHTS)


# Pickles that mean harm ---------------------------------------------------------------------------------------------


def storage_opcodes(size=4, key=b"0"):
    return b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + key + b"X\x03\0\0\0cpuK" + bytes([size]) + b"tQ"


def tensor_opcodes(offset=b"K\0", shape=b"K\x04\x85", strides=b"K\x01\x85", storage=None):
    """`{"a": _rebuild_tensor(storage, offset, shape, strides)}`."""
    call = b"ctorch._utils\n_rebuild_tensor\n(" + (storage or storage_opcodes()) + offset + shape + strides + b"tR"
    return b"\x80\x02}X\x01\0\0\0a" + call + b"s."


def command(function, argument):
    return b"\x80\x02c" + function + b"\nX" + len(argument).to_bytes(4, "little") + argument + b"\x85R."


EVIL = {
    "os.system": (command(b"os\nsystem", b"touch owned"), r"names `os\.system`.*refused \(nothing was executed\)"),
    "posix": (command(b"posix\nsystem", b"touch owned"), r"names `posix\.system`"),
    "eval": (command(b"builtins\neval", b"open('owned','w')"), r"names `builtins\.eval`"),
    "exec of Python 2": (command(b"__builtin__\nexec", b"open('owned','w')"), r"names `__builtin__\.exec`"),
    "getattr": (b"\x80\x02cbuiltins\ngetattr\ncbuiltins\n__import__\nX\1\0\0\0a\x86R.", r"names `builtins\.getattr`"),
    "dotted name": (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", r"OrderedDict\.__init__"),
    "nested torch.load": (
        command(b"torch.storage\n_load_from_bytes", b""),
        r"names `torch\.storage\._load_from_bytes`",
    ),
    "INST": (b"(X\x0b\0\0\0touch ownedios\nsystem\n.", "opcode INST"),
    "OBJ": (b"\x80\x02(cos\nsystem\nX\x0b\0\0\0touch ownedo.", "names `os.system`"),
    "extension": (b"\x80\x02\x82\x01.", "opcode EXT1"),
    "call of a value": (b"\x80\x02K\x01)R.", "a call of something that is no function"),
    "call of a type": (b"\x80\x02cbuiltins\nint\n)R.", "a call of something that is no function"),
    "odd OrderedDict": (b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.", "not made of pairs"),
    "state for a list": (b"\x80\x02]K\x01b.", "a list with a state"),
    "object array": (b"\x80\x02cnumpy\ndtype\nX\x02\0\0\0O8\x85R.", "NumPy array of dtype 'O8'"),
    "huge memo index": (b"\x80\x02}r\xff\xff\xff\xff.", "holds no tensors"),
    "unknown memo index": (b"\x80\x02h\x07.", "damaged"),
    "huge length": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f" + b"a.", "pickle|damaged"),
    "no STOP": (b"\x80\x02}", "before seeing STOP"),
    "empty stack": (b"\x80\x020.", "damaged"),
    "no mark": (b"\x80\x02t.", "damaged"),
    "unhashable key": (b"\x80\x02}]K\x01s.", "keys are not plain"),
    "slow hash": (b"\x80\x02)" + b"q\1h\1\x86" * 99 + b"q\1}h\1K\1s.", "keys are not plain"),
    "beyond its storage": (tensor_opcodes(shape=b"K\x05\x85"), "beyond its storage of 4"),
    "offset beyond": (tensor_opcodes(offset=b"K\x01"), "beyond its storage of 4"),
    "stride beyond": (tensor_opcodes(strides=b"K\x02\x85"), "beyond its storage of 4"),
    "negative offset": (tensor_opcodes(offset=b"J\xff\xff\xff\xff"), "natural numbers"),
    "negative stride": (tensor_opcodes(offset=b"K\x03", strides=b"J\xff\xff\xff\xff\x85"), "natural numbers"),
    "too few strides": (tensor_opcodes(strides=b")"), "malformed tensor"),
    "wrong storage size": (tensor_opcodes(storage=storage_opcodes(size=9)), "damaged"),
    "no such storage": (tensor_opcodes(storage=storage_opcodes(key=b"7")), "damaged"),
    "storage that is none": (tensor_opcodes(storage=b"K\x01"), "malformed tensor"),
    "module of the legacy form": (b"\x80\x02(X\x06\0\0\0modulecos\nsystem\nNNtQ.", r"names `os\.system`"),
}


@pytest.mark.parametrize("what", EVIL)
def test_harmful_pickles_are_refused_and_not_executed(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    opcodes, message = EVIL[what]
    save_pickle(opcodes, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=message) as error:
        readers.read(tmp_path / "evil.pth")
    assert str(tmp_path / "evil.pth") in str(error.value)
    assert not (tmp_path / "owned").exists()


def test_the_tensor_that_the_harmful_ones_are_made_from_is_read(tmp_path):
    save_pickle(tensor_opcodes(), tmp_path / "good.pth")
    assert_same(readers.read(tmp_path / "good.pth").tensors, {"a": np.arange(4, dtype="f4")})


def test_a_whole_pickled_model_is_refused_with_advice(tmp_path, save):
    save(Call(Name("models.mixer", "Mixer"), ()), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"names `models\.mixer\.Mixer`.*save the model's `state_dict\(\)` alone"):
        readers.read(tmp_path / "a.pth")


def test_a_compressed_member_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(ValueError, match="compressed"):
        readers.read(tmp_path / "a.pth")
