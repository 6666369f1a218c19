"""What `--model` and `--weights` mean: a model of the zoo by its name, a `.keras` file or a `.tflite` file."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from keras_mlp.cards import Preprocessing, VideoPreprocessing, kind_of_input
from keras_mlp.cli import console, videos

if TYPE_CHECKING:
    from keras_mlp.classifiers import Output

MODEL_HELP = "Name of a model (`keras-mlp list`), or a .keras file. Required."
CLASSIFIER_HELP = MODEL_HELP.replace(".keras", ".keras, .tflite or .openvino")
WEIGHTS_HELP = (
    'For a model by name: a published tag ("imagenet" by default; "k400" for videos), the path of a checkpoint, '
    'hf://owner/name for one on the Hugging Face Hub, or "none".'
)
EXPORTED = (".tflite", ".openvino")
"""What exported files end in that take the place of a model."""
SIZE_HELP = "Height and width in pixels, or one number; the model's own by default."
MULTI_LABEL_HELP = (
    "Whether each class is true of an image or not, whatever the others are, or (--nomulti_label) classes exclude each "
    "other. By default as the model tells by its last activation or its loss."
)
THRESHOLD_HELP = (
    "For multi-label models and for two classes with one score: the score above which a class, or the second of the "
    "two, is taken to be true. 0.5 by default."
)


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Anything that classifies images or videos.

    Args:
        scores: `(n, *input_shape)` pixels 0–255 to `(n, classes)` probabilities.
        input_shape: `(height, width, channels)`, of videos `(frames, height, width, channels)`.
        preprocessing: how images are resized for it, and frames of videos chosen.
        classes: `(identifier, name)` of each class.
        output: what its scores mean; of "exclusive" and "binary" classes those of an image sum to 1.
    """

    scores: Callable[[np.ndarray], np.ndarray]
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing
    classes: list[tuple[str, str]]
    output: "Output"

    @property
    def input(self) -> str:
        """What it takes: "image" or "video"."""
        return kind_of_input(self.input_shape)


def is_file(model: str) -> bool:
    """Whether `--model` names a file and not a model of the zoo."""
    return model.endswith((".keras", ".h5", *EXPORTED)) or os.sep in model


def open_model(model: str, weights: str | None, image_size: list[str] | None = None, **arguments):
    """A Keras model.

    Args:
        model: name or `.keras` file.
        weights: for a name: tag, path or "none"; `None` is the builder's default. A file holds its own.
        image_size: one or two numbers of pixels, (height, width); by default the model's own.
        **arguments: further ones of the builder, for a name; `None` leaves its default.

    Raises:
        ValueError, OSError: there is no such model or file, or the weights do not fit.
    """
    import keras_mlp

    size = parse_size(image_size)
    if is_file(model):
        if weights:
            raise console.UsageError(f"--weights goes with a model by name; {model} holds its own")
        loaded = _load(model)
        return keras_mlp.resize(loaded, size) if size and size != loaded.inputs[0].shape[-3:-1] else loaded
    card = keras_mlp.model_card(model)
    if size:
        *frames, _, _, channels = card.input_shape
        arguments["input_shape"] = (*frames, *size, channels)
    arguments = {"classes": _classes_of(weights, card), "weights": weights} | arguments
    given = {name: value for name, value in arguments.items() if value is not None}
    if weights == "none":
        given["weights"] = None
    return keras_mlp.create_model(model, **given)


def find_weights(model: str, weights: str | None):
    """Have the weights of a model by name on this machine, before anything else is fetched.

    Args:
        model: name of a model, or of a family.
        weights: tag of published ones or address on the hub, which are downloaded, or the path of a checkpoint.

    Raises:
        ValueError, OSError: there are none of that name, or they cannot be fetched.
    """
    from keras_mlp import build, zoo
    from keras_mlp.checkpoints import download, hub

    family = zoo.FAMILIES.get(model)
    name = None if family else model
    published = build.published_weights(family or zoo.FAMILIES[zoo.model_card(model).family], name, weights)
    if published:
        download.fetch(published)
    hub.find(weights)


def open_classifier(
    model: str, weights: str | None, image_size: list[str] | None, batch_size: int, multi_label: bool | None = None
) -> Classifier:
    """A model or an exported file, with what is known of its classes and of how its images are resized.

    Args:
        model, weights, image_size: see `open_model`.
        batch_size: images at a time.
        multi_label: whether classes do not exclude each other; `None` for what the model or the file tells.
    """
    if model.endswith(EXPORTED):
        if weights or image_size:
            raise console.UsageError("--weights and --image_size go with a model, not with an exported file")
        predict, shape, output = _open_exported(model, _kind(multi_label))
        resizing, names = _told_by(model, output)
    else:
        network = open_model(model, weights, image_size)
        shape = input_shape(network)
        if not has_scores(network):
            raise ValueError(f"{model} is no classifier: its output is {network.output_shape}.")
        output = output_of(model, network, multi_label)
        resizing, names = preprocessing(model, weights), class_names(model, weights, output.classes)

        predict = _Network(network, batch_size)

    if kind_of_input(shape) == "video":
        resizing = videos.of_videos(resizing)
    return Classifier(lambda images: output.probabilities(predict(images)), shape, resizing, names, output)


