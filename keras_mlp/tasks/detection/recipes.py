"""How detectors are trained: recipes that belong to no published one."""

from keras_mlp.cards import DetectionRecipe


def scenes() -> DetectionRecipe:
    """Return the recipe for the embedded scenes of handwritten digits and a small model trained from scratch."""
    return DetectionRecipe(
        source="keras_mlp, tried out on the embedded scenes of digits",
        learning_rate=3e-3,
        batch_size=8,
        epochs=8,
        warmup_epochs=1,
        horizontal_flip=False,
        random_scale=(0.9, 1.1),
        gradient_clip_norm=1.0,
        precision="float32",
    )


def finetune() -> DetectionRecipe:
    """Return a recipe for fine-tuning a backbone's published weights on images with boxes."""
    return DetectionRecipe(
        source="common practice for fine-tuning detectors with AdamW, not from a paper",
        learning_rate=1e-4,
        batch_size=16,
        epochs=24,
        warmup_epochs=1,
        schedule="steps",
        drops=(16, 22),
        random_scale=(0.6, 1.0),
        drop_path_rate=0.1,
        gradient_clip_norm=1.0,
    )
