"""The report that a run leaves: what was trained, on what, how, and what came of it."""

from keras_mlp.training import terminal
from keras_mlp.training.objective import Objective
from keras_mlp.training.plain import plain


def text(model, train, validation, recipe, history, settings, objective: Objective) -> str:
    """The report in Markdown.

    Args:
        model: the model that was trained.
        train, validation: its data; the latter may be `None`.
        recipe: the recipe as it was run.
        history: values after each epoch, by name.
        settings: what else was set, by name.
        objective: what the model was trained for.
    """
    model = plain(model)
    best, last = objective.best_epoch(history), len(history["loss"]) - 1
    *frames, height, width, channels = model.input_shape[1:]
    pixels = "".join(f"{count} frames of " for count in frames) + f"{height}×{width} pixels in {channels} channels"
    name = settings.get("model") or model.name
    measured = f", {validation.examples:,} to measure on" if validation else ""
    learnt = f"{train.examples:,} {train.things} to learn from"
    classes = f", {len(train.classes)} classes" if train.classes else ""
    seconds = terminal.duration(sum(history["seconds"]))
    measures = objective.shown(history)
    titles = ["loss", *(measure.title for measure in measures)]
    titles += [f"validation {title}" for title in titles]
    rows = "\n".join(_row(word, epoch, history, measures) for word, epoch in (("best", best), ("last", last)))
    both = [data for data in (train, validation) if data]
    broken = "".join(f"\n{text}.\n" for text in dict.fromkeys(data.left_out for data in both if data.left_out))
    for data in both:
        if data.broken:
            broken += f"\n{data.broken}.\n" + "".join(f"\n- {reason}" for reason in data.broken.reasons())
    facts = "\n".join(f"| {key} | {value} |" for key, value in settings.items() if value is not None)
    changed = "\n".join(f"| {key} | {_plain(value)} |" for key, value in vars(recipe).items())
    ended = "" if last + 1 == recipe.epochs else f" Training ended early, after {last + 1} of {recipe.epochs} epochs."
    return f"""# {name}

{model.count_params():,} parameters{classes}; {pixels};
{learnt}{measured}. {last + 1} epochs of {train.steps} steps took {seconds}.{ended}

| epoch | {" | ".join(titles)} | file |
|---|{"---:|" * len(titles)}---|
{rows}
{broken}
![{objective.caption}](curves.png)

## Settings

| | |
|---|---|
{facts}
{changed}
"""


def _row(word, epoch, history, measures):
    def shown(key, form):
        return form.format(history[key][epoch]) if key in history else ""

    forms = [("loss", "{:.4f}"), *((m.key, "{:.2%}" if m.percent else "{:.4f}") for m in measures)]
    cells = [shown(f"{prefix}{key}", form) for prefix in ("", "val_") for key, form in forms]
    return f"| {word}, {epoch + 1} | {' | '.join(cells)} | `{word}.keras` |"


def _plain(value):
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value
