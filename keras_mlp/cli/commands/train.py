"""Train a model on a data set.

The folder OUTPUT gets best.keras and last.keras, report.md, curves.png, log.csv, recipe.json, classes.txt and, for
TensorBoard, tensorboard. A recipe's rates follow the batch size. Flags that are given replace its values.

If a run ends before its time, the same command goes on with it and comes to the same weights. Ctrl-C saves first.

--multi_label trains on images of which each may be of several classes, or of none. --dataset is then a folder with a
table labels.csv in UTF-8. Its first line is "file,CLASS,CLASS,...", and the others are "PATH_OF_IMAGE,0,1,...". Every
fifth image is for evaluation, unless the folder has the folders train and test with a table each. The best epoch is
that of the highest mean average precision. The model ends in sigmoids.

A model of videos is trained on videos. --dataset is then "moving_digits", for handwritten digits in motion; a folder of
class folders, in which a video is a file or a folder of frames; a folder of lists, train.csv and val.csv, of lines
"PATH NUMBER_OF_CLASS"; or a data set of tensorflow-datasets with videos, such as ucf101. --sampling says which frames
are taken. Videos that cannot be read, and those of a single frame, are left out and named. --inflate=MODEL begins with
an image model of the same architecture. Videos are not mirrored if the name of a class tells a direction.

--task=segmentation trains a segmenter: a backbone, --model, with the head --segmenter. --dataset is then "scenes", for
handwritten digits on textured ground, or a folder with images/, masks/ and classes.txt. A mask is a PNG of the numbers
of the classes, 255 where there is none. The folders of ADE20K (ADEChallengeData2016) and Cityscapes (leftImg8bit and
gtFine) are known as they are published; "ade20k:PATH" and "cityscapes:PATH" say so where names do not tell. "tfds:NAME"
is a data set of tensorflow-datasets with masks: cityscapes, oxford_iiit_pet, scene_parse150 (ADE20K's 100 kinds of
things), or one with a LabeledImage. --recipe=published is how the head was published on that backbone; `keras-mlp info
MODEL` tells of it, and the name tells one from another. The best epoch is that of the highest mean intersection over
union.

--task=detection trains a detector: a backbone, --model, in --detector. --dataset is then "scenes"; a folder with
annotations/instances_train2017.json and the like of COCO's form, and the images; a folder with Annotations/*.xml of
Pascal VOC's form; or "tfds:voc/2007", "tfds:coco/2017" and the like. Images are resized so that they fit in
--image_size and padded. mask_rcnn and cascade_mask_rcnn learn masks, which are read from COCO's form. A reversed, empty
or outside box is an error, unless --skip_broken. --recipe=published is as for segmenters. The best epoch is that of the
highest average precision of boxes.

--callback=MODULE:CLASS takes any Keras callback along, such as an experiment tracker's.

--strategy trains on several devices or machines. --batch_size is then the batch of all of them, and OUTPUT a folder
that all see. The commands are in docs/scaling.md.
"""

from absl import flags as absl_flags

from keras_mlp.cli import callbacks, console, datasets, models, tasks, teacher, videos
from keras_mlp.cli.recipes import RECIPES, described

ARGUMENTS = ""
# What decides the result beside the recipe: a run goes on with the same only.
SETTINGS = ("model", "config", "weights", "new_head", "dataset", "split", "validation", "seed")
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
    absl_flags.DEFINE_enum("task", "classification", list(tasks.TASKS), "What to learn.", flag_values=flags)
    absl_flags.DEFINE_enum(
        "segmenter",
        "upernet",
        tasks.SEGMENTERS,
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
    absl_flags.DEFINE_enum(
        "detector", "retina_net", list(tasks.DETECTORS), "What makes a detector of the backbone.", flag_values=flags
    )
    absl_flags.DEFINE_string("detector_config", "", 'Arguments of the detector, as "channels=256".', flag_values=flags)
    absl_flags.DEFINE_bool(
        "skip_broken", False, "Leave out and count reversed, empty and outside boxes.", flag_values=flags
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
        f"Training recipe, one of {', '.join(RECIPES)}: published is the model's own, and segmenters and models of "
        "videos have such with a name, too (`keras-mlp info MODEL`). By default the one of an embedded data set, else "
        "finetune with --weights or --inflate and for segmenters, and published without.",
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
    absl_flags.DEFINE_integer(
        "frames", None, "Frames of a clip, for a model of videos; the model's own by default.", 1, flag_values=flags
    )
    absl_flags.DEFINE_string(
        "inflate",
        None,
        "Image model whose weights a model of videos begins with: a .keras file, or the name of one with published "
        "weights.",
        flag_values=flags,
    )
    videos.define_sampling(flags)
    absl_flags.DEFINE_multi_string("callback", [], callbacks.HELP, flag_values=flags)
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
    if flags.inflate and flags.weights:
        raise console.UsageError("--inflate and --weights are both to begin with: leave one out")
    makers = callbacks.makers(flags.callback)
    workers = distribution.connect(flags.strategy, flags.addresses, flags.rank, flags.tpu)
    published, shape = described(flags, takes_videos=flags.task == "classification")
    task = tasks.TASKS[flags.task](flags, published)
    recipe, objective = task.recipe, task.objective
    models.find_weights(flags.model, flags.weights)
    if flags.teacher:
        teacher.find(flags.teacher)
    shape = task.shape(shape)
    size = shape[-3:-1]
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
        callbacks=[make() for make in makers] if not workers.rank else (),
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
    data = (
        f"{validation.examples} {train.things} of {flags.validation}" if validation else f"the training {train.things}"
    )
    measured = f"{score.title} {score.text(values[epoch])}"
    print(f"{flags.output}/best.keras: {measured} of {data}, in epoch {epoch + 1} of {len(values)}")
