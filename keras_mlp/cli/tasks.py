"""The parts of training that --task decides: recipe, data and model."""

from keras_mlp.cards import VIDEO_TRAININGS
from keras_mlp.cli import console, datasets, models, teacher, videos
from keras_mlp.cli.recipes import EMBEDDED, build, changed, for_classifiers, pairs

SEGMENTERS = ("upernet", "semantic_fpn", "setr_naive", "setr_pup", "setr_mla")
DETECTORS = {"retina_net": "RetinaNet", "mask_rcnn": "MaskRCNN", "cascade_mask_rcnn": "CascadeMaskRCNN"}
"""What builds the detectors that --detector names, in `keras_mlp.tasks`."""
# What decides the result beside the recipe, with a teacher, of a segmenter and of a detector.
TEACHING = ("teacher", "distillation", "temperature", "teacher_share")
VIDEO = ("sampling", "frames", "inflate")
"""Flags that go with models of videos."""
SEGMENTING = ("task", "segmenter", "segmenter_config", "auxiliary")
DETECTING = ("task", "detector", "detector_config", "skip_broken")


class Classification:
    """Recipe, data and model of `--task=classification`."""

    decided = {}

    def __init__(self, flags, published):
        from keras_mlp.training import objectives

        self.flags = flags
        self.recipe = for_classifiers(flags, published)
        self.objective = objectives.of(self.recipe, flags.multi_label)
        self.settings = (TEACHING if flags.teacher else ()) + (("multi_label",) if flags.multi_label else ())

    def shape(self, shape):
        """The shape of the images or videos, where it is `shape` for the model."""
        flags, (*self.frames, _, _, _) = self.flags, shape
        if not self.frames:
            videos.refuse_for_images(flags, *VIDEO)
            return shape
        for name in ("multi_label", "teacher"):
            if flags[name].value:
                raise console.UsageError(f"--{name} goes with a model of images")
        stride = models.preprocessing(flags.model, flags.weights).stride
        whole = stride is None or flags.dataset in EMBEDDED or flags.recipe in VIDEO_TRAININGS
        sampling = flags.sampling or (videos.SEGMENTS if whole else f"{stride:g}")
        self.preprocessing = videos.sampled(sampling)
        self.decided = {"sampling": sampling, "frames": self.frames[0], "inflate": flags.inflate}
        if flags.inflate:
            teacher.find(flags.inflate)
        return shape

    def check_data(self, splits):
        flags = self.flags
        if self.frames:
            return datasets.check_videos(flags.dataset, splits, flags.data_dir, flags.max_pixels)
        return datasets.check(flags.dataset, splits, flags.data_dir, flags.multi_label, flags.max_pixels)

    def refuse(self, reports):
        """Broken images are left out, as far as --broken_share allows."""

    def load(self, split, **options):
        if self.frames:
            options |= dict(frames=self.frames[0], preprocessing=self.preprocessing)
            return datasets.load_videos(self.flags.dataset, split, **options)
        return datasets.load(self.flags.dataset, split, multi_label=self.flags.multi_label, **options)

    def build(self, shape, classes):
        ends = dict(classes=len(classes), classifier_activation=self.objective.activation(self.recipe))
        model = build(self.flags, self.recipe, shape, new_head=self.flags.new_head, **ends)
        if self.flags.inflate:
            begin_with_image(self.flags, model)
        return teacher.beside(self.flags, model, classes)


def begin_with_image(flags, model):
    """Give a video model the weights of the image model that `--inflate` names."""
    import keras_mlp

    size = [str(side) for side in model.input_shape[-3:-1]]
    left = keras_mlp.inflate(models.open_model(flags.inflate, None, size), model)
    print(f"begun with {flags.inflate}: {len(left)} variables are new", flush=True)


