"""Checkpoint files of every supported format, read to NumPy arrays. A file is recognised by its content."""

import dataclasses
import os
import pathlib
import zipfile

import numpy as np

from keras_mlp.checkpoints import hdf5, npz, packed, torch_reader
from keras_mlp.checkpoints.untrusted import Allowance, refusing, some

SUPPORTED = "NumPy .npz, .safetensors, PyTorch .pth/.pt and Keras .weights.h5 and .h5 files"

# Where training scripts keep the state dict, in the order of preference: what was trained before its moving average.
USUAL_KEYS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network", "module", "params", "weights"),
    *("model_ema", "state_dict_ema", "model_ema_state_dict", "ema_state_dict", "ema_model", "ema"),
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        tensors: arrays by the file's own names, in its own axis order. bfloat16 has become float32.
        format: "npz", "safetensors", "pth", "weights.h5" or "h5", of Keras 2.
        metadata: strings kept beside them: a safetensors header's. For "pth", `key` is where the tensors were found in
            the file, and `others` where else they could have been, separated by commas.
        layers: of a "weights.h5" file, the names of the layers by the groups that hold their weights, where it tells.
    """

    tensors: dict[str, np.ndarray]
    format: str
    metadata: dict[str, str]
    layers: dict[str, str] = dataclasses.field(default_factory=dict)


def read(path, key: str | None = None) -> Checkpoint:
    """Read a checkpoint file. No pickle is executed.

    Args:
        path: the file; its suffix does not matter.
        key: where the tensors are inside the file, e.g. "model_ema", with dots between levels. In formats
            that have no levels, the first part of the tensors' names. By default, the usual places.

    Returns:
        A `Checkpoint`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read; the message says what it looks like and what to do.
    """
    path = pathlib.Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a checkpoint file. Supported are {SUPPORTED}.")
    if not path.exists():
        hint = ""
        if path.with_name(path.name + ".index").exists():
            hint = f" It is a TensorFlow checkpoint's name; these are not supported, only {SUPPORTED} are."
        raise FileNotFoundError(f"There is no checkpoint file {path}.{hint}")
    if not path.is_file():
        raise ValueError(f"{path} is no regular file, but a device or a pipe. Supported are {SUPPORTED}.")
    with refusing(path):
        return _read(path, key)


def _read(path, key):
    with path.open("rb") as file:
        head = file.read(1024)
        file.seek(max(0, path.stat().st_size - 8))
        tail = file.read()
    if what := not_weights(head):
        raise ValueError(f"{path} is not a checkpoint: it looks like {what}")
    length = int.from_bytes(head[:8], "little")
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(path, key)
    if torch_reader.LEGACY_MAGIC in head[:64]:
        return _read_torch(path, key)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return select(_read_hdf5(path), key, path)
    if head[8:9] == b"{" and length < 100_000_000:
        return select(_read_safetensors(path), key, path)
    if tail == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb":
        raise ValueError(
            f"{path} is the index of a TensorFlow checkpoint, which is not supported: only {SUPPORTED} are."
        )
    if head[:1] == b"\x80":
        raise ValueError(
            f"{path} is a pickle, but none of PyTorch's, and pickles are not executed. Supported are {SUPPORTED}."
        )
    raise ValueError(f"{path} is of no known format: it starts with {head[:16]!r}. Supported are {SUPPORTED}.")


def not_weights(head: bytes) -> str | None:
    """What a file is that was taken for a checkpoint by mistake, and what to do about it.

    Args:
        head: its first bytes, a few hundred.

    Returns:
        The end of a sentence, or `None` for what may be a checkpoint.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if not head:
        return "an empty file. Fetch it again."
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")):
        return (
            "a web page, as servers send for an error or a login. Open its address in a browser to fetch the real file."
        )
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, which stands for the real file. Run `git lfs pull`, or download the file itself."
    if start.startswith(b"\x1f\x8b"):
        return "a gzip archive. Unpack it first."
    if head[257:262] == b"ustar":
        return (
            "a tar archive. Unpack it first; if PyTorch before 0.2 wrote it, load it with PyTorch and save its "
            "`state_dict()` again."
        )
    if head[4:8] == b"TFL3":
        return "an exported TFLite model. Weights are loaded from the checkpoint that it was made from."
    if len(head) > 8 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return f"text, which begins with {head[:40].decode()!r}. Fetch the real file."
    return None


