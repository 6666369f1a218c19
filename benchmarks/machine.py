"""What the machine is that numbers come from."""

import pathlib
import platform
import re
import shutil
import subprocess

PEAK_SIZES = (1024, 2048, 4096)
"""Rows and columns of the square matrices of which the fastest product is the measure of a processor's peak."""
PEAK_SIZES_OF_GPUS = (4096, 8192)
"""The same of a GPU's."""


def cpuinfo() -> str:
    """What Linux tells of the processor; nothing elsewhere."""
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def processor() -> str:
    """The processor's name."""
    found = re.search(r"model name\s*: (.+)", cpuinfo())
    return found[1] if found else platform.machine()


def gpu() -> str | None:
    """The first NVIDIA GPU's name, as its driver tells it; `None` where there is none."""
    if not shutil.which("nvidia-smi"):
        return None
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    names = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    return names[0] if names else None
