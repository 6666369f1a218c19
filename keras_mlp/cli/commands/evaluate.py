"""Measure a classifier on a data set.

What is printed depends on the model. Of classes that exclude each other: top-1 and top-5 accuracy. Of one score for two
classes: accuracy and the area under the ROC curve (auc). Of a multi-label model, on a folder with labels.csv
(`keras-mlp train --help`): the means over the classes of average precision, of auc, and of F1 at --threshold. When the
output is not a terminal, one JSON object is written.

A multi-label model can be measured on data of one class an image, too: by how often that class has the highest score.

A model of videos is measured on videos (`keras-mlp train --help`), each looked at as often as --views says; scores are
averaged as its authors do.

A segmenter is measured on images with masks (`keras-mlp train --help`): by mean intersection over union, the mean
accuracy of the classes, and the share of right pixels. Images are resized to the model's size. With --own_size, or a
flag that needs it (--window, --stride, --scales, --flip, --resize), they are looked at as published segmenters are
measured, and their masks count at their own size; on ADE20K that is --resize=2048,512.

A detector is measured on images with boxes (`keras-mlp train --help`): by COCO's 12 numbers, of boxes and of masks.

Classes are found by their names where the model knows them. The data set may have them in any order, and may have only
some of them.
"""

import numpy as np
from absl import flags as absl_flags

from keras_mlp.cli import classes, console, datasets, detectors, models, segmenters, videos

ARGUMENTS = ""