def _read_zip(path, key):
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is a truncated archive (.npz, .pth or .keras): its end is missing. Fetch it again.")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return _read_torch(path, key)
    if "model.weights.h5" in names and "config.json" in names:
        raise ValueError(
            f"{path} is a whole Keras model, not weights alone. Open it with `keras.models.load_model` (after "
            "`import keras_mlp`); its `save_weights` writes a file that can be loaded here."
        )
    if names and all(name.endswith(".npy") for name in names):
        return select(_read_npz(path), key, path)
    raise ValueError(
        f"{path} is a zip archive, but no checkpoint: it holds {some(names, 3) or 'nothing'}. "
        f"Supported are {SUPPORTED}."
    )


def _read_npz(path):
    return Checkpoint({name: _no_bfloat16(array) for name, array in npz.read(path).items()}, "npz", {})


def _read_safetensors(path):
    import safetensors

    allowance = Allowance.of(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {}
        for name in file.keys():  # noqa: SIM118 (no mapping)
            try:
                tensors[name] = _no_bfloat16(file.get_tensor(name))
            except (AttributeError, TypeError) as error:
                raise ValueError(f"{name!r} is of numbers that NumPy does not know. Save it as float32") from error
            allowance.take(name, tensors[name].nbytes)
        metadata = dict(file.metadata() or {})
    if packed.SHAPES in metadata:
        tensors = packed.from_bits(tensors, metadata[packed.SHAPES])
    return Checkpoint(tensors, "safetensors", metadata)


def _read_hdf5(path):
    allowance = Allowance.of(path)
    with hdf5.checked(path, allowance) as (file, datasets):
        old = any(name in file.attrs for name in ("layer_names", "layer_names0"))
        if "model_config" in file.attrs and "model_weights" in file:  # a whole model: only its weights are read
            old, start = True, "model_weights/"
            datasets = {name.removeprefix(start): data for name, data in datasets.items() if name.startswith(start)}
        elif "model_config" in file.attrs:
            raise ValueError(
                f"{path} is a whole Keras model in the old HDF5 format. Open it with `keras.models.load_model`; "
                "its `save_weights` writes a file that can be loaded here."
            )
        tensors = {name: array for name, data in datasets.items() if (array := _hdf5_array(data)) is not None}
        layers = {} if old else _layer_names(file, datasets, allowance)
    if old:
        return Checkpoint({_old_name(name): array for name, array in tensors.items()}, "h5", {})
    return Checkpoint(tensors, "weights.h5", {}, layers)


def _hdf5_array(data):
    """The numbers of a data set, or `None` if it holds none."""
    dtype = data.dtype
    if dtype.kind in "biufc":
        return data[()] if data.shape is not None else None
    if dtype == np.dtype("V2") and data.attrs.get("dtype") == "bfloat16":
        return (data[()].view("<u2").astype(np.uint32) << 16).view(np.float32)
    return None


def _old_name(path):
    """Keras 2 puts a weight into a group of its layer's name, which is in the weight's own name again."""
    parts = path.removesuffix(":0").split("/")
    for count in range(len(parts) // 2, 0, -1):
        for start in range(count, len(parts) - count):
            if parts[:count] == parts[start : start + count]:
                return "/".join(parts[start:])
    return "/".join(parts)


def _layer_names(file, datasets, allowance):
    """Keras keys the file by classes and counters; since 3.10 it leaves the layers' own names beside the weights."""
    names = {}
    for group in {path.rpartition("/")[0] for path in datasets} - {""}:
        name = file[group].attrs.get("name")
        if isinstance(name, str):
            allowance.take(group, len(name))
            names[group] = name
    return names


def _read_torch(path, key):
    with torch_reader.open_torch(path) as (tree, read_tensor):
        state, metadata = find_state_dict(tree, key)
        tensors = {
            name: read_tensor(value) if isinstance(value, torch_reader.Tensor) else value
            for name, value in state.items()
        }
    return Checkpoint(tensors, "pth", metadata)


def find_state_dict(tree, key: str | None = None) -> tuple[dict, dict[str, str]]:
    """The dictionary of tensors inside what a training script saved.

    Args:
        tree: nested dictionaries with tensors in them.
        key: where to look, with dots between levels; by default the whole, then `USUAL_KEYS` in their order, then the
            only place there is.

    Returns:
        `(tensors, metadata)`: the tensors by name, without what else was among them, and `{"key": where they
        were, "others": where else they could have been}`.

    Raises:
        ValueError: there are none, or there are several places and none of the usual ones.
    """
    found = dict(_state_dicts(tree))
    if key is not None and key not in found:
        tensors = next((inside for place, state in found.items() if (inside := _under(state, place, key))), None)
        if tensors is None:
            places = some(found) or "no key"
            raise ValueError(f"there are no tensors at key={key!r}; there are some at {places}")
        return tensors, {"key": key, "others": ""}
    if key is None:
        order = ["", *USUAL_KEYS, *(f"{outer}.{inner}" for outer in USUAL_KEYS for inner in USUAL_KEYS)]
        usual = [name for name in order if name in found]
        if not usual and len(found) != 1:
            several = f"tensors at several places ({some(found)}): name one with `key`"
            raise ValueError(f"it holds {several if found else 'no tensors'}")
        key = (usual or list(found))[0]
    others = ", ".join(name for name in found if name != key)
    return {name: value for name, value in found[key].items() if _is_tensor(value)}, {"key": key, "others": others}


def _under(state, place, key):
    """The tensors of the dictionary at `place` whose names begin with what `key` has beyond it."""
    start = f"{place}." if place else ""
    if not key.startswith(start):
        return {}
    prefix = key.removeprefix(start) + "."
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix) and _is_tensor(t)}


