"""Files that attack, overwhelm or are damaged: one line of a `ValueError` that names the file, and little memory."""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from checkpoints.torch_writer import save_legacy, save_pickle, save_zip, tensor

from keras_mlp import classifiers, export
from keras_mlp.checkpoints import packed, readers, whole_models
from keras_mlp.cli import models

HERE = pathlib.Path(__file__).parent
FOUR = np.arange(4, dtype="f4")
MOST = 80 << 20
"""Bytes that reading may take for a small file: the floor of what a file's length allows, and some."""


def refused(read, path, message):
    """The message of the `ValueError` that reading a file raises, without having taken much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as error:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_damaged_files_of_every_format_give_tensors_or_one_kind_of_error(tmp_path):
    paths = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent)))
    words = [sys.executable, str(HERE / "mutations.py"), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1600 files were read\n"


# HDF5 ---------------------------------------------------------------------------------------------------------------


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "a", (4,))
    file.create_virtual_dataset("a", layout)


def deflated(file, chunk, content):
    """A data set of chunks that hold, packed, something else than they should."""
    data = file.create_dataset("a", (chunk,), "f4", chunks=(chunk,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(content, 9))


HDF5 = {
    "data in another file": (lambda f: f.create_dataset("a", (4,), "f4", external=[("secret", 0, 16)]), "other files"),
    "data in a device": (lambda f: f.create_dataset("a", (4,), "f4", external=[("/dev/zero", 0, 16)]), "other files"),
    "virtual": (virtual, "other files"),
    "external link": (lambda f: f.__setitem__("a", h5py.ExternalLink("secret.h5", "a")), "is a link"),
    "external link to a group": (lambda f: f.__setitem__("a", h5py.ExternalLink("secret.h5", "/")), "is a link"),
    "soft link": (lambda f: f.__setitem__("a", h5py.SoftLink("/a")), "is a link"),
    "group in itself": (lambda f: f.create_group("g").__setitem__("again", f), "several places"),
    "declared": (lambda f: f.create_dataset("a", (1 << 20,), "f4"), "declared and not there"),
    "declared, gigabytes": (lambda f: f.create_dataset("a", (1 << 30,), "f4"), "declares more than"),
    "declared in chunks": (lambda f: f.create_dataset("a", (1 << 28,), "f4", chunks=(1 << 20,)), "declares more than"),
    "many declared": (
        lambda f: [f.create_dataset(str(i), (1 << 22,), "f4", chunks=(1 << 10,)) for i in range(9)],
        "declares more than",
    ),
    "one large chunk": (
        lambda f: f.create_dataset("a", (4,), "f4", chunks=(1 << 26,), maxshape=(None,)),
        "declares more than",
    ),
    "a chunk that unpacks to more": (lambda f: deflated(f, 1 << 12, bytes(65 << 20)), "unpacks to more"),
    "other compression": (lambda f: f.create_dataset("a", data=FOUR, compression="lzf"), "not known"),
}


def write_hdf5(what, path):
    with h5py.File(path, "w") as file:
        HDF5[what][0](file)


def write_keras(what, path):
    """A whole model whose weights are such a file."""
    write_hdf5(what, path.with_suffix(".inner"))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": keras.__version__}))
        archive.writestr("config.json", json.dumps(keras.saving.serialize_keras_object(model)))
        archive.write(path.with_suffix(".inner"), "model.weights.h5", zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("what", HDF5)
def test_hdf5_that_leads_elsewhere_or_declares_too_much_is_refused_wherever_it_is_opened(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(FOUR.tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = FOUR
    write_hdf5(what, tmp_path / "a.weights.h5")
    refused(readers.read, tmp_path / "a.weights.h5", HDF5[what][1])
    write_hdf5(what, tmp_path / "a.h5")
    write_keras(what, tmp_path / "a.keras")
    for name in ("a.h5", "a.keras"):
        refused(whole_models.check, tmp_path / name, HDF5[what][1])
    with pytest.raises(ValueError, match=HDF5[what][1]):
        models.open_model(str(tmp_path / "a.keras"), None)


def test_honest_hdf5_is_read_however_it_is_packed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["plain"] = FOUR
        file["twice"] = file["plain"]
        file.create_dataset("chunks", data=FOUR, chunks=(3,))
        file.create_dataset("packed", data=FOUR, compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("nothing", data=h5py.Empty("f4"))
        file["text"] = "x"
        file["a\udcff".encode("utf-8", "surrogateescape")] = FOUR
    tensors = readers.read(tmp_path / "a.h5").tensors
    assert set(tensors) == {"plain", "twice", "chunks", "packed", "a\udcff"}
    for array in tensors.values():
        np.testing.assert_array_equal(array, FOUR)


def test_bfloat16_weights_of_keras_are_read(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16")])
    model.save_weights(tmp_path / "a.weights.h5")
    kernel = readers.read(tmp_path / "a.weights.h5").tensors["layers/dense/vars/0"]
    np.testing.assert_array_equal(kernel, np.asarray(model.layers[0].kernel).astype("float32"))


def test_a_pipe_and_a_device_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="no regular file"):
            readers.read(path)


# Zip archives and safetensors ---------------------------------------------------------------------------------------


def npy(shape, data, dtype="<f4"):
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def write_npz(path, content, method=zipfile.ZIP_STORED, understated=False):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", content)
    if understated:
        data = bytearray(path.read_bytes())
        place = data.index(b"PK\1\2")
        data[place + 24 : place + 28] = struct.pack("<I", 100)
        path.write_bytes(data)


BOMB = bytes(65 << 20)
NPZ = {
    "zeros": (npy(f"({len(BOMB) // 4},)", BOMB), "declares more than", {"method": zipfile.ZIP_DEFLATED}),
    "zeros by lzma": (npy(f"({len(BOMB) // 4},)", BOMB), "declares more than", {"method": zipfile.ZIP_LZMA}),
    "longer than it says": (npy("(1,)", BOMB), "cannot be read", {"method": zipfile.ZIP_DEFLATED, "understated": True}),
    "declared": (npy("(400000000,)", FOUR.tobytes()), "has 16 bytes", {}),
    "negative": (npy("(-2, -2)", FOUR.tobytes()), "no array of numbers", {}),
    "longer": (npy("(3,)", FOUR.tobytes()), "has 16 bytes", {}),
    "records": (npy("(4,)", FOUR.tobytes(), [("x", "<f4")]), "no array of numbers", {}),
    "objects": (npy("(4,)", FOUR.tobytes(), "|O"), "not executed", {}),
}


@pytest.mark.parametrize("what", NPZ)
def test_npz_files_that_declare_more_than_they_hold_are_refused(tmp_path, what):
    content, message, options = NPZ[what]
    write_npz(tmp_path / "a.npz", content, **options)
    refused(readers.read, tmp_path / "a.npz", message)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_honest_npz_files_are_read_however_they_are_packed(tmp_path, method):
    write_npz(tmp_path / "a.npz", npy("(2, 2)", FOUR.tobytes()), method)
    np.testing.assert_array_equal(readers.read(tmp_path / "a.npz").tensors["a"], FOUR.reshape(2, 2))


PACKED = {
    "scales that widen the kernel": ([8, 1], np.ones((1, 5), "f4"), "do not|does not fit"),
    "scales of more axes": ([8, 1], np.ones((1, 1, 1), "f4"), "does not fit"),
    "a bomb": ([2**18, 1], np.ones((1, 2**12), "f4"), "does not fit"),
    "no shape": (8, np.ones(1, "f4"), "no list of positive"),
    "negative": ([-2, -4], np.ones((1, 1), "f4"), "no list of positive"),
    "huge": ([2**40, 2**40], np.ones((1, 1), "f4"), "not as many"),
    "truths": ([True, 8], np.ones((1, 1), "f4"), "no list of positive"),
}


@pytest.mark.parametrize("what", PACKED)
def test_packed_kernels_are_checked_before_they_are_unpacked(tmp_path, what):
    shape, scale, message = PACKED[what]
    count = np.prod(shape) if what == "a bomb" else 8
    tensors = {"k.signs": np.zeros(count // 8, "u1"), "k.scale": scale}
    safetensors.numpy.save_file(tensors, tmp_path / "a", {packed.SHAPES: json.dumps({"k": shape})})
    refused(readers.read, tmp_path / "a", message)


@pytest.mark.parametrize("shapes", ["{", "[1]", "5", "null", '{"k": ' + "[" * 10**5 + "]" * 10**5 + "}"])
def test_the_shapes_of_packed_kernels_are_an_object_of_lists(tmp_path, shapes):
    safetensors.numpy.save_file({"k": FOUR}, tmp_path / "a", {packed.SHAPES: shapes})
    refused(readers.read, tmp_path / "a", "cannot be read")


# Pickles that grow --------------------------------------------------------------------------------------------------


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def calling(name, argument):
    module, _, leaf = name.rpartition(".")
    return b"\x80\x02}" + text("a") + f"c{module}\n{leaf}\n".encode() + argument + b"\x85Rs."


def laughs():
    """A list of ten lists of ten lists …: a few hundred bytes that stand for 10^12 values."""
    yield b"](" + text("lol") + b"eq\0"
    for level in range(12):
        yield b"0](" + bytes([104, level]) * 10 + b"e" + bytes([113, level + 1])


def shared(levels, width):
    """Dictionaries of dictionaries that are the same."""
    yield b"\x80\x02"
    for level in range(levels):
        child = bytes([104, level - 1]) if level else b"K\1"
        yield b"0" * (level > 0) + b"}(" + b"".join(text(str(i)) + child for i in range(width)) + b"u"
        yield bytes([113, level])
    yield b"."


LOL = b"".join(laughs())
DTYPE = b"cnumpy\ndtype\n" + text("f4") + b"\x85Rq\1(K\3" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tq\2"
MEMO = b"".join(b"r" + struct.pack("<I", i) for i in range(3, 50_000))
PICKLES = {
    "device": (calling("torch.device", LOL), "malformed device"),
    "layout": (calling("torch.serialization._get_layout", LOL), "malformed layout"),
    "shape": (calling("torch.Size", LOL), "natural numbers"),
    "dtype": (calling("numpy.dtype", LOL), "malformed NumPy dtype"),
    "persistent identifier": (b"\x80\x02" + LOL + b"Q.", "storage of a kind"),
    "stack global": (b"\x80\x04" + LOL + text("x") + b"\x93.", "name that is no text"),
    "in the state": (b"\x80\x02" + LOL + b"0}" + text("a") + b"h\x0cs.", "holds no tensors"),
    "shared dictionaries": (b"".join(shared(5, 40)), "in each other"),
    "a memo searched at every value": (b"\x80\x02}" + MEMO + DTYPE + b"h\1h\2b0" * 20_000 + b"00.", "no tensors"),
    "one text for many calls": (
        b"\x80\x02" + text("x" * 10**5) + b"q\0" + b"0c_codecs\nencode\nh\0\x85R" * 1000 + b".",
        "take for ever",
    ),
    "one dictionary for many calls": (
        b"\x80\x02}(" + b"".join(text(str(i)) + b"N" for i in range(20_000)) + b"uq\0"
        b"" + b"ccollections\nOrderedDict\nh\0\x85R0" * 100 + b".",
        "take for ever",
    ),
    "long numbers as keys": (b"\x80\x02}\x8a\x14" + b"\x7f" * 20 + b"K\1s.", "keys are not plain"),
    "nested tuples": (b"\x80\x02)" + b"\x85" * 50_000 + b".", "holds no tensors"),
}


@pytest.mark.parametrize("what", PICKLES)
def test_pickles_that_would_grow_are_refused_in_time(tmp_path, what):
    opcodes, message = PICKLES[what]
    save_pickle(opcodes, tmp_path / "a.pth")
    refused(readers.read, tmp_path / "a.pth", message)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_view_may_not_repeat_its_storage_without_end(tmp_path, save):
    save({"a": tensor(FOUR, 0, (10**5, 10**4), (0, 0))}, tmp_path / "a.pth")
    refused(readers.read, tmp_path / "a.pth", "declares more than")
    save({"a": tensor(FOUR, 0, (3, 2), (1, 1))}, tmp_path / "a.pth")
    np.testing.assert_array_equal(readers.read(tmp_path / "a.pth").tensors["a"], [[0, 1], [1, 2], [2, 3]])


@pytest.mark.parametrize("replaced", [b"\x80\x02M\xe9\x03.", b"\x80\x02]q\0."])
def test_the_version_and_the_keys_of_the_legacy_form_are_not_printed(tmp_path, replaced):
    save_legacy({"a": FOUR}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    if replaced not in content:
        replaced = content[content.rindex(b"\x80\x02]") : content.rindex(b"\x80\x02]") + 20].split(b".")[0] + b"."
    (tmp_path / "a.pth").write_bytes(content.replace(replaced, b"\x80\x02" + LOL + b"."))
    refused(readers.read, tmp_path / "a.pth", "version of the legacy form|not a list of texts")


# What exported files tell of themselves -----------------------------------------------------------------------------

METADATA = {
    "labels that fill the memory": ({"labels.txt": bytes(1 << 25)}, zipfile.ZIP_DEFLATED, "declares more than"),
    "a description that does": ({"metadata.json": bytes(1 << 25)}, zipfile.ZIP_DEFLATED, "declares more than"),
    "no JSON": ({"metadata.json": b"{"}, zipfile.ZIP_STORED, "cannot be read"),
    "a list": ({"metadata.json": b"[]"}, zipfile.ZIP_STORED, "no JSON object"),
    "nested": ({"metadata.json": b"[" * 10**5}, zipfile.ZIP_STORED, "damaged"),
    "no object inside": ({"metadata.json": b'{"preprocessing": 5}'}, zipfile.ZIP_STORED, "no JSON object"),
    "no UTF-8": ({"labels.txt": b"\xff"}, zipfile.ZIP_STORED, "cannot be read"),
    "damaged": ({"labels.txt": b"cat\ndog\n"}, zipfile.ZIP_STORED, "damaged"),
}


@pytest.mark.parametrize("what", METADATA)
def test_descriptions_of_exported_files_are_bounded_and_refused_in_one_way(tmp_path, what):
    members, method, message = METADATA[what]
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with zipfile.ZipFile(path, "a", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if what == "damaged":
        path.write_bytes(path.read_bytes().replace(b"cat\n", b"cow\n"))
    refused(export.read_metadata, path, message)


@pytest.mark.parametrize(
    "described",
    [
        {"preprocessing": {"mean": "x"}},
        {"preprocessing": {"no such": 1}},
        {"preprocessing": {"std": [1, 2]}},
        {"class_ids": ["a"]},
        {"class_ids": 5},
    ],
)
def test_a_description_that_fits_no_model_is_refused(tmp_path, described):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    export.attach_metadata(path, described, ["cat", "dog"])
    output = classifiers.Output("exclusive", "softmax", 2)
    refused(lambda path: models._told_by(str(path), output), path, "cannot be read")
