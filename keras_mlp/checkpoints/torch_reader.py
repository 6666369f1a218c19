"""PyTorch's `.pth` files, read without PyTorch and without executing anything.

Both forms of `torch.save` are pickles with the tensors' bytes beside them: the zip form (PyTorch 1.6 and later) has
one member per storage, the legacy form is five pickles in a row and then the storages. The pickles are read as data
(`unpickle.py`); tensors are read when they are asked for, so that an optimizer's state costs nothing.
"""

import contextlib
import dataclasses
import io
import re
import struct
import zipfile

import numpy as np

from keras_mlp.checkpoints import unpickle
from keras_mlp.checkpoints.unpickle import Global
from keras_mlp.checkpoints.untrusted import Allowance, refusing

LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # PyTorch's magic number as it is pickled


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """A run of `size` numbers that tensors are views of; of raw bytes if `dtype` is `None`."""

    key: str
    dtype: np.dtype | str | None
    size: int

    @property
    def length(self) -> int:
        """In bytes."""
        return self.size * (1 if self.dtype is None else 2 if self.dtype == "bfloat16" else self.dtype.itemsize)


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor that is not read yet: a strided view of a storage; offset and strides count elements."""

    storage: Storage
    dtype: np.dtype | str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor as a read-only view of its storage's numbers."""
        if 0 in self.shape:
            return np.empty(self.shape, numbers.dtype)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if last >= numbers.size:
            raise ValueError(f"a tensor of shape {self.shape} reaches beyond its storage of {numbers.size} elements")
        steps = [step * numbers.itemsize if n > 1 else 0 for n, step in zip(self.shape, self.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps, writeable=False)


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None, dtype=None):
    if not isinstance(storage, Storage) or len(unpickle.naturals(shape)) != len(unpickle.naturals(strides)):
        raise ValueError("a malformed tensor")
    if metadata and any(metadata.values()):
        raise ValueError("a tensor with the lazy conjugate or negative bit set, which is not supported")
    return Tensor(storage, dtype.value if dtype else storage.dtype, *unpickle.naturals((offset,)), shape, strides)


def _device(kind, index=None):
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise ValueError("a malformed device")
    return kind if index is None else f"{kind}:{index}"


def _layout(name):
    if type(name) is not str:
        raise ValueError("a malformed layout")
    return name