def _is_tensor(value) -> bool:
    return isinstance(value, torch_reader.Tensor | np.ndarray)


# Entries looked at in search of the tensors: a few bytes can name one dictionary at billions of places.
_MOST_ENTRIES = 200_000


def _state_dicts(tree, place="", depth=3, looked=None):
    """`(place, dictionary)` of each dictionary of named tensors that is not inside another or an optimizer's."""
    looked = [0] if looked is None else looked
    if not isinstance(tree, dict):
        return []
    looked[0] += len(tree)
    if looked[0] > _MOST_ENTRIES:
        raise ValueError("its dictionaries are in each other more often than those of any checkpoint")
    if not all(isinstance(name, str) for name in tree):
        return []
    inner = [
        found
        for name, value in tree.items()
        if depth and not name.startswith(("optim", "sched", "scaler"))
        for found in _state_dicts(value, f"{place}.{name}" if place else name, depth - 1, looked)
    ]
    count = sum(map(_is_tensor, tree.values()))
    if count and count >= max((sum(map(_is_tensor, found.values())) for _, found in inner), default=0):
        return [(place, tree)]
    return inner


def select(checkpoint: Checkpoint, key, path) -> Checkpoint:
    """The tensors whose names begin with `key`, without it.

    Raises:
        ValueError: there are none.
    """
    if key is None:
        return checkpoint
    for separator in "/.":
        prefix = key.replace(".", separator) + separator
        tensors = {
            name.removeprefix(prefix): value for name, value in checkpoint.tensors.items() if name.startswith(prefix)
        }
        if tensors:
            return dataclasses.replace(checkpoint, tensors=tensors, metadata=checkpoint.metadata | {"key": key})
    starts = sorted({name.replace("/", ".").split(".")[0] for name in checkpoint.tensors})
    raise ValueError(f"{os.fspath(path)} has no tensors under key={key!r}. Its names begin with: {some(starts, 20)}.")


def _no_bfloat16(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
