"""Optional packages, imported where they are used."""

import importlib


def need(module: str, extra: str):
    """Import an optional package.

    Args:
        module: its import name, e.g. "matplotlib".
        extra: the extra of keras-mlp that installs it, e.g. "train".

    Returns:
        The module.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f'This needs the package {error.name!r}. Install it with: pip install "keras-mlp[{extra}]"'
        ) from error
