"""The report that a run leaves: what was trained, on what, how, and what came of it."""

from keras_mlp.training import callbacks, metrics, terminal
from keras_mlp.training.plain import plain


def text(model, train, validation, recipe, history, settings) -> str:
    """The report in Markdown.

    Args:
        model: the model that was trained.
        train, validation: its data; the latter may be `None`.
        recipe: the recipe as it was run.
        history: values after each epoch, by name.
        settings: what else was set, by name.
    """
    model = plain(model)
    best, last = callbacks.best_epoch(history), len(history["loss"]) - 1
    *frames, height, width, channels = model.input_shape[1:]
    pixels = "".join(f"{count} frames of " for count in frames) + f"{height}×{width} pixels in {channels} channels"
    name = settings.get("model") or model.name
    measured = f", {validation.examples:,} to measure on" if validation else ""
    seconds = terminal.duration(sum(history["seconds"]))
    main = metrics.main(history)
    called = metrics.MAIN.get(main, "top-1")
    rows = "\n".join(_row(word, epoch, history, main) for word, epoch in (("best", best), ("last", last)))
    both = [data for data in (train, validation) if data]
    broken = "".join(f"\n{text}.\n" for text in dict.fromkeys(data.left_out for data in both if data.left_out))
    for data in both:
        if data.broken:
            broken += f"\n{data.broken}.\n" + "".join(f"\n- {reason}" for reason in data.broken.reasons())
    facts = "\n".join(f"| {key} | {value} |" for key, value in settings.items() if value is not None)
    changed = "\n".join(f"| {key} | {_plain(value)} |" for key, value in vars(recipe).items())
    ended = "" if last + 1 == recipe.epochs else f" Training ended early, after {last + 1} of {recipe.epochs} epochs."
    return f"""# {name}

{model.count_params():,} parameters, {len(train.classes)} classes; {pixels};
{train.examples:,} images to learn from{measured}. {last + 1} epochs of {train.steps} steps took {seconds}.{ended}

| epoch | loss | {called} | validation loss | validation {called} | file |
|---|---:|---:|---:|---:|---|
{rows}
{broken}
![Loss and accuracy over the epochs](curves.png)

## Settings

| | |
|---|---|
{facts}
{changed}
"""


def _row(word, epoch, history, main):
    def shown(key, form):
        return form.format(history[key][epoch]) if key in history else ""

    cells = [
        f"{word}, {epoch + 1}",
        *(shown("loss", "{:.4f}"), shown(main, "{:.2%}"), shown("val_loss", "{:.4f}"), shown(f"val_{main}", "{:.2%}")),
        f"`{word}.keras`",
    ]
    return f"| {' | '.join(cells)} |"


def _plain(value):
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value
