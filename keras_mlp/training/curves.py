"""The learning curves of a run as a picture."""

from keras_mlp.extras import need
from keras_mlp.files import atomic_path
from keras_mlp.training import metrics


def plot(history: dict[str, list[float]], path):
    """Draw loss and, if any, the main metric over the epochs.

    Args:
        history: values after each epoch, as in Keras' `History.history`: "loss", "top1" or another of `metrics.MAIN`,
            and "val_loss", "val_top1" if there were validation data.
        path: picture to write, e.g. "curves.png".
    """
    figure = need("matplotlib.figure", extra="train").Figure(figsize=(10, 4), layout="constrained")
    panels = [("loss", "loss", 1)]
    if main := metrics.main(history):
        panels.append((main, f"{metrics.MAIN[main]}{' accuracy' if main == 'top1' else ''} in percent", 100))
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