def _tensor_v3(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
    return _tensor(storage, offset, shape, strides, requires_grad, hooks, metadata, dtype)


_NAMES = unpickle.PLAIN | {
    "torch._utils._rebuild_tensor": Global(_tensor),
    "torch._utils._rebuild_tensor_v2": Global(_tensor),
    "torch._utils._rebuild_tensor_v3": Global(_tensor_v3),
    "torch._utils._rebuild_parameter": Global(lambda data, requires_grad, hooks: data),
    "torch._utils._rebuild_parameter_with_state": Global(lambda data, requires_grad, hooks, state: data),
    "torch.Size": Global(lambda sizes=(): unpickle.naturals(tuple(sizes))),
    "torch.device": Global(_device),
    "torch.serialization._get_layout": Global(_layout),
    "torch.UntypedStorage": Global(),
    "torch.storage.UntypedStorage": Global(),
}
for _name, _storage_class, _code in (
    ("float32", "FloatStorage", "f4"),
    ("float64", "DoubleStorage", "f8"),
    ("float16", "HalfStorage", "f2"),
    ("bfloat16", "BFloat16Storage", "bfloat16"),  # NumPy has none: it becomes float32, which holds it exactly
    ("int64", "LongStorage", "i8"),
    ("int32", "IntStorage", "i4"),
    ("int16", "ShortStorage", "i2"),
    ("int8", "CharStorage", "i1"),
    ("uint8", "ByteStorage", "u1"),
    ("bool", "BoolStorage", "?"),
    ("complex64", "ComplexFloatStorage", "c8"),
    ("complex128", "ComplexDoubleStorage", "c16"),
    ("uint16", None, "u2"),
    ("uint32", None, "u4"),
    ("uint64", None, "u8"),
):
    _dtype = Global(value=_code if _code == "bfloat16" else np.dtype(_code))
    _NAMES[f"torch.{_name}"] = _dtype
    if _storage_class:
        _NAMES |= {f"torch.{_storage_class}": _dtype, f"torch.cuda.{_storage_class}": _dtype}


def _storage(identifier) -> Storage:
    # The legacy form adds `None`, where its first versions could say that the storage is part of another.
    if type(identifier) is not tuple or len(identifier) not in (5, 6):
        raise ValueError("a storage of a kind that is not supported")
    kind, storage, key, _, size, *view = identifier
    if type(kind) is not str or type(key) is not str or kind != "storage":
        raise ValueError("a storage of a kind that is not supported")
    if not isinstance(storage, Global) or any(view):
        raise ValueError("a storage of a kind that is not supported")
    return Storage(key, storage.value, *unpickle.naturals((size,)))


def _numbers(data: bytes, dtype, order: str) -> np.ndarray:
    if dtype == "bfloat16":
        return (np.frombuffer(data, f"{order}u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, dtype.newbyteorder(order)).astype(dtype, copy=False)


@contextlib.contextmanager
def open_torch(path):
    """Open a `.pth` file of either form.

    Args:
        path: the file.

    Yields:
        `(tree, read)`: what was saved, with a `Tensor` in place of each tensor, and the function that
        turns a `Tensor` into a read-only NumPy array while the file is open.

    Raises:
        ValueError: the file is damaged, holds more than tensors, plain containers and plain values, or declares
            tensors that are much larger than itself.
    """
    allowance = Allowance.of(path)
    with refusing(path), open(path, "rb") as file:
        legacy = LEGACY_MAGIC in file.read(64)
        file.seek(0)
        tree, load, order = (_open_legacy if legacy else _open_zip)(file)
        storages = {}

        def read(tensor: Tensor) -> np.ndarray:
            storage, key = tensor.storage, (tensor.storage.key, tensor.dtype)
            if key not in storages:
                allowance.take(f"storage {storage.key}", storage.length)
                data = load(storage)
                if len(data) != storage.length:
                    raise EOFError(f"storage {storage.key!r} has {len(data)} bytes")
                storages[key] = _numbers(data, tensor.dtype, order)
            array = tensor.view(storages[key])
            allowance.take(f"a tensor of storage {storage.key}", array.nbytes)  # a view can repeat what it views
            return array

        yield tree, read


def _open_zip(file):
    archive = zipfile.ZipFile(file)
    prefix = next((name for name in archive.namelist() if re.fullmatch(r"([^/]+/)?data\.pkl", name)), None)
    if prefix is None:
        raise ValueError("its pickle is not where PyTorch puts it")
    prefix = prefix.removesuffix("data.pkl")

    def member(name):
        # PyTorch never compresses. Refusing it bounds what is read by the file's own length.
        if archive.getinfo(prefix + name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its member {name!r} is compressed, which PyTorch's never are")
        return archive.read(prefix + name)

    def load(storage):
        return member(f"data/{storage.key}")

    big = f"{prefix}byteorder" in archive.namelist() and member("byteorder") == b"big"
    return unpickle.interpret(io.BytesIO(member("data.pkl")), _NAMES, _storage), load, ">" if big else "<"


def _open_legacy(file):
    storages, where = {}, {}

    def storage_once(identifier):
        storage = _storage(identifier)
        return storages.setdefault(storage.key, storage)

    _magic, version, _system, tree, keys = (unpickle.interpret(file, _NAMES, storage_once) for _ in range(5))
    if type(version) is not int or version != 1001:
        raise ValueError("it is of a version of the legacy form that is not known: only 1001 is")
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("the keys of its storages are not a list of texts")
    for key in keys:
        (size,) = struct.unpack("<q", file.read(8))
        if size != storages[key].size:
            raise ValueError(f"storage {key!r} has {size} elements and should have {storages[key].size}")
        where[key] = file.tell()
        file.seek(storages[key].length, 1)

    def load(storage):
        file.seek(where[storage.key])
        return file.read(storage.length)

    return tree, load, "<"
