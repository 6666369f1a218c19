"""How published models of videos were trained beyond Kinetics, as data."""

import dataclasses

from keras_mlp.cards.recipes import Recipe

_OF_VIDEOS = ("batch_size", "epochs", "warmup_epochs")


@dataclasses.dataclass(frozen=True)
class VideoTraining:
    """A training on videos that was published, beside the one that a model's card tells of.

    Args:
        model: name of the model in the zoo, such as "morph_mlp_video_s16".
        dataset: what it was trained on, in short, such as "ssv2".
        recipe: how.
    """

    model: str
    dataset: str
    recipe: Recipe

    @property
    def name(self) -> str:
        """Its name for `keras-mlp train --recipe`, such as "morph_mlp_video_s16_ssv2"."""
        return f"{self.model}_{self.dataset}"


def video_recipe(**values) -> Recipe:
    """A recipe for videos with what MorphMLP's and MViT's have in common, unless `values` say otherwise.

    Its `batch_size`, `epochs` and `warmup_epochs` are given as SlowFast has them, which counts videos: of each, a batch
    and an epoch have as many clips as `repeated_augmentation` says. A `Recipe` counts clips, so it gets that many times
    as many.
    """
    shared = dict(
        final_learning_rate=1e-6,
        weight_decay=0.05,
        mixup=0.8,
        cutmix=1.0,
        rand_augment=(4, 7),
        random_erasing=0.25,
        repeated_augmentation=2,
    )
    recipe = Recipe(**shared | values)
    counts = {name: recipe.repeated_augmentation * getattr(recipe, name) for name in _OF_VIDEOS}
    return dataclasses.replace(recipe, **counts)


def _morph_mlp(size, dataset, drop_path_rate, epochs=60) -> VideoTraining:
    recipe = video_recipe(
        source=f"MTLab/MorphMLP, configs/{dataset.upper()}/{dataset.upper()}_MLP_{size}.yaml, from the image model's "
        "weights",
        learning_rate=4e-4,
        batch_size=64,
        epochs=epochs,
        warmup_epochs=5,
        gradient_clip_norm=20.0,
        horizontal_flip=False,
        drop_path_rate=drop_path_rate,
    )
    return VideoTraining(f"morph_mlp_video_{size.lower()}", dataset, recipe)


def _mvit(size, learning_rate) -> VideoTraining:
    recipe = video_recipe(
        source=f"facebookresearch/SlowFast, configs/SSv2/MVITv2_{size}.yaml, from the Kinetics model's weights (its "
        "crops are 0.7 to 0.875 of a frame's short side; here these shares of a frame of 16:9)",
        optimizer="sgd",
        learning_rate=learning_rate,
        batch_size=16,
        epochs=100,
        warmup_epochs=3,
        weight_decay=1e-4,
        repeated_augmentation=1,
        horizontal_flip=False,
        random_resized_crop=(0.28, 0.43),
        drop_path_rate=0.4,
        dropout_rate=0.5,
    )
    return VideoTraining(f"mvit_video_v2_{size.lower().replace('_', '')}", "ssv2", recipe)


VIDEO_TRAININGS = {
    one.name: one
    for one in (
        _morph_mlp("S16", "ssv1", 0.3),
        _morph_mlp("B16", "ssv1", 0.5),
        _morph_mlp("B32", "ssv1", 0.5),
        _morph_mlp("S16", "ssv2", 0.3),
        _morph_mlp("S32", "ssv2", 0.3),
        _morph_mlp("B16", "ssv2", 0.6),
        _morph_mlp("B32", "ssv2", 0.6, epochs=64),
        _mvit("S_16x4", 0.0025),
        _mvit("B_32x3", 0.0015),
    )
}
"""By their names."""


def published(model: str) -> list[VideoTraining]:
    """What was published of a model, by its name in the zoo."""
    return [one for one in VIDEO_TRAININGS.values() if one.model == model]
