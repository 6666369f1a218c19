"""List the models.

PATTERN is a name with wildcards, such as "*b16*"; a word without wildcards is looked for anywhere in the name.
When the output is not a terminal, one JSON object a line is written.
"""

from absl import flags as absl_flags

from keras_mlp import cards
from keras_mlp.cards import INPUTS, detectors, scores, segmenters
from keras_mlp.cli import console

ARGUMENTS = "[PATTERN]"
KERAS = False
TASKS = {"segmentation": segmenters, "detection": detectors}
COLUMNS = ("name", "title", "params", "MACs", "input", "top-1", "weights")


def define_flags(flags):
    absl_flags.DEFINE_string("family", None, "Models of this family only.", flag_values=flags)
    absl_flags.DEFINE_enum("input", None, INPUTS, "Models that take this only.", flag_values=flags)
    absl_flags.DEFINE_string(
        "weights",
        None,
        'Models with published weights of this tag only; wildcards work, "*" is any.',
        flag_values=flags,
    )
    absl_flags.DEFINE_enum(
        "task",
        None,
        list(TASKS),
        "Models that were published as the backbone of a segmenter or detector only; `keras-mlp info` tells of them.",
        flag_values=flags,
    )
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    console.only(arguments, 1)
    options = dict(family=flags.family, input=flags.input, weights=flags.weights)
    known = cards.from_file()
    found = [known[name] for name in cards.find(known, *arguments, **options)]
    if flags.task:
        options["task"] = flags.task
        found = [card for card in found if TASKS[flags.task].published(card.name)]
    if flags.json or not console.for_a_person():
        for card in found:
            console.print_json(_summary(card))
    elif found:
        print(console.table([COLUMNS, *map(_row, found)], align="<<>><>"))
        if any(best and not best.exact for best in map(_best, found)):
            print(f"\n{scores.FOOTNOTE} `keras-mlp info MODEL` tells where.")
    if not found:
        asked = [*arguments, *(f"--{flag}={value}" for flag, value in options.items() if value)]
        console.error(f"no model matches {' '.join(asked)}")
        return 1


def _row(card) -> tuple:
    row, best = _summary(card), _best(card)
    return (
        row["name"],
        row["title"],
        f"{row['parameters'] / 1e6:.1f} M",
        f"{row['macs'] / 1e9:.2f} G",
        "×".join(map(str, row["input_shape"][:-1])),
        best and f"{best.number()} %",
        " ".join(row["weights"]),
    )


def _best(card):
    """The highest published top-1, of the architecture or of a checkpoint."""
    return scores.best([*card.scores, *(score for weights in card.weights.values() for score in weights.scores)])


def _summary(card) -> dict:
    best = _best(card)
    return {
        "name": card.name,
        "title": card.title,
        "family": card.family,
        "parameters": card.parameters,
        "macs": card.macs,
        "input_shape": card.input_shape,
        "best_top1": best and best.value,
        "best_top1_exact": best and best.exact,
        "weights": list(card.weights),
        "segmenters": [one.name for one in segmenters.published(card.name)],
        "detectors": [one.name for one in detectors.published(card.name)],
    }