def define_flags(flags):
    absl_flags.DEFINE_string("model", None, models.CLASSIFIER_HELP, flag_values=flags)
    absl_flags.DEFINE_string("weights", None, models.WEIGHTS_HELP, flag_values=flags)
    absl_flags.DEFINE_string("dataset", None, f"{datasets.DATASET_HELP} Required.", flag_values=flags)
    absl_flags.DEFINE_string(
        "split",
        "evaluation",
        'Part of the data set, as "test"; "evaluation" is the one made for it.',
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("batch_size", 32, "Images at a time.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_list("image_size", None, models.SIZE_HELP, flag_values=flags)
    models.define_decision_flags(flags)
    absl_flags.DEFINE_string("data_dir", None, datasets.DATA_DIR_HELP, flag_values=flags)
    absl_flags.DEFINE_bool(
        "by_class",
        False,
        "Show for each class, too, how many of its images or videos are recognised.",
        flag_values=flags,
    )
    videos.define_views(flags)
    segmenters.define_views(flags)
    absl_flags.DEFINE_bool("own_size", False, "Measure a segmenter at the images' own sizes.", flag_values=flags)
    datasets.define_max_pixels(flags)
    absl_flags.DEFINE_bool("json", False, "Write JSON to a terminal, too.", flag_values=flags)


def run(flags, arguments):
    from keras_mlp.training.objectives.classification import Classification

    console.only(arguments)
    console.require(flags, "model", "dataset")
    if detector := detectors.perhaps(flags.model, flags.image_size):
        return detectors.evaluate(flags, detector)
    if segmenter := segmenters.perhaps(flags.model, flags.image_size):
        return _evaluate_segmenter(flags, segmenter)
    classifier = models.open_classifier(
        flags.model, flags.weights, flags.image_size, flags.batch_size, flags.multi_label
    )
    threshold = models.threshold(flags.threshold, classifier)
    data, averaged = _data(flags, classifier)
    kind = "multi_label" if data.multi_label else "exclusive"
    if classifier.output.units == 1:
        kind = "binary"
    if kind == "exclusive" and flags.threshold is not None:
        raise console.UsageError(f"--threshold has no meaning for {flags.dataset}, of one class an image")
    one_label = data.multi_label and len(data.classes) == 1 and kind == "binary"
    places = None
    if not one_label:
        places = classes.positions(data.classes, classifier.classes, flags.dataset, flags.model)
    if data.left_out:
        console.error(data.left_out)
    batches = console.progress(data.dataset.as_numpy_iterator(), "Evaluating", total=data.steps)
    measured = len(places if kind == "multi_label" else classifier.classes)
    measures, count = _measures(kind, measured, threshold), 0
    for images, labels in batches:
        scores, count = _scores(classifier, images, averaged), count + len(images)
        if kind == "multi_label":
            scores = scores[:, places]  # of the classes that the data have
        elif places:
            labels = classes.placed(labels, places, len(classifier.classes))
        if kind == "binary":
            scores, labels = scores[:, 1:], labels[:, -1:]
        for measure in measures:
            measure.update_state(labels, scores)
    if data.broken:
        data.broken.check()
        for line in (str(data.broken), *data.broken.reasons()):
            console.error(line)
    result = {data.things: count, **{measure.name: float(measure.result()) for measure in measures}}
    by_class = measures[0].by_class([name for _, name in classifier.classes]) if kind == "exclusive" else {}
    if flags.json or not console.for_a_person():
        console.print_json(result | ({"by_class": by_class} if flags.by_class else {}))
    else:
        called = {measure.key: measure.title for measure in Classification.measures} | {"top5": "top-5"}
        shares = ", ".join(f"{called.get(name, name)} {100 * result[name]:.2f} %" for name in list(result)[1:])
        print(f"{shares} of {count} {data.things} of {flags.dataset} ({flags.split})")
        if flags.by_class:
            rows = [(name, f"{100 * share:.1f} %") for name, share in by_class.items()]
            print(console.table(rows, align="<>", indent="  "))


def _data(flags, classifier):
    """What to measure on, and what of the views of a video is averaged; `None` for images."""
    *frames, height, width, channels = classifier.input_shape
    options = dict(image_size=(height, width), channels=channels, data_dir=flags.data_dir, max_pixels=flags.max_pixels)
    if not frames:
        videos.refuse_for_images(flags, "views", "sampling")
        options |= dict(multi_label=_multi_label(flags, classifier), preprocessing=classifier.preprocessing)
        return datasets.load(flags.dataset, flags.split, batch_size=flags.batch_size, **options), None
    looks = videos.asked(flags, classifier.preprocessing)
    options |= dict(frames=frames[0], preprocessing=looks, views=True)
    at_a_time = max(1, flags.batch_size // looks.views)
    return datasets.load_videos(flags.dataset, flags.split, batch_size=at_a_time, **options), looks.averaged


def _scores(classifier, images, averaged):
    """Probabilities `(n, classes)` of images, or of videos `(n, views, …)`."""
    if averaged is None:
        return classifier.scores(images)
    rows = classifier.scores(images.reshape(-1, *classifier.input_shape))
    return np.stack([classifier.output.joint(views, averaged) for views in np.split(rows, len(images))])


def _evaluate_segmenter(flags, model):
    from keras_mlp import tasks

    *size, channels = models.input_shape(model)
    views = segmenters.views(flags, model)
    own_size = flags.own_size or views != dict(window=None, stride=None, scales=(1.0,), flip=False, resize=None)
    batches = dict(image_size=None, batch_size=1) if own_size else dict(image_size=size, batch_size=flags.batch_size)
    options = dict(channels=channels, data_dir=flags.data_dir, max_pixels=flags.max_pixels)
    data = datasets.load_masks(flags.dataset, flags.split, **batches, **options)
    segmenters.check_classes(data, segmenters.class_names(flags.model, model), flags.dataset, flags.model)
    scores = tasks.evaluate(model, data, verbose=int(console.for_a_person()), **(views if own_size else {}))
    if flags.json or not console.for_a_person():
        by_class = {
            name: None if np.isnan(iou) else float(iou) for name, iou in zip(data.classes, scores["IoU"], strict=True)
        }
        shares = {name: scores[name] for name in ("mIoU", "mAcc", "aAcc")}
        return console.print_json({"images": data.examples, **shares, "IoU": by_class})
    told = ", ".join(f"{name} {100 * scores[name]:.2f} %" for name in ("mIoU", "mAcc", "aAcc"))
    print(f"{told} of {data.examples} images of {flags.dataset} ({flags.split})")
    rows = [(name, f"{100 * iou:.1f} %") for name, iou in zip(data.classes, scores["IoU"], strict=True)]
    print(console.table(rows, align="<>", indent="  "))


def _multi_label(flags, classifier) -> bool:
    """Whether the data are to have labels of that kind: as the flag says, else where model and folder do."""
    from keras_mlp.training.data.multi_label import holds_labels

    if flags.multi_label is not None:
        return flags.multi_label
    return classifier.output.kind != "exclusive" and holds_labels(flags.dataset)


def _measures(kind, classes, threshold):
    """What is measured, each with Keras' methods of metrics."""
    from keras_mlp.classifiers import Output
    from keras_mlp.training import metrics

    if kind == "exclusive":
        return [_Top(1), *([_Top(5)] if classes > 5 else [])]
    return metrics.of(Output(kind, "sigmoid", 1 if kind == "binary" else classes), threshold)


class _Top:
    """Share of the images whose true class is among the best; not Keras', for which a tie counts for the model."""

    def __init__(self, most):
        self.name, self.most, self.ranks, self.labels = f"top{most}", most, [], []

    def update_state(self, labels, scores):
        self.ranks.append(_ranks(scores, labels))
        self.labels.append(labels.argmax(-1))

    def result(self):
        return np.mean(np.concatenate(self.ranks) < self.most)

    def by_class(self, names) -> dict[str, float]:
        """The same for each class, by its name; without those that no image is of."""
        hits, labels = np.concatenate(self.ranks) < self.most, np.concatenate(self.labels)
        return {names[label]: float(hits[labels == label].mean()) for label in np.unique(labels)}


def _ranks(scores, labels) -> np.ndarray:
    """How many classes score higher than the true one; ties count against the model."""
    truth = np.take_along_axis(scores, labels.argmax(-1)[:, np.newaxis], axis=1)
    return (scores >= truth).sum(axis=1) - 1
