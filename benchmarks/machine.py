"""What the machine is that numbers come from."""

import pathlib
import platform
import re

PEAK_SIZES = (1024, 2048, 4096)
"""Rows and columns of the square matrices of which the fastest product is the measure of a machine's peak."""


def cpuinfo() -> str:
    """What Linux tells of the processor; nothing elsewhere."""
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def processor() -> str:
    """The processor's name."""
    found = re.search(r"model name\s*: (.+)", cpuinfo())
    return found[1] if found else platform.machine()
