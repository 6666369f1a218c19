"""What a .tflite file says several times, said once."""

from collections.abc import Callable

import flatbuffers

from keras_mlp.extras import need

_ALIGNMENT = 16  # of weights, by the schema


def shared(content: bytes, change: Callable | None = None) -> bytes:
    """A .tflite file of less size that holds the same: equal vectors of numbers in it are stored once.

    Of weights that are rounded per channel it states the zero points, eight bytes for each channel and as many for each
    bias, all of them zero. FlatBuffers may refer to one vector from several places.

    Args:
        content: of a file as the converter wrote it.
        change: what is to be done to the model, an object of LiteRT's schema, on the way.

    Returns:
        The content of the other. Of a file whose weights lie behind the model, as in those over 2 GB, the same,
        unchanged.
    """
    schema = need("ai_edge_litert.schema_py_generated", extra="export")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    if any(buffer.offset for buffer in model.buffers):
        return content
    if change:
        change(model)
    builder = _Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """A builder that writes equal vectors once, and bytes at the alignment that weights need."""

    def __init__(self, size):
        super().__init__(size)
        self._written = {}

    def CreateNumpyVector(self, x):
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            if x.itemsize == 1:
                self.Prep(_ALIGNMENT, x.nbytes)  # afterwards what the vector aligns itself to is right already
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]
