"""The table TFLITE_METADATA of a .tflite file, by which MediaPipe Tasks and TFLite's Task Library use it.

It says how an image becomes the input and that the names of the classes are in `labels.txt`, the file in the archive
behind the model.

Source: metadata_schema.fbs of MediaPipe (mediapipe/tasks/metadata), whose fields are numbered here as there.
"""

import flatbuffers
import numpy as np

from keras_mlp.cards import Preprocessing
from keras_mlp.extras import need

NAME = "TFLITE_METADATA"
RUNTIME = "min_runtime_version"
LABELS = "labels.txt"
IMAGE, SCORES = "image", "scores"
_IDENTIFIER = b"M001"
_PARSER = "1.0.0"  # the first that knows all that is written here
_RGB, _GREY = 1, 2
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION = 1
_AXIS_LABELS = 2


def runtime_of(content: bytes) -> str:
    """The oldest version of the TFLite runtime that runs a file, as the converter found it, "2.17.0"; "" if unknown."""
    schema = need("ai_edge_litert.schema_py_generated", extra="export")
    model = schema.Model.GetRootAsModel(content, 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == RUNTIME.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().rstrip(b"\0").decode()
    return ""


def attach(model, description: dict, shape, labelled: bool, preprocessing: Preprocessing | None):
    """Put the table into a model, in the place of one that it has.

    Args:
        model: an object of LiteRT's schema, `ModelT`.
        description: what the file tells of itself; its "model", "licence" and "training_data" are taken.
        shape: `(height, width, channels)` of the image; of anything else no image is told.
        labelled: whether `labels.txt` names the classes of the only output.
        preprocessing: what the file leaves to the caller; `None` where it takes pixels 0–255.
    """
    schema = need("ai_edge_litert.schema_py_generated", extra="export")
    table = _table(_outputs(model, labelled), description, shape, labelled, preprocessing)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(table, np.uint8)
    entry.name, entry.buffer = NAME, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [other for other in model.metadata or [] if other.name not in (NAME, NAME.encode())] + [entry]


def _outputs(model, labelled) -> list[str]:
    """Names of the outputs, in the file's order."""
    places = list(model.subgraphs[0].outputs)
    if len(places) == 1:
        return [SCORES if labelled else "output"]
    told = {output.tensorIndex: output.name for output in model.signatureDefs[0].outputs}
    names = (told.get(place, f"output_{i}") for i, place in enumerate(places))
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def _table(outputs, description, shape, labelled, preprocessing) -> bytes:
    """The content of the table."""
    builder = flatbuffers.Builder(1024)
    write = _Tables(builder)
    image = len(shape) == 3 and shape[-1] in (1, 3) and all(shape)
    inputs = [_input(write, shape, preprocessing, image)]
    files = []
    if labelled:
        files = [write(name=LABELS, description="names of the classes, a line each", type=np.int8(_AXIS_LABELS))]
    given = [
        write(
            name=name,
            content=write(properties_type=np.uint8(_FEATURE_PROPERTIES), properties=write(), fields=_CONTENT),
            associated_files=write.all(files) if files else None,
            fields=_TENSOR,
        )
        for name in outputs
    ]
    graph = write(inputs=write.all(inputs), outputs=write.all(given), fields=_GRAPH)
    trained = description.get("training_data")
    root = write(
        name=str(description.get("model", "")) or None,
        description=f"Trained on {trained}." if trained else None,
        subgraphs=write.all([graph]),
        license=str(description.get("licence", "")) or None,
        min_parser_version=_PARSER,
        fields=_MODEL,
    )
    builder.Finish(root, _IDENTIFIER)
    return bytes(builder.Output())


_FILE = ("name", "description", "type", "locale", "version")
_MODEL = ("name", "description", "version", "subgraphs", "author", "license", "files", "min_parser_version")
_GRAPH = ("name", "description", "inputs", "outputs")
_TENSOR = ("name", "description", "dimension_names", "content", "process_units", "stats", "associated_files")
_CONTENT = ("properties_type", "properties", "range")
_UNIT = ("options_type", "options")


def _input(write, shape, preprocessing: Preprocessing | None, image: bool):
    """The table of the only input."""
    if not image:
        return write(name=IMAGE, fields=_TENSOR)
    height, width, channels = shape
    size = write(width=np.uint32(width), height=np.uint32(height), fields=("width", "height"))
    colours = np.int8(_RGB if channels == 3 else _GREY)
    properties = write(color_space=colours, default_size=size, fields=("color_space", "default_size"))
    mean, std = [0.0], [1.0]
    if preprocessing is not None:
        fitting = preprocessing.for_channels(channels)
        mean, std = ([255 * value for value in values] for values in (fitting.mean, fitting.std))
    normalisation = write(mean=write.floats(mean), std=write.floats(std), fields=("mean", "std"))
    unit = write(options_type=np.uint8(_NORMALIZATION), options=normalisation, fields=_UNIT)
    content = write(properties_type=np.uint8(_IMAGE_PROPERTIES), properties=properties, fields=_CONTENT)
    return write(name=IMAGE, content=content, process_units=write.all([unit]), fields=_TENSOR)


_PREPEND = {
    "int8": flatbuffers.Builder.PrependInt8Slot,
    "uint8": flatbuffers.Builder.PrependUint8Slot,
    "uint32": flatbuffers.Builder.PrependUint32Slot,
}


class _Tables:
    """Writes tables of a flatbuffer whose fields are given by their names."""

    def __init__(self, builder: flatbuffers.Builder):
        self._builder = builder

    def __call__(self, *, fields=_FILE, **values) -> int:
        """Write a table: strings, NumPy numbers, and offsets of what was written before; `None` is left out."""
        builder = self._builder
        values = {name: value for name, value in values.items() if value is not None}
        strings = {name: builder.CreateString(value) for name, value in values.items() if isinstance(value, str)}
        builder.StartObject(len(fields))
        for name, value in (values | strings).items():
            slot = fields.index(name)
            if isinstance(value, np.generic):
                _PREPEND[value.dtype.name](builder, slot, value.item(), 0)
            else:
                builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return builder.EndObject()

    def all(self, offsets: list[int]) -> int:
        """A vector of tables."""
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()

    def floats(self, values) -> int:
        """A vector of float32."""
        return self._builder.CreateNumpyVector(np.asarray(values, np.float32))
