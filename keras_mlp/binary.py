"""Binary weights kept as bits, for smaller files.

A kernel of n inputs takes n / 8 + 4 bytes an output, and not 4 n. That is 32 times less in the limit, and 30 times for
n = 512. Only the file changes. Keras' backends and TFLite have no product of bits, so a loaded model has float32
numbers again, and makes signs and scales of them anew at each call. So expect no speed over the full-precision parent.
`python -m benchmarks.binary` measures the files, loading, the forward pass beside the parent's, and one product by XNOR
and population count beside the same in float32.
"""

import dataclasses
import json
import os

import keras

from keras_mlp.checkpoints import load, naming, packed
from keras_mlp.families.bimlp.binary import BinaryLayer


@dataclasses.dataclass(frozen=True)
class PackReport:
    """What `pack` wrote.

    Attributes:
        path: the file.
        kernels: number of kernels that it holds as bits.
        bytes_before: what these kernels take as they are, usually in float32.
        bytes_packed: what their bits and scales take.
        file_bytes: size of the whole file, all other weights included.
    """

    path: str
    kernels: int
    bytes_before: int
    bytes_packed: int
    file_bytes: int

    @property
    def ratio(self) -> float:
        """How many times smaller the packed kernels are."""
        return self.bytes_before / self.bytes_packed

    def __str__(self):
        return (
            f"{self.path}: {self.file_bytes:,} bytes; {self.kernels} binary kernels in {self.bytes_packed:,} bytes "
            f"instead of {self.bytes_before:,}, {self.ratio:.1f} times smaller"
        )


def pack(model: keras.Model, path) -> PackReport:
    """Write the weights of `model` to a safetensors file, binary ones as bits with their scales.

    `keras_mlp.load_checkpoint(model, path)` and the builders' `weights=path` read the file as any other, and the model
    computes as before, bit for bit, on any machine that adds up its real-numbered parts alike. What is lost are the
    real numbers behind the signs: training can go on, but from weights that are all as near to their threshold. The
    format is told in `keras_mlp.checkpoints.packed`.

    Args:
        model: a model with binary layers, such as BiMLP.
        path: file to write; it appears only once it is whole.

    Returns:
        A `PackReport` of the sizes.

    Raises:
        ValueError: the model has no binary weights that share scales.

    Example:

    ```python
    print(keras_mlp.binary.pack(model, "model.safetensors"))
    model = keras_mlp.BiMLPS(weights="model.safetensors")
    ```
    """
    tensors, shapes, before, after = {}, {}, 0, 0
    for name, (layer, variable) in naming.named_variables(model).items():
        array = keras.ops.convert_to_numpy(variable)
        if not _is_binary(layer, variable):
            tensors[name] = array
            continue
        scale = keras.ops.convert_to_numpy(layer.signs_and_scale()[1])
        bits = packed.to_bits(name, array >= 0, scale)
        tensors |= bits
        shapes[name] = array.shape
        before += array.nbytes
        after += sum(tensor.nbytes for tensor in bits.values())
    if not shapes:
        raise ValueError(
            f"{model.name} has no binary weights to pack: none of its layers is a BinaryLayer with weight_levels="
            '"binary" whose weights share scales. Write it with keras_mlp.save_checkpoint.'
        )
    load.save_checkpoint(tensors, path, **{packed.SHAPES: json.dumps(shapes)})
    return PackReport(os.fspath(path), len(shapes), before, after, os.path.getsize(path))


def _is_binary(layer, variable) -> bool:
    """Whether `variable` is a kernel of signs; where each weight has a scale of its own, it is a real number."""
    return (
        isinstance(layer, BinaryLayer)
        and layer.weight_levels == "binary"
        and variable is layer.kernel
        and variable.shape[layer.scale_axis] > 1
    )
