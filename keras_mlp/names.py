"""The names of layers: what a builder's `layer_prefix` puts before them, and names without it."""

import re

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check(argument: str, name):
    """Raise a `ValueError` if TensorFlow does not take `name` as the name of a scope.

    Args:
        argument: what the name is of, such as "name".
        name: the name, or `None` for none.
    """
    if name is not None and not (isinstance(name, str) and _ALLOWED.fullmatch(name)):
        raise ValueError(
            f"`{argument}` must begin with a letter or digit and hold only letters, digits, '_', '-' and '.', because "
            f"TensorFlow takes no other names. Received: {argument}={name!r}"
        )


def prefixed(prefix: str, name: str) -> str:
    """The name of a layer whose builder was given `layer_prefix`."""
    return f"{prefix}.{name}"


def prefix(name: str) -> str:
    """The prefix of a layer's name; "" for none."""
    return name.rpartition(".")[0]


def local(name: str) -> str:
    """A layer's name without its prefix: what it is called in every model of its family."""
    return name.rpartition(".")[2]
