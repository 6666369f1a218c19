"""What the machine is that numbers come from."""

import pathlib
import platform
import re


def cpuinfo() -> str:
    """What Linux tells of the processor; nothing elsewhere."""
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def processor() -> str:
    """The processor's name."""
    found = re.search(r"model name\s*: (.+)", cpuinfo())
    return found[1] if found else platform.machine()
