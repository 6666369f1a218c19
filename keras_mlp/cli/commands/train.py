"""Train a model on a data set.

The folder OUTPUT gets best.keras and last.keras, report.md, curves.png, log.csv, recipe.json, classes.txt and, for
TensorBoard, tensorboard. A recipe's rates follow the batch size. Flags that are given replace its values.

If a run ends before its time, the same command goes on with it and comes to the same weights. Ctrl-C saves first.

--multi_label trains on images of which each may be of several classes, or of none. --dataset is then a folder with a
table labels.csv in UTF-8. Its first line is "file,CLASS,CLASS,...", and the others are "PATH_OF_IMAGE,0,1,...". Every
fifth image is for evaluation, unless the folder has the folders train and test with a table each. The best epoch is
that of the highest mean average precision. The model ends in sigmoids.

--task=segmentation trains a segmenter: a backbone, --model, with the head --segmenter. --dataset is then "scenes", for
handwritten digits on textured ground, or a folder with images/, masks/ and classes.txt. A mask is a PNG of the numbers
of the classes, 255 where there is none. The folders of ADE20K (ADEChallengeData2016) and Cityscapes (leftImg8bit and
gtFine) are known as they are published; "ade20k:PATH" and "cityscapes:PATH" say so where names do not tell. "tfds:NAME"
is a data set of tensorflow-datasets with masks: cityscapes, oxford_iiit_pet, scene_parse150 (ADE20K's 100 kinds of
things), or one with a LabeledImage. --recipe=published is how the head was published on that backbone; `keras-mlp info
MODEL` tells of it, and the name tells one from another. The best epoch is that of the highest mean intersection over
union.

--strategy trains on several devices or machines. --batch_size is then the batch of all of them, and OUTPUT a folder
that all see. The commands are in docs/scaling.md.
"""

import ast
import dataclasses
import re

from absl import flags as absl_flags

from keras_mlp.cli import console, datasets, models, teacher

