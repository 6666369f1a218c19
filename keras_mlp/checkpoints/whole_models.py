"""Whole models that others made, `.keras` and old `.h5` files, looked over before Keras opens them."""

import io
import zipfile

from keras_mlp.checkpoints import hdf5
from keras_mlp.checkpoints.untrusted import Allowance, refusing, unpack


def check(path):
    """Make sure that the weights inside a file of a whole model lie in it, and that it does not fill the memory.

    Args:
        path: a `.keras` or `.h5` file. Whether it is a model, Keras tells.

    Raises:
        ValueError: its HDF5 part refers to other files or declares more than it holds, or it unpacks to far more than
            its own length.
    """
    with refusing(path):
        allowance = Allowance.of(path)
        if not zipfile.is_zipfile(path):
            with open(path, "rb") as file:
                is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
            if is_hdf5:
                with hdf5.checked(path, allowance):
                    return
            return
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".h5"):
                    allowance.take(info.filename, info.file_size)
                    continue
                data = unpack(archive, info, allowance)
                with hdf5.checked(io.BytesIO(data), Allowance(len(data))):
                    pass
