"""Colours of classes."""

import numpy as np


def colours() -> np.ndarray:
    """Colours of 256 classes, uint8 `(256, 3)`: those of Pascal VOC, whose neighbours are easy to tell apart."""
    numbers, colours = np.arange(256), np.zeros((256, 3), "uint8")
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((numbers >> channel) & 1) << (7 - bit)).astype("uint8")
        numbers = numbers >> 3
    return colours
