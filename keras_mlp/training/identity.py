"""Whether a run goes on with the data that it was begun with."""

import json
import pathlib

FILE = "data.json"
"""What a run's folder says of its data."""
_SHOWN = 5


def of(train, validation) -> dict[str, dict]:
    """What tells the data of a run from others: see `data.source.Source.identity`.

    Args:
        train: training data.
        validation: evaluation data, or `None`.

    Returns:
        `{"train": identity, "validation": identity}`, without those that are not there or not known.
    """
    data = {"train": train, "validation": validation}
    return {name: found.identity() for name, found in data.items() if found and found.identity}


def check(output, identities):
    """Refuse to go on with a run on other data than it was begun with.

    Args:
        output: the run's folder. One of an earlier version has no `FILE`; then only the names of the classes are
            compared, with `classes.txt`.
        identities: what `of` says of the data now.

    Raises:
        ValueError: names what differs.
    """
    output = pathlib.Path(output)
    try:
        then = json.loads((output / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        classes = output / "classes.txt"
        if not classes.is_file():
            return
        then = {"train": {"classes": classes.read_text(encoding="utf-8").splitlines()}}
    differences = [
        f"{name}: {', '.join(found)}"
        for name, now in identities.items()
        if name in then and (found := list(_differences(then[name], now)))
    ]
    if differences:
        raise ValueError(
            f"{output} holds a run on other data ({'; '.join(differences)}). Give it the data that it was begun with "
            "to go on, choose another folder, or begin anew with overwrite=True (--overwrite)."
        )


def _differences(then, now):
    gone = [name for name in then["classes"] if name not in now["classes"]]
    new = [name for name in now["classes"] if name not in then["classes"]]
    for names, what in ((gone, "gone"), (new, "new")):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"the classes {', '.join(map(repr, names[:_SHOWN]))}{more} are {what}"
    if not gone and not new and then["classes"] != now["classes"]:
        yield "the classes are in another order"
    if then.get("examples", now["examples"]) != now["examples"]:
        yield f"{then['examples']:,} images then, {now['examples']:,} now"
    elif then.get("digest", now["digest"]) != now["digest"]:
        yield "names or sizes of files, labels or the version of the data set have changed"
