"""Binary weights as bits: how a kernel of signs and scales stands in a safetensors file.

In place of the tensor NAME there are two:

    NAME.signs   uint8, one bit a weight: weights in row-major order, eight a byte, the first in the lowest bit; 1 for
                 weights of zero and more, 0 for negative ones; the last byte is filled up with zeros
    NAME.scale   in the kernel's dtype and of its shape, but 1 long in the axis along which weights share a scale

and the header's metadata have, under "packed_kernels", a JSON object `{NAME: shape of the kernel}`. The kernel that is
read is `sign * scale`.
"""

import json
import math

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
        ValueError: `shapes` is not what it should be, or signs or scales of a kernel are missing or not of its shape.
    """
    tensors = dict(tensors)
    for name, shape in _shapes(shapes).items():
        signs, scale = tensors.pop(name + _SIGNS, None), tensors.pop(name + _SCALE, None)
        count = math.prod(shape)
        if signs is None or scale is None or signs.dtype != np.uint8 or signs.shape != (-(-count // 8),):
            raise ValueError(f"the signs or scales of {name!r}, of shape {shape}, are missing or not as many")
        if scale.ndim != len(shape) or any(n not in (1, m) for n, m in zip(scale.shape, shape, strict=True)):
            raise ValueError(f"the scales of {name!r} are of shape {scale.shape}, which does not fit {shape}")
        positive = np.unpackbits(signs, count=count, bitorder="little").reshape(shape)
        tensors[name] = np.where(positive, scale, -scale)
    return tensors


def _shapes(text):
    shapes = json.loads(text)
    if not isinstance(shapes, dict):
        raise ValueError(f"its {SHAPES!r} are no JSON object of shapes")
    for name, shape in shapes.items():
        if not (isinstance(shape, list) and shape and all(type(n) is int and n > 0 for n in shape)):
            raise ValueError(f"its {SHAPES!r} give {name!r} a shape that is no list of positive numbers")
    return {name: tuple(shape) for name, shape in shapes.items()}
