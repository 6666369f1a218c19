"""HDF5 files, looked over before a byte of their data is read.

HDF5 lets a file stand for others: data sets lie in other files or devices, links lead to them, and a few bytes declare
terabytes. No checkpoint needs that, and all of it is refused here.
"""

import contextlib
import math
import zlib

from keras_mlp.checkpoints.untrusted import Allowance


@contextlib.contextmanager
def checked(source, allowance: Allowance):
    """Open an HDF5 file whose data lie inside it.

    Args:
        source: path of the file, or a binary file object.
        allowance: what its contents may take.

    Yields:
        `(file, datasets)`: the `h5py.File`, and its data sets by their paths in it.

    Raises:
        ValueError: it refers to other files, has links that are no objects of their own or groups inside themselves,
            is compressed by other means than zlib's, or declares more than it holds.
    """
    import h5py

    with h5py.File(source, "r") as file:
        found = {}
        seen, pending = {_identity(file)}, [("", file)]
        while pending:
            place, group = pending.pop()
            for name in group:
                raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
                path = f"{place}{raw.decode('utf-8', 'surrogateescape')}"
                if group.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                    raise ValueError(f"{path!r} is a link to another place or file, which is not followed")
                item = group[raw]
                if isinstance(item, h5py.Group):
                    if _identity(item) in seen:
                        raise ValueError(f"the group {path!r} is at several places, perhaps inside itself")
                    seen.add(_identity(item))
                    pending.append((f"{path}/", item))
                elif isinstance(item, h5py.Dataset):
                    _check(path, item, allowance)
                    found[path] = item
        yield file, found


def _identity(item):
    import h5py

    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _check(path, data, allowance):
    from h5py import h5d, h5z

    properties, shape = data.id.get_create_plist(), data.shape
    layout = properties.get_layout()
    if layout == h5d.VIRTUAL or (layout == h5d.CONTIGUOUS and properties.get_external_count()):
        raise ValueError(f"the data of {path!r} lie in other files, which are not read")
    if shape is None:
        return
    size = math.prod(shape) * data.id.get_type().get_size()
    allowance.take(path, size)
    if layout == h5d.CONTIGUOUS and size:
        start = data.id.get_offset()
        if start is None or data.id.get_storage_size() < size or start + size > allowance.length:
            raise ValueError(f"the data of {path!r}, {size} bytes, are declared and not there")
    if layout == h5d.CHUNKED:
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        known = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
        if len({*filters}) < len(filters) or not {*filters} <= known:
            raise ValueError(f"the data of {path!r} are compressed in a way that is not known. Save them plainly")
        chunk = math.prod(data.chunks) * data.id.get_type().get_size()
        if chunk > size:  # it is unpacked whole for the part that is there
            allowance.take(path, chunk)
        deflate = filters.index(h5z.FILTER_DEFLATE) if h5z.FILTER_DEFLATE in filters else None
        _check_chunks(path, data, chunk, allowance.length, deflate)


def _check_chunks(path, data, size, length, deflate):
    """HDF5 unpacks as much as a chunk holds, whatever its declared size; `zlib` can be told to stop."""
    chunks = []
    data.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if chunk.size > length:
            raise ValueError(f"a piece of {path!r} is declared to be longer than the file")
        if deflate is not None and not chunk.filter_mask >> deflate & 1:
            _, packed = data.id.read_direct_chunk(chunk.chunk_offset)
            if len(zlib.decompressobj().decompress(packed, size + 1)) > size:
                raise ValueError(f"a piece of {path!r} unpacks to more than it is declared to hold")
