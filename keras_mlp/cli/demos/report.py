"""What the reports of all demos tell."""

import importlib.metadata
import os
import platform

PACKAGES = ("keras-mlp", "keras", "tensorflow", "ai-edge-litert", "numpy")


def machine() -> str:
    """This machine in words: its processor and how many cores of it this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} core{'s' if cores > 1 else ''} of {name} ({platform.system()})"


def versions() -> str:
    """Python's version and those of the packages."""
    found = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {found}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed as a package)"
