"""How segmenters are trained: recipes that belong to no published one, and arguments of `compile`."""

import keras

from keras_mlp.cards import SegmentationRecipe
from keras_mlp.tasks.segmentation.objective import Segmentation
from keras_mlp.training import recipes


def scenes() -> SegmentationRecipe:
    """Return the recipe for the embedded scenes of handwritten digits and a small model trained from scratch."""
    return SegmentationRecipe(
        source="keras_mlp, tried out on the embedded scenes of digits",
        learning_rate=3e-3,
        batch_size=8,
        epochs=10,
        warmup_epochs=1,
        horizontal_flip=False,
        random_scale=(0.9, 1.1),
        photometric_distortion=False,
        class_weight=(0.3, *[1.0] * 10),  # most pixels are ground
        gradient_clip_norm=1.0,
        precision="float32",
    )


def finetune() -> SegmentationRecipe:
    """Return a recipe for fine-tuning a backbone's published weights on images with masks."""
    return SegmentationRecipe(
        source="common practice for fine-tuning segmenters with AdamW, not from a paper",
        learning_rate=1e-4,
        batch_size=16,
        epochs=40,
        warmup_epochs=1,
        schedule="poly",
        final_learning_rate=1e-6,
        weight_decay=0.01,
        drop_path_rate=0.1,
    )


def compile_arguments(recipe: SegmentationRecipe, model: keras.Model, steps_per_epoch: int, batch_size=None) -> dict:
    """Return the arguments of `model.compile` for a segmenter.

    Args:
        recipe: the recipe.
        model: a segmenter.
        steps_per_epoch: batches of one epoch.
        batch_size: global batch, if another than the recipe's: the rates follow by its rule.

    Returns:
        A dictionary with `optimizer`, `loss`, `metrics` and, of a model with auxiliary heads, `loss_weights`. They take
        data as `Segmentation().fitted(model, data)` gives them.

    Example:

    ```python
    data = keras_mlp.tasks.load("photos", image_size=512, batch_size=16, recipe=recipe)
    data = keras_mlp.tasks.Segmentation().fitted(model, data)
    model.compile(**keras_mlp.tasks.compile_arguments(recipe, model, data.steps, data.batch_size))
    model.fit(data.dataset, steps_per_epoch=data.steps, epochs=recipe.epochs)
    ```
    """
    chosen = recipes.optimizer(recipe, model, steps_per_epoch, batch_size)
    return {"optimizer": chosen, **Segmentation().compile_arguments(model, recipe)}
