"""NumPy's `.npz` files: a zip archive of arrays, unpacked no further than the file's length allows."""

import io
import math
import zipfile

import numpy as np

from keras_mlp.checkpoints.untrusted import Allowance, unpack

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LONGEST_HEADER = 1 << 16


def read(path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by their names.

    Raises:
        ValueError: it declares more than it can hold, or holds objects, records or arrays that are not whole.
    """
    allowance = Allowance.of(path)
    with zipfile.ZipFile(path) as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if len(infos) < len(archive.infolist()):
            raise ValueError("two of its arrays have one name")
        return {name: _array(name, unpack(archive, info, allowance)) for name, info in infos.items()}


def _array(name, data):
    stream = io.BytesIO(data[:_LONGEST_HEADER])
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"its array {name!r} is of version {version} of the .npy format, which no number needs")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise ValueError(
            f"its array {name!r} holds Python objects, as pickles, which are not executed. If you trust the file, open "
            "it with NumPy and save its numerical arrays alone"
        )
    if dtype.kind not in "biufcmMSU" or any(n < 0 for n in shape):
        raise ValueError(f"its array {name!r} is no array of numbers, but of dtype {dtype} and shape {shape}")
    count, start = math.prod(shape), stream.tell()
    if len(data) - start != count * dtype.itemsize:
        raise ValueError(
            f"its array {name!r} has {len(data) - start} bytes, and of {dtype} and shape {shape} it would have "
            f"{count * dtype.itemsize}"
        )
    if not count * dtype.itemsize:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if fortran else "C")