_PAYS = 1000
"""Images after which a model is frozen. By hand, on two busy cores: freezing Mixer-S/16 or Hire-MLP-T takes 3 to 5
seconds, and spares a tenth to a fifth of what `predict` takes, so about as much in as many images again."""


class _Network:
    """A Keras model that is asked portion by portion, and frozen (`keras_mlp.fast`) once that pays."""

    def __init__(self, network, batch_size: int):
        self._network, self._batch_size, self._asked, self._frozen = network, batch_size, 0, None

    def __call__(self, images):
        from keras_mlp.export import freezing

        self._asked += len(images)
        if self._asked > _PAYS and self._frozen is None and freezing.fits(self._network):
            self._frozen = freezing.fast(self._network)
        if self._frozen is None:
            return self._network.predict(images, batch_size=self._batch_size, verbose=0)
        starts = range(0, len(images), self._batch_size)
        return np.concatenate([self._frozen(images[start : start + self._batch_size]) for start in starts])


def exported(path: str, kind: str, opened: Callable, image_size: list[str] | None):
    """What `opened` makes of a .tflite file that tells that it is of a kind; `None` for another or none.

    Args:
        path: the file.
        kind: such as "segmentation".
        opened: takes the path.
        image_size: as the flag has it, which does not go with a file.
    """
    from keras_mlp.tasks.exported import kind_of

    if not pathlib.Path(path).expanduser().is_file() or kind_of(path) != kind:
        return None
    if image_size:
        raise console.UsageError("--image_size goes with a model, not with a .tflite file")
    return opened(path)


def has_scores(network) -> bool:
    """Whether a Keras model gives one array `(n, units)`, as classifiers do."""
    return isinstance(network.output_shape, tuple) and len(network.output_shape) == 2


def define_decision_flags(flags):
    """Flags that say what is decided by scores."""
    from absl import flags as absl_flags

    absl_flags.DEFINE_bool("multi_label", None, MULTI_LABEL_HELP, flag_values=flags)
    absl_flags.DEFINE_float(
        "threshold", None, THRESHOLD_HELP, lower_bound=1e-6, upper_bound=1 - 1e-6, flag_values=flags
    )


def threshold(given: float | None, classifier: Classifier) -> float:
    """`--threshold`, which goes with classifiers that have one."""
    if given is not None and classifier.output.kind == "exclusive":
        raise console.UsageError("--threshold goes with two classes of one score and with multi-label models")
    return 0.5 if given is None else given


def output_of(model: str, network, multi_label: bool | None = None) -> "Output":
    """What the output of a model means that `open_model` has opened.

    Args:
        model: its name or its file, which may tell the loss that it was trained with.
        network: the Keras model.
        multi_label: see `open_classifier`.
    """
    from keras_mlp.classifiers import Output, saved_loss

    return Output.of(network, _kind(multi_label), loss=saved_loss(model) if model.endswith(".keras") else None)


def _kind(multi_label) -> str | None:
    return {True: "multi_label", False: "exclusive", None: None}[multi_label]


def _open_exported(path, kind):
    from keras_mlp.classifiers import KINDS, Output
    from keras_mlp.export import runners

    runner = runners.runner(path)
    whole_pixels = runner.input_dtype != np.float32

    def predict(images):
        return runner(np.rint(images) if whole_pixels else images)

    shape = runner.input_shape[1:]
    if runner.output_names is not None:
        raise ValueError(f"{path} is no classifier: it has the outputs {', '.join(runner.output_names)}.")
    noise = predict(np.random.default_rng(0).uniform(0, 255, (4, *shape)).astype("float32"))
    if noise.ndim != 2:
        raise ValueError(f"{path} is no classifier: its output is {noise.shape}.")
    told = runners.metadata(path)[0].get("output")
    if told is None:
        return predict, shape, Output.of_numbers(noise, kind, runner.output_step)
    if not isinstance(told, dict) or told.get("kind") not in KINDS or not isinstance(told.get("activation"), str):
        raise ValueError(f"{path} tells of its output what is not known here: {told}")
    units = noise.shape[-1]
    return predict, shape, Output(told["kind"] if kind is None or units == 1 else kind, told["activation"], units)


def description(model: str, weights: str | None, network, output=None) -> tuple[dict, list[str] | None]:
    """What an exported file should tell of itself: metadata, and the names of its classes if it has some.

    Args:
        model, weights: see `open_model`.
        network: the Keras model.
        output: what its output means, an object of `keras_mlp.classifiers`, or `None`.
    """
    from keras_mlp import zoo
    from keras_mlp.classifiers import DETECTION, SEGMENTATION
    from keras_mlp.tasks.segmentation.data import WHOLE

    told = {"model": network.name}
    pixels = output is not None and output.kind in (SEGMENTATION, DETECTION)
    if output is None or output.kind != DETECTION:  # whose images are resized by `tasks.detect` alone
        told["preprocessing"] = dataclasses.asdict(WHOLE if pixels else preprocessing(model, weights))
    if not is_file(model):
        card = zoo.model_card(model)
        told |= {"model": model, "paper": str(card.paper)}
        if published := card.weights.get(weights or zoo.FAMILIES[card.family].best):
            told |= {"weights": published.tag, "licence": published.licence, "training_data": published.training_data}
    if output is None:
        return told, None
    identifiers, names = zip(*class_names(model, weights, output.classes), strict=True)
    if identifiers != names and not pixels:
        told["class_ids"] = identifiers
    return told, list(names)