class Segmentation:
    """Recipe, data and model of `--task=segmentation`."""

    settings = SEGMENTING

    def __init__(self, flags, published):
        from keras_mlp import tasks

        _refuse_for_classifiers(flags)
        self.flags = flags
        self.recipe, self.backbone = self._recipe()
        self.recipe = changed(flags, self.recipe)
        self.objective = tasks.Segmentation()
        auxiliary = self.recipe.auxiliary_weight > 0 if flags.auxiliary is None else flags.auxiliary
        self.decided = {"auxiliary": auxiliary}

    def _recipe(self):
        """The recipe, and the arguments that its authors give the backbone."""
        from keras_mlp.cards import segmenters
        from keras_mlp.tasks.segmentation import recipes

        found = segmenters.published(self.flags.model, self.flags.segmenter)
        chosen = _chosen(self.flags, recipes, found, segmenters.SEGMENTERS, self.flags.segmenter)
        return (chosen.recipe, chosen.config) if isinstance(chosen, segmenters.Segmenter) else (chosen, {})

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
        backbone = build(self.flags, self.recipe, shape, include_top=False, **self.backbone)
        options = self.decided | pairs("segmenter_config", self.flags.segmenter_config)
        try:
            return head(backbone, len(classes), **options)
        except TypeError as error:
            raise console.UsageError(f"--segmenter_config: {error}") from error


class Detection:
    """Recipe, data and model of `--task=detection`."""

    settings = DETECTING
    decided = {}

    def __init__(self, flags, published):
        from keras_mlp import tasks

        _refuse_for_classifiers(flags)
        self.flags = flags
        self.config = pairs("detector_config", flags.detector_config)
        self.masks = flags.detector != "retina_net" and self.config.get("masks", True)
        self.recipe = changed(flags, self._recipe())
        self.objective = tasks.Detection()

    def _recipe(self):
        from keras_mlp.cards import detectors
        from keras_mlp.tasks.detection import recipes

        found = detectors.published(self.flags.model, self.flags.detector)
        chosen = _chosen(self.flags, recipes, found, detectors.DETECTORS, self.flags.detector)
        return chosen.recipe if isinstance(chosen, detectors.Detector) else chosen

    def shape(self, shape):
        """That of the padded images."""
        from keras_mlp.tasks.detection.data import padded

        size = None if self.flags.image_size else self.recipe.image_size
        self.size = size or shape[:2]
        return (*padded(self.size), shape[-1])

    def check_data(self, splits):
        flags = self.flags
        return datasets.check_boxes(
            flags.dataset, splits, flags.data_dir, masks=self.masks, skip_broken=flags.skip_broken
        )

    def refuse(self, reports):
        """Broken boxes have been refused when they were read, or are left out."""

    def load(self, split, **options):
        options |= dict(image_size=self.size, short_side=self.recipe.short_side, masks=self.masks)
        return datasets.load_boxes(self.flags.dataset, split, skip_broken=self.flags.skip_broken, **options)

    def build(self, shape, classes):
        from keras_mlp import tasks

        backbone = build(self.flags, self.recipe, shape, include_top=False)
        try:
            return getattr(tasks, DETECTORS[self.flags.detector])(backbone, len(classes), **self.config)
        except TypeError as error:
            raise console.UsageError(f"--detector_config: {error}") from error


def _chosen(flags, own, published, known, head):
    """What was published under the name that the flags give as the recipe, or one of the recipes of our own.

    Args:
        flags: the flags.
        own: the module with `scenes` and `finetune`.
        published: what was published of the head on the backbone.
        known: all that was published, by name.
        head: what the flags call the head.
    """
    name = flags.recipe or ("scenes" if flags.dataset == "scenes" else "finetune")
    if name in ("scenes", "finetune"):
        return getattr(own, name)()
    if name == "published" and len(published) == 1:
        return published[0]
    if name in known:
        return known[name]
    there = ", ".join(one.name for one in published) or f"none for {head} on {flags.model}"
    kind = "segmenters" if flags.task == "segmentation" else "detectors"
    raise console.UsageError(
        f"--recipe is scenes or finetune for {kind}, or a published one, by its name. There are: {there}. "
        f"Received: {name}"
    )


def _refuse_for_classifiers(flags):
    for name in ("teacher", "multi_label", *VIDEO):
        if flags[name].value:
            raise console.UsageError(f"--{name} is for classifiers, not for --task={flags.task}")


TASKS = {"classification": Classification, "segmentation": Segmentation, "detection": Detection}
"""By what --task calls them."""
