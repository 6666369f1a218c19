"""The learning curves of a run as a picture."""

from keras_mlp.extras import need
from keras_mlp.files import atomic_path
from keras_mlp.training.objective import Objective


def plot(history: dict[str, list[float]], path, objective: Objective):
    """Draw loss and the objective's measures over the epochs.

    Args:
        history: values after each epoch, as in Keras' `History.history`: "loss", the measures, and the same with "val_"
            in front if there were validation data.
        path: picture to write, e.g. "curves.png".
        objective: what the model was trained for.
    """
    panels = [("loss", "loss", 1)]
    for measure in objective.shown(history):
        unit = (" in percent", 100) if measure.percent else ("", 1)
        panels.append((measure.key, f"{measure.axis or measure.title}{unit[0]}", unit[1]))
    size = (5 * max(2, len(panels)), 4)
    figure = need("matplotlib.figure", extra="train").Figure(figsize=size, layout="constrained")
    for axes, (key, title, scale) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, label in ((key, "training, augmented"), (f"val_{key}", "validation")):
            if name in history:
                values = [scale * value for value in history[name]]
                axes.plot(range(1, len(values) + 1), values, label=f"{label}: {values[-1]:.4g} at last", marker=".")
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
