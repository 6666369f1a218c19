"""Files in the formats of `torch.save`, without PyTorch.

The pickles name PyTorch's functions and classes, which need not exist to be named.
"""

import dataclasses
import pickle
import zipfile

import numpy as np

KINDS = {
    **{"f4": "Float", "f8": "Double", "f2": "Half", "c8": "ComplexFloat"},
    **{"i8": "Long", "i4": "Int", "i1": "Char", "u1": "Byte", "b1": "Bool"},
}


@dataclasses.dataclass(frozen=True)
class Name:
    """A function or class, by its name."""

    module: str
    name: str


@dataclasses.dataclass
class Call:
    """What calling a function makes, with an optional state for it."""

    function: Name
    args: tuple = ()
    state: object = None


@dataclasses.dataclass(eq=False)
class Storage:
    """A run of numbers; `kind` is the first part of the storage class' name, by default the one of the dtype."""

    data: np.ndarray
    kind: str = ""

    def __post_init__(self):
        self.kind = self.kind or KINDS[self.data.dtype.str[1:]]


ORDERED_DICT = Name("collections", "OrderedDict")


def tensor(data, offset=0, shape=None, strides=None, kind=""):
    """A tensor: of an array, or a view (offset and strides in elements) of an array or a `Storage`."""
    storage = data if isinstance(data, Storage) else Storage(data, kind)
    shape = storage.data.shape if shape is None else shape
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, (storage, offset, tuple(shape), strides, False, Call(ORDERED_DICT)))


class _Pickler(pickle._Pickler):
    def __init__(self, file, storages, legacy):
        super().__init__(file, protocol=2)
        self.storages, self.legacy = storages, legacy

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Name):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(pickle.REDUCE)
            if obj.state is not None:
                self.save(obj.state)
                self.write(pickle.BUILD)
        elif isinstance(obj, np.ndarray):
            self.save(tensor(obj))
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        key = str(self.storages.index(obj))
        identifier = ("storage", Name("torch", f"{obj.kind}Storage"), key, "cpu", obj.data.size)
        return (*identifier, None) if self.legacy else identifier


def save_zip(tree, path, name="archive", byteorder="little"):
    """Write `tree` (arrays become tensors) as PyTorch 1.6 and later do."""
    storages = []
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{name}/data.pkl", "w") as file:
            _Pickler(file, storages, legacy=False).dump(tree)
        archive.writestr(f"{name}/byteorder", byteorder)
        for key, storage in enumerate(storages):
            data = storage.data if byteorder == "little" else storage.data.byteswap()
            archive.writestr(f"{name}/data/{key}", data.tobytes())
        archive.writestr(f"{name}/version", "3\n")


def save_legacy(tree, path):
    """Write `tree` as PyTorch did before 1.6."""
    storages = []
    with open(path, "wb") as file:
        for header in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}):
            pickle.dump(header, file, protocol=2)
        _Pickler(file, storages, legacy=True).dump(tree)
        pickle.dump([str(key) for key in range(len(storages))], file, protocol=2)
        for storage in storages:
            file.write(storage.data.size.to_bytes(8, "little"))
            file.write(storage.data.tobytes())


def save_pickle(opcodes: bytes, path):
    """Write a zip file whose pickle is the given bytes, with the storages "0" (of 4 float32) beside it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", opcodes)
        archive.writestr("archive/data/0", np.arange(4, dtype="f4").tobytes())
