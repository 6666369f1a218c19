"""Learn features from images without their labels.

By MoCo v3, from two views of each image. The folder OUTPUT gets the same files as of train, with two differences.
best.keras (of the epoch with the least loss) and last.keras are encoders, images to features. And encoder.safetensors
has the last one's weights, from which to train a classifier:

keras-mlp train --weights=OUTPUT/encoder.safetensors --new_head --model=… --dataset=…

A run that was broken off goes on with the same command.
"""

from absl import flags as absl_flags

from keras_mlp.cli import console, datasets, models, tasks
from keras_mlp.cli import recipes as asked
from keras_mlp.cli.commands import train

ARGUMENTS = ""
# What of train is about classes, or has another meaning here.
NOT_HERE = ("new_head", "validation", "recipe", *tasks.TEACHING, *train.SHARING)
SETTINGS = ("model", "config", "weights", "dataset", "split", "seed")
METHOD = ("temperature", "momentum", "dim", "hidden", "heads", "train_stem")


def define_flags(flags):
    train.define_flags(flags)
    for name in NOT_HERE:
        delattr(flags, name)
    absl_flags.DEFINE_enum(
        "recipe",
        "adamw",
        ("adamw", "lars"),
        "MoCo v3's settings: adamw for vision transformers, lars for ResNet-50.",
        flag_values=flags,
    )
    absl_flags.DEFINE_float("temperature", 0.2, "Of the loss.", lower_bound=1e-3, flag_values=flags)
    absl_flags.DEFINE_float(
        "momentum",
        0.99,
        "Of the moving average that gives the keys, at the beginning; it rises to 1.",
        lower_bound=0,
        upper_bound=1,
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("dim", 256, "Width of queries and keys.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_integer("hidden", 4096, "Width of the heads' hidden layers.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_enum(
        "heads", "vit", ("vit", "resnet"), "Projector and predictor as MoCo v3 has them for which.", flag_values=flags
    )
    absl_flags.DEFINE_bool(
        "train_stem", True, "Train the patch projection, too, and do not keep it random.", flag_values=flags
    )


def run(flags, arguments):
    import keras

    from keras_mlp.checkpoints.load import save_checkpoint
    from keras_mlp.training import moco_v3, recipes
    from keras_mlp.training.data.views import two_views
    from keras_mlp.training.train import fit

    console.only(arguments)
    console.require(flags, "model", "dataset", "output")
    recipe = asked.changed(flags, recipes.pretrain(flags.recipe))
    _, shape = asked.described(flags)
    models.find_weights(flags.model, flags.weights)
    if flags.check_data:
        reports = datasets.check(flags.dataset, [flags.split], flags.data_dir, max_pixels=flags.max_pixels)
        print(*reports, sep="\n", flush=True)
    data = datasets.load(
        flags.dataset,
        flags.split,
        recipe=recipe,
        image_size=shape[:2],
        channels=shape[-1],
        batch_size=recipe.batch_size,
        seed=flags.seed,
        data_dir=flags.data_dir,
        broken_share=flags.broken_share,
        max_pixels=flags.max_pixels,
        augmentation=two_views,
    )
    keras.utils.set_random_seed(flags.seed)
    encoder = asked.build(flags, recipe, shape, include_top=False, pooling="avg")
    method = {name: flags[name].value for name in METHOD}
    model = moco_v3.MoCoV3(encoder, steps=recipe.epochs * data.steps, **method)
    settings = {name: flags[name].value for name in SETTINGS} | {"image_size": list(shape[:2])} | method
    options = dict(overwrite=flags.overwrite, checkpoint_seconds=flags.checkpoint_seconds)
    history = fit(model, data, None, recipe, flags.output, settings=settings, **options).history
    save_checkpoint(encoder, f"{flags.output}/encoder.safetensors", model=flags.model)
    print(f"{flags.output}/last.keras: contrastive loss {history['loss'][-1]:.4f} after {len(history['loss'])} epochs")
