"""The documentation of builders, put together from that of trunk, shared arguments and checkpoints."""

import functools
import inspect
import re

_RETURNS = """Returns:
    A functional `keras.Model`: class probabilities `(batch, classes)`; without the top, a feature map
    `(batch, height / stride, width / stride, channels)`, in videos with the frames in front, or `(batch, channels)`
    with `pooling`.

Raises:
    ValueError: an argument is wrong, or the weights do not fit; the message says what is allowed."""


@functools.cache
def documented(function) -> tuple[str, dict[str, str]]:
    """The text of a docstring before "Args:", and its arguments by name, indented as there."""
    text, _, arguments = inspect.getdoc(function).partition("Args:\n")
    arguments, _, _ = arguments.partition("\n\n")  # every builder says the same of what it returns and raises
    entries = re.split(r"^    (?=\w+: )", arguments, flags=re.MULTILINE)[1:]
    return text.strip(), {entry.partition(":")[0]: "    " + entry.rstrip() for entry in entries}


def docstring(signature, text, arguments, paper, checkpoints=None, returns: str = _RETURNS) -> str:
    """The documentation of a builder, its arguments in the order of its signature.

    Args:
        signature: the builder's `inspect.Signature`.
        text: what it builds.
        arguments: the documentation of each argument, by name, indented: there are hundreds of builders.
        paper: where the family was published.
        checkpoints: published weights by tag; `None` for a builder that has none of its own.
        returns: what it returns and raises.
    """
    parts = [text, f"Source: {paper}."]
    if checkpoints is not None:
        rows = [_described(tag, weights) for tag, weights in checkpoints.items()]
        parts.append("Published weights:" + ("".join(rows) if rows else " none."))
    parts += ["\n".join(["Args:", *(arguments[name] for name in signature.parameters)]), returns]
    return "\n\n".join(parts)


def _described(tag, weights) -> str:
    scores = "".join(f", {score.metric} {score.number('')} %" for score in weights.scores)
    return f"\n    {tag!r}: {weights.training_data}{scores}, {weights.classes} classes, {weights.licence}."