ARGUMENTS = ""
RECIPES = ("published", "finetune", "finetune_paper", "digits", "scenes")
TASKS = ("classification", "segmentation")
SEGMENTERS = ("upernet", "semantic_fpn", "setr_naive", "setr_pup", "setr_mla")
# What decides the result beside the recipe: a run goes on with the same only.
SETTINGS = ("model", "config", "weights", "new_head", "dataset", "split", "validation", "seed")
# And with a teacher, these.
TEACHING = ("teacher", "distillation", "temperature", "teacher_share")
# And of a segmenter, these.
SEGMENTING = ("task", "segmenter", "segmenter_config", "auxiliary")
SHARING = ("strategy", "addresses", "rank", "tpu")
DISTILLATIONS = ("hard", "soft", "tokens")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def define_flags(flags):
    absl_flags.DEFINE_string(
        "model",
        None,
        "Name of a model (`keras-mlp list`), or of a family for a model of any size, to be described with --config. "
        "Required.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "config", "", 'Arguments of the model\'s builder, as "patch_size=4,dim=96,depth=6".', flag_values=flags
    )
    absl_flags.DEFINE_enum("task", "classification", TASKS, "What to learn.", flag_values=flags)
    absl_flags.DEFINE_enum(
        "segmenter",
        "upernet",
        SEGMENTERS,
        "Head of a segmenter; setr ones are for ViT and Mixer.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string("segmenter_config", "", 'Arguments of the head, as "channels=256".', flag_values=flags)
    absl_flags.DEFINE_bool(
        "auxiliary",
        None,
        "Whether a segmenter has a second head, whose loss helps the backbone; by default if the recipe weighs it.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "weights", None, "What to start from: a published tag, or the path of a checkpoint.", flag_values=flags
    )
    absl_flags.DEFINE_bool(
        "new_head", False, "Start with a fresh classifier, for other classes than the weights'.", flag_values=flags
    )
    absl_flags.DEFINE_string("dataset", None, f"{datasets.DATASET_HELP} Required.", flag_values=flags)
    absl_flags.DEFINE_bool(
        "multi_label", False, "Images may be of several classes, as labels.csv in the folder says.", flag_values=flags
    )
    absl_flags.DEFINE_string("split", "train", 'Part of it to train on, as "train[:90%]".', flag_values=flags)
    absl_flags.DEFINE_string(
        "validation",
        "evaluation",
        'Part of it to measure on after each epoch: "evaluation" is the one made for it; "none" for none.',
        flag_values=flags,
    )
    absl_flags.DEFINE_bool(
        "check_data", False, "Read every image first and report what is wrong with any.", flag_values=flags
    )
    absl_flags.DEFINE_float(
        "broken_share",
        0.01,
        "Share of the images that may turn out to be broken while training.",
        lower_bound=0,
        upper_bound=1,
        flag_values=flags,
    )
    absl_flags.DEFINE_string("output", None, "Folder for what training writes. Required.", flag_values=flags)
    absl_flags.DEFINE_bool("overwrite", False, "Begin anew, if there is a run in that folder.", flag_values=flags)
    absl_flags.DEFINE_bool(
        "extend", False, "Go on with the run in that folder, finished or not, for more --epochs.", flag_values=flags
    )
    absl_flags.DEFINE_float(
        "checkpoint_seconds",
        600,
        "How often to save within an epoch; after each it is saved anyway.",
        lower_bound=0,
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "recipe",
        None,
        f"Training recipe, one of {', '.join(RECIPES)}: published is the model's own, and segmenters have such with a "
        "name, too (`keras-mlp info MODEL`). By default digits or scenes for that data set, else finetune with "
        "--weights and for segmenters, and published without.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "change",
        "",
        'Values of the recipe to replace, as "mixup=0.2,rand_augment=(2,9)" or, for fine-tuning, "layer_decay=0.7,'
        'unfreeze_epochs=(1,3),balance_classes=True,patience=5".',
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("epochs", None, "Passes over the data.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_float("warmup_epochs", None, "Epochs of warm-up.", lower_bound=0, flag_values=flags)
    absl_flags.DEFINE_integer("batch_size", None, "Images in a batch.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_float("learning_rate", None, "Peak rate at this batch size.", lower_bound=0, flag_values=flags)
    absl_flags.DEFINE_enum("precision", None, PRECISIONS, "Dtype policy of the model.", flag_values=flags)
    absl_flags.DEFINE_bool(
        "remat",
        False,
        "Compute the hidden layers of MLPs anew in the backward pass instead of keeping them: less memory, more time "
        "(`python -m benchmarks.memory` measures both).",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "teacher",
        None,
        "Another classifier of the same classes to learn from: a .keras file, or the name of a model with published "
        "weights. It is given the same pixels 0–255, resized to its size.",
        flag_values=flags,
    )
    absl_flags.DEFINE_enum(
        "distillation",
        "hard",
        DISTILLATIONS,
        "What to learn from the teacher: its decisions, its softened probabilities, or of a DynamicViT's backbone, its "
        "probabilities and tokens. Without --weights the DynamicViT then begins with the teacher's.",
        flag_values=flags,
    )
    absl_flags.DEFINE_float(
        "temperature", 3.0, "What softens the probabilities, for soft.", lower_bound=1e-3, flag_values=flags
    )
    absl_flags.DEFINE_float(
        "teacher_share",
        None,
        "Share of the teacher in the loss, the rest is the labels'; by default 0.5 for hard and 0.1 for soft. For "
        "tokens it is the weight of each of the teacher's two losses, 0.5, and the labels' stays 1.",
        lower_bound=0,
        upper_bound=1,
        flag_values=flags,
    )
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    absl_flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.", flag_values=flags)
    absl_flags.DEFINE_string("data_dir", None, datasets.DATA_DIR_HELP, flag_values=flags)
    datasets.define_max_pixels(flags)
    absl_flags.DEFINE_enum(
        "strategy",
        "none",
        ("none", "mirrored", "multi_worker", "tpu", "data_parallel"),
        "How several devices share a batch: mirrored, all of this process; multi_worker, several processes; tpu; with "
        "KERAS_BACKEND=jax data_parallel, all devices of one or several processes.",
        flag_values=flags,
    )
    absl_flags.DEFINE_list(
        "addresses",
        [],
        "host:port of each process, the first one's first; for multi_worker by default what TF_CONFIG says.",
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("rank", None, "Which of the processes this is, from 0.", lower_bound=0, flag_values=flags)
    absl_flags.DEFINE_string("tpu", "local", "Name or grpc:// address of the TPU.", flag_values=flags)


def run(flags, arguments):
    import keras

    from keras_mlp.training import distribution
    from keras_mlp.training.train import fit

    console.only(arguments)
    console.require(flags, "model", "dataset", "output")
    if flags.multi_label and flags.weights and not flags.new_head:
        raise console.UsageError("--multi_label begins with a classifier of its own: add --new_head to --weights")
    workers = distribution.connect(flags.strategy, flags.addresses, flags.rank, flags.tpu)
    published, shape = described(flags)
    task = (_Segmentation if flags.task == "segmentation" else _Classification)(flags, published)
    recipe, objective = task.recipe, task.objective
    models.find_weights(flags.model, flags.weights)
    if flags.teacher:
        teacher.find(flags.teacher)
    shape = task.shape(shape)
    size = shape[:2]
    splits = [flags.split, *([flags.validation] if flags.validation != "none" else [])]
    if flags.check_data:
        reports = task.check_data(splits)
        print(*reports, sep="\n", flush=True)
        task.refuse(reports)
    options = dict(
        image_size=size,
        channels=shape[-1],
        batch_size=recipe.batch_size,
        seed=flags.seed,
        data_dir=flags.data_dir,
        broken_share=flags.broken_share,
        max_pixels=flags.max_pixels,
    )
    with workers.chief_first():  # who may have to prepare the data
        train = task.load(flags.split, recipe=recipe, worker=(workers.rank, workers.size), **options)
        validation = None if flags.validation == "none" else task.load(flags.validation, **options)
    keras.utils.set_random_seed(flags.seed)
    with workers.scope():
        model = task.build(shape, train.classes)
    settings = {name: flags[name].value for name in SETTINGS + task.settings} | task.decided
    settings |= {"image_size": list(size)}
    history = fit(
        model,
        train,
        validation,
        recipe,
        flags.output,
        settings=settings,
        overwrite=flags.overwrite,
        extend=flags.extend,
        checkpoint_seconds=flags.checkpoint_seconds,
        workers=workers,
        objective=objective,
    ).history
    if workers.rank:
        return
    epoch, score = objective.best_epoch(history), objective.score(history)
    values = history[f"val_{score.key}" if validation else score.key]
    data = f"{validation.examples} images of {flags.validation}" if validation else "the training images"
    measured = f"{score.title} {score.text(values[epoch])}"
    print(f"{flags.output}/best.keras: {measured} of {data}, in epoch {epoch + 1} of {len(values)}")


class _Classification:
    """Recipe, data and model of `--task=classification`."""

    decided = {}

    def __init__(self, flags, published):
        from keras_mlp.training import objectives

        self.flags = flags
        self.recipe = _recipe(flags, published)
        self.objective = objectives.of(self.recipe, flags.multi_label)
        self.settings = (TEACHING if flags.teacher else ()) + (("multi_label",) if flags.multi_label else ())

    def shape(self, shape):
        """The shape of the images, where it is `shape` for the model."""
        return shape

    def check_data(self, splits):
        flags = self.flags
        return datasets.check(flags.dataset, splits, flags.data_dir, flags.multi_label, flags.max_pixels)

    def refuse(self, reports):
        """Broken images are left out, as far as --broken_share allows."""

    def load(self, split, **options):
        return datasets.load(self.flags.dataset, split, multi_label=self.flags.multi_label, **options)

    def build(self, shape, classes):
        ends = dict(classes=len(classes), classifier_activation=self.objective.activation(self.recipe))
        model = build(self.flags, self.recipe, shape, new_head=self.flags.new_head, **ends)
        return teacher.beside(self.flags, model, classes)


class _Segmentation:
    """Recipe, data and model of `--task=segmentation`."""

    settings = SEGMENTING

    def __init__(self, flags, published):
        from keras_mlp.tasks import Segmentation

        for name in ("teacher", "multi_label"):
            if flags[name].value:
                raise console.UsageError(f"--{name} is for classifiers, not for --task=segmentation")
        self.flags = flags
        self.recipe = changed(flags, self._recipe())
        self.objective = Segmentation()
        auxiliary = self.recipe.auxiliary_weight > 0 if flags.auxiliary is None else flags.auxiliary
        self.decided = {"auxiliary": auxiliary}

    def _recipe(self):
        from keras_mlp.cards import segmenters
        from keras_mlp.tasks.segmentation import recipes

        flags = self.flags
        name = flags.recipe or ("scenes" if flags.dataset == "scenes" else "finetune")
        own = {"scenes": recipes.scenes, "finetune": recipes.finetune}
        if name in own:
            return own[name]()
        found = segmenters.published(flags.model, flags.segmenter)
        if name == "published" and len(found) == 1:
            return found[0].recipe
        if name in segmenters.SEGMENTERS:
            return segmenters.SEGMENTERS[name].recipe
        there = ", ".join(one.name for one in found) or f"none for {flags.segmenter} on {flags.model}"
        raise console.UsageError(
            f"--recipe is scenes or finetune for segmenters, or a published one, by its name. There are: {there}. "
            f"Received: {name}"
        )

    def shape(self, shape):
        """That of the recipe's crops, unless the flags say another."""
        size = None if self.flags.image_size else self.recipe.image_size
        return (*size, shape[-1]) if size else shape

    def check_data(self, splits):
        return datasets.check_masks(self.flags.dataset, splits, self.flags.data_dir, self.flags.max_pixels)

    def load(self, split, **options):
        return datasets.load_masks(self.flags.dataset, split, **options)

    def refuse(self, reports):
        from keras_mlp.tasks.segmentation import check

        check.refuse(reports)

    def build(self, shape, classes):
        from keras_mlp import tasks

        heads = (tasks.UPerNet, tasks.SemanticFPN, tasks.SETRNaive, tasks.SETRPUP, tasks.SETRMLA)
        head = dict(zip(SEGMENTERS, heads, strict=True))[self.flags.segmenter]
        backbone = build(self.flags, self.recipe, shape, include_top=False)
        options = self.decided | _pairs("segmenter_config", self.flags.segmenter_config)
        try:
            return head(backbone, len(classes), **options)
        except TypeError as error:
            raise console.UsageError(f"--segmenter_config: {error}") from error


def described(flags):
    """The published recipe of the model or family that the flags name, or `None`, and the shape of its images."""
    from keras_mlp import zoo

    family = zoo.FAMILIES.get(flags.model)
    known = family or zoo.model_card(flags.model)
    shape = family.default_shape if family else known.input_shape
    models.refuse_videos(flags.model, shape)
    return known.recipe, (*(models.parse_size(flags.image_size) or shape[:2]), shape[-1])


def build(flags, recipe, shape, **arguments):
    """The model that the flags name, as the recipe wants it; further arguments are its builder's."""
    from keras_mlp import zoo
    from keras_mlp.training import precision
    from keras_mlp.training.remat import rematerialize

    arguments |= dict(
        weights=flags.weights,
        input_shape=shape,
        dtype=recipe.precision or precision.default(),
        drop_path_rate=recipe.drop_path_rate,
        dropout_rate=recipe.dropout_rate,
    )
    try:
        model = zoo.create_model(flags.model, **arguments | _pairs("config", flags.config))
    except TypeError as error:
        raise console.UsageError(f"--config: {error}") from error
    return rematerialize(model) if flags.remat else model


def _recipe(flags, published):
    """The recipe that the flags ask for."""
    from keras_mlp.training import recipes

    name = flags.recipe or ("digits" if flags.dataset == "digits" else "finetune" if flags.weights else "published")
    if name not in RECIPES[:-1]:
        raise console.UsageError(f"--recipe is one of {', '.join(RECIPES[:-1])} for classifiers. Received: {name}")
    if name == "published":
        if published is None:
            raise ValueError(f"For {flags.model} no recipe is published: choose another with --recipe.")
        recipe = published
    elif name == "digits":
        recipe = recipes.digits()
    else:
        recipe = recipes.finetune("paper" if name == "finetune_paper" else "adamw")
    return changed(flags, recipe)


def changed(flags, recipe):
    """The recipe with what the flags say instead, at their batch size."""
    from keras_mlp.training import recipes

    recipe = recipes.at_batch_size(recipe, flags.batch_size or recipe.batch_size)
    if flags.epochs:  # the warm-up stays the same share of the whole
        share = recipe.warmup_epochs / recipe.epochs
        if recipe.steps:
            share = (recipe.warmup_steps or 0) / recipe.steps
            recipe = dataclasses.replace(recipe, steps=None, warmup_steps=None)
        recipe = dataclasses.replace(recipe, warmup_epochs=share * flags.epochs)
    if flags.warmup_epochs is not None:
        recipe = dataclasses.replace(recipe, warmup_steps=None)
    changes = _pairs("change", flags.change)
    fields = [field.name for field in dataclasses.fields(recipe)]
    if unknown := set(changes) - set(fields):
        raise console.UsageError(f"--change: a recipe has no {', '.join(sorted(unknown))}. It has: {', '.join(fields)}")
    given = {name: flags[name].value for name in ("epochs", "warmup_epochs", "learning_rate", "precision")}
    changes |= {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(recipe, **changes)


def _pairs(flag, text) -> dict:
    """`name=value` pairs, separated by commas; values are numbers, tuples of such, True, False, None or words."""
    config = {}
    for word in re.split(r",(?=\w+=)", text) if text else []:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise console.UsageError(f"--{flag} is a list of name=value, separated by commas. Received: {word}")
        try:
            config[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            config[name] = value
    return config