def _told_by(path, output) -> tuple[Preprocessing, list[tuple[str, str]]]:
    """How images are resized for an exported file, and its classes: as the file tells, else as for any file."""
    from keras_mlp.checkpoints.untrusted import refusing
    from keras_mlp.export.runners import metadata

    told, names = metadata(path)
    resizing = preprocessing(path)
    with refusing(path):
        if "preprocessing" in told:
            values = {name: tuple(v) if isinstance(v, list) else v for name, v in told["preprocessing"].items()}
            resizing = (VideoPreprocessing if "clips" in values else Preprocessing)(**values)
            np.asarray(resizing.scale_and_offset, float)
        if not names:
            return resizing, class_names(path, None, output.classes)
        identifiers = told.get("class_ids", names)
        if not isinstance(identifiers, list) or not len(identifiers) == len(names) == output.classes:
            raise ValueError(f"it names {len(names)} classes and tells {output.classes} apart, or identifies others")
        return resizing, list(zip(map(str, identifiers), names, strict=True))


def input_shape(network) -> tuple[int, ...]:
    """Height, width and channels of a model's images, frames in front for videos; 224 pixels where a side is open."""
    return tuple(side or 224 for side in network.inputs[0].shape[1:])


def refuse_videos(model: str, shape: tuple[int, ...]):
    """Raise a `ValueError` for a model of videos, where a command reads images only."""
    if kind_of_input(shape) == "video":
        raise ValueError(f"{model} takes videos, and this command reads data sets and folders of images only.")


def parse_size(words: list[str] | None, flag: str = "image_size") -> tuple[int, int] | None:
    """`--image_size=224` or `--image_size=224,192` as (height, width); another `flag` likewise."""
    if not words:
        return None
    if len(words) > 2 or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise console.UsageError(
            f"--{flag} is one number of pixels or two, as 224 or 256,192. Received: {','.join(words)}"
        )
    return int(words[0]), int(words[-1])


def _load(path):
    import keras

    from keras_mlp.checkpoints import whole_models

    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}.")
    whole_models.check(path)
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its parts do
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason}") from error


def _classes_of(weights, card) -> int | None:
    """How many classes the head of these weights has, or `None` where that is open."""
    from keras_mlp.checkpoints import hub

    if weights in card.weights:
        return card.weights[weights].classes
    if of_hub := hub.find(weights):
        return of_hub.classes or head_size(of_hub.path, card.family)
    return head_size(weights, card.family) if weights and os.path.isfile(os.path.expanduser(weights)) else None


def head_size(path: str | os.PathLike, family: str, key: str | None = None) -> int | None:
    """Number of outputs of the classifier in a checkpoint of `family`, or `None` where the file does not tell."""
    from keras_mlp.checkpoints import load, readers

    bias = load.head_bias(readers.read(path, key=key), family)
    return len(bias) if bias is not None and bias.ndim == 1 else None


def preprocessing(model: str, weights: str | None = None) -> Preprocessing:
    """How images are resized for a model or family; for a file, as `keras_mlp.training` does."""
    from keras_mlp import zoo
    from keras_mlp.checkpoints import hub
    from keras_mlp.cli import runs
    from keras_mlp.training.data.pipeline import DEFAULT_PREPROCESSING

    if is_file(model):
        sampling = runs.told_of(model).get("sampling")
        return DEFAULT_PREPROCESSING if sampling is None else videos.sampled(sampling)
    if model in zoo.FAMILIES:
        return zoo.FAMILIES[model].preprocessing
    card = zoo.model_card(model)
    told = card.weights.get(weights) or hub.find(weights)
    return (told and told.preprocessing) or card.preprocessing


def class_names(model, weights, classes) -> list[tuple[str, str]]:
    """Identifier and name of each class: as beside the model or on the hub, else published ones, else numbers."""
    from keras_mlp import labels
    from keras_mlp.checkpoints import hub

    of_hub = hub.find(weights)
    if of_hub and of_hub.labels and len(of_hub.labels) == classes:
        return list(of_hub.labels)
    beside = pathlib.Path(model).with_name("classes.txt")
    if is_file(model) and beside.is_file():
        names = beside.read_text(encoding="utf-8").splitlines()
        if classes == 2 and len(names) == 1:  # of a single label
            names = [f"not {names[0]}", *names]
        if len(names) == classes:
            return [(str(i), name) for i, name in enumerate(names)]
    if weights in labels.NAMED:  # tags of video models are the names of their data sets
        return labels.class_names(weights)
    if classes in labels.CLASS_LISTS:
        return labels.class_names(classes)
    return [(str(i), str(i)) for i in range(classes)]
