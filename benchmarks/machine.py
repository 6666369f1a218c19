"""What the machine is that numbers come from."""

import pathlib
import platform
import re
import shutil
import subprocess

PEAK_SIZES = (1024, 2048, 4096)
"""Sides of square matrices. A processor's peak is measured by the fastest product of two of one size."""
PEAK_SIZES_OF_GPUS = (4096, 8192)
"""The sides by which a GPU's peak is measured."""


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
