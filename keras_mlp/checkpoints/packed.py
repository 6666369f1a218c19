"""Binary weights as bits: how a kernel of signs and scales stands in a safetensors file.

In place of the tensor NAME there are two:

    NAME.signs   uint8, one bit a weight: weights in row-major order, eight a byte, the first in the lowest bit; 1 for
                 weights of zero and more, 0 for negative ones; the last byte is filled up with zeros
    NAME.scale   in the kernel's dtype and of its shape, but 1 long in the axis along which weights share a scale

and the header's metadata have, under "packed_kernels", a JSON object `{NAME: shape of the kernel}`. The kernel that is
read is `sign * scale`.
"""

import json

import numpy as np

SHAPES = "packed_kernels"
_SIGNS, _SCALE = ".signs", ".scale"


def to_bits(name: str, positive: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray]:
    """The two tensors of a kernel, from where it is positive and its scales."""
    return {name + _SIGNS: np.packbits(positive.ravel(), bitorder="little"), name + _SCALE: scale}


def from_bits(tensors: dict[str, np.ndarray], shapes: str) -> dict[str, np.ndarray]:
    """The tensors of a file with every kernel that it holds as bits in full.

    Args:
        tensors: `{name: array}` of the file.
        shapes: the metadata's "packed_kernels".

    Raises:
        ValueError: signs or scales of a kernel are missing, or are not of its shape.
    """
    tensors = dict(tensors)
    for name, shape in json.loads(shapes).items():
        signs, scale = tensors.pop(name + _SIGNS, None), tensors.pop(name + _SCALE, None)
        count = int(np.prod(shape))
        if signs is None or scale is None or signs.size != -(-count // 8) or scale.ndim != len(shape):
            raise ValueError(f"The bits of {name!r}, of shape {tuple(shape)}, are missing or not as many.")
        positive = np.unpackbits(signs, count=count, bitorder="little").reshape(shape)
        tensors[name] = np.where(positive, scale, -scale)
    return tensors
