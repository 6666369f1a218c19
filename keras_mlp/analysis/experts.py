"""How evenly a model's experts are used, and how that changes in training."""

import dataclasses
import math

import keras
import numpy as np

from keras_mlp import files
from keras_mlp.checkpoints import naming
from keras_mlp.extras import need
from keras_mlp.families.sparse_mlp.experts import MixtureOfExperts


@dataclasses.dataclass(frozen=True)
class Load:
    """What the experts of one layer have to do.

    Attributes:
        shares: of all choices of all items, the share that each expert gets, in falling order; they sum to 1.
        left_out: share of all choices that find no room at the expert.
    """

    shares: tuple[float, ...]
    left_out: float

    @property
    def used(self) -> float:
        """How many experts' worth of use there is: `exp` of the shares' entropy, from 1 to their number."""
        return math.exp(-sum(share * math.log(share) for share in self.shares if share))


def expert_load(model: keras.Model, images) -> dict[str, Load]:
    """Where a model's routers send the items of some images, at inference.

    Args:
        model: a model with `MixtureOfExperts` layers.
        images: an array of images, as many as tell of the use; one batch.

    Returns:
        A `Load` for each such layer by its name, in the model's order.

    Raises:
        ValueError: the model has no such layer.
    """
    mixtures = [layer for layer in naming.weighted_layers(model) if isinstance(layer, MixtureOfExperts)]
    if not mixtures:
        raise ValueError(f"Model {model.name!r} has no MixtureOfExperts layers: there are no experts to look at.")
    inputs = keras.Model(model.input, [layer.input for layer in mixtures])(images)
    return {layer.name: _load(layer.route(x)) for layer, x in zip(mixtures, keras.tree.flatten(inputs), strict=True)}


def _load(routing) -> Load:
    experts, slots = (keras.ops.convert_to_numpy(part) for part in (routing.experts, routing.slots))
    counts = np.bincount(experts.ravel(), minlength=routing.num_experts)
    shares = sorted((counts / counts.sum()).tolist(), reverse=True)
    return Load(tuple(shares), float((slots >= routing.capacity).mean()))


class LoadHistory(keras.callbacks.Callback):
    """Callback that looks at the load of the experts before the first epoch and after each.

    Args:
        images: the images to look at it with.

    Attributes:
        epochs: a result of `expert_load` for each look.
    """

    def __init__(self, images):
        super().__init__()
        self.images, self.epochs = images, []

    def on_train_begin(self, logs=None):
        self.epochs.append(expert_load(self.model, self.images))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(expert_load(self.model, self.images))


def plot_expert_load(runs: dict[str, list[dict[str, Load]]], path):
    """Draw the experts' shares over the epochs: a row of panels for each run, a panel for each layer.

    In a panel the experts lie on each other, the busiest below; a dashed line is the share that finds no room.

    Args:
        runs: by title, the loads after each epoch, as `LoadHistory.epochs` has them; the same layers in all.
        path: PNG file to write.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", extra="analysis")
    names = list(next(iter(runs.values()))[0])
    figure = figures.Figure(figsize=(1.2 + 3.6 * len(names), 0.6 + 2.6 * len(runs)), layout="constrained")
    panels = figure.subplots(len(runs), len(names), sharex=True, sharey=True, squeeze=False)
    for row, (title, epochs) in zip(panels, runs.items(), strict=True):
        for axes, name in zip(row, names, strict=True):
            loads = [epoch[name] for epoch in epochs]
            shares = np.array([load.shares for load in loads]).T
            # Of one colour, from dark to light: that an expert is the busiest is all that its place says.
            greys = [str(0.35 + 0.5 * i / max(len(shares) - 1, 1)) for i in range(len(shares))]
            axes.stackplot(range(len(loads)), shares, colors=greys, edgecolor="white", linewidth=0.8)
            axes.plot([load.left_out for load in loads], color="tab:red", linestyle="--", label="no room")
            axes.set(xlim=(0, max(len(loads) - 1, 1)), ylim=(0, 1))
            used = f"{loads[-1].used:.1f} of {len(shares)} experts used, {loads[-1].left_out:.0%} without room"
            axes.set_title(f"{name}\n{title}: {used}", fontsize=8.5)
        row[0].set_ylabel("share of all choices")
    for axes in panels[-1]:
        axes.set_xlabel("epoch")
    panels[0, 0].legend(loc="upper right", fontsize=8)
    with files.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white")
