"""Putting a model on the Hugging Face Hub, with a card that tells what it is."""

import dataclasses
import json
import os
import pathlib
import re

import keras
import numpy as np

from keras_mlp import labels as known_labels
from keras_mlp import names
from keras_mlp.cards import Preprocessing, Recipe
from keras_mlp.checkpoints import hub
from keras_mlp.checkpoints.load import save_checkpoint
from keras_mlp.extras import need
from keras_mlp.files import temporary_folder
from keras_mlp.layers import Rescaling

MODEL, WEIGHTS, CARD, CONFIG = "model.keras", "model.safetensors", "README.md", hub.CONFIG
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PICTURES = {".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".jpeg": b"\xff\xd8"}
_METRICS = {"top1": "top-1 accuracy", "top5": "top-5 accuracy", "miou": "mean intersection over union"}
_TASKS = {2: "image-classification", 4: "image-segmentation"}


class PushError(OSError, ValueError):
    """A model could not be put on the hub; the message says why."""


@dataclasses.dataclass(frozen=True)
class About:
    """What a model's card on the hub tells.

    Args:
        labels: names of the classes, in the order of the outputs; those of ImageNet and Kinetics are known by their
            number.
        preprocessing: how images are normalised and resized; by default as the model's own preprocessing says.
        scores: `{metric: value}`, such as `{"top1": 0.91}`; shares of 1, as Keras has them.
        training_data: what it was trained on, in words or as the hub calls it.
        recipe: how it was trained: a `Recipe` or a dictionary of settings.
        licence: of the weights, as the hub writes it ("apache-2.0", "mit"), or in words.
        picture: path of a PNG or JPEG file that the card shows.
        text: a paragraph of Markdown at the card's beginning.
    """

    labels: list[str] | tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    training_data: str = ""
    recipe: Recipe | dict | None = None
    licence: str = ""
    picture: str | os.PathLike | None = None
    text: str = ""


def push_to_hub(
    model: keras.Model,
    repository: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    message: str = "Upload a model of keras_mlp",
    token: str | None = None,
    **about,
) -> str:
    """Put a model on the Hugging Face Hub: the whole, its weights alone, a config and a card.

    The repository gets `model.keras`, `model.safetensors` (with this package's names: `weights="hf://user/name"` and
    `load_checkpoint` read it), `config.json` as timm writes it, and `README.md`, the card. What else is there stays.

    Args:
        model: a model, whole or trained in part; its layers are of this package or of Keras.
        repository: "user/name"; it is made if there is none.
        private: whether a repository that is made is; by default as the user's settings on the hub say.
        revision: branch to put it on; by default the main one.
        create_pr: whether to open a pull request instead.
        message: of the commit.
        token: of the hub; by default what `hf auth login` or `HF_TOKEN` left.
        **about: what the card tells: `labels`, `preprocessing`, `scores`, `training_data`, `recipe`, `licence`,
            `picture` and `text`; see `keras_mlp.publishing.About`.

    Returns:
        The url of the commit, or of the pull request.

    Raises:
        ImportError: the package of the extra "hub" is not installed.
        ValueError: an argument does not fit; nothing was uploaded.
        PushError: (an `OSError` and a `ValueError`) the hub refused, or cannot be reached.

    Example:

    ```python
    keras_mlp.push_to_hub(model, "user/flowers", labels=classes, scores={"top1": 0.91}, licence="apache-2.0")
    ```
    """
    told = _checked(model, repository, about)
    library = need("huggingface_hub", extra=hub.EXTRA)
    api = library.HfApi(token=token, library_name="keras-mlp")
    with temporary_folder() as folder:
        write(model, repository, told, folder)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                revision=revision,
                create_pr=create_pr,
                commit_message=message,
            )
        except (OSError, library.errors.LocalTokenNotFoundError) as error:
            raise PushError(
                f"The model could not be put into {repository} on the hub {api.endpoint}: {hub.reason(error)}. Log in "
                "with `hf auth login` or set HF_TOKEN, to a token that may write there."
            ) from error
    return str(done.pr_url or done.commit_url)


def write(model: keras.Model, repository: str, about: About, folder):
    """Write what `push_to_hub` uploads into a folder."""
    folder = pathlib.Path(folder)
    model.save(folder / MODEL)
    save_checkpoint(model, folder / WEIGHTS, model=model.name)
    (folder / CONFIG).write_text(json.dumps(_config(model, about), indent=1, ensure_ascii=False), encoding="utf-8")
    picture = None
    if about.picture:
        source = pathlib.Path(about.picture)
        picture = f"picture{source.suffix.lower()}"
        (folder / picture).write_bytes(source.read_bytes())
    (folder / CARD).write_text(card(model, repository, about, picture), encoding="utf-8")


def card(model: keras.Model, repository: str, about: About, picture: str | None = None) -> str:
    """The card of a model on the hub, in Markdown.

    Args:
        model: the model.
        repository: "user/name".
        about: what else is told.
        picture: name of a picture in the repository.
    """
    size = "×".join("any" if side is None else str(side) for side in model.inputs[0].shape[1:])
    classes = f", {model.output_shape[-1]} classes" if _task(model) else ""
    facts = f"{model.count_params():,} parameters; input {size}{classes}."
    parts = [f"# {repository.partition('/')[2]}", about.text, facts]
    parts += [f"![{repository}]({picture})"] * bool(picture)
    if about.scores:
        rows = "\n".join(f"| {_METRICS.get(name, name)} | {value:.4g} |" for name, value in about.scores.items())
        parts.append(f"## Scores\n\nOn {_data(about)}.\n\n| metric | value |\n| --- | ---: |\n{rows}")
    parts.append(f"## Use\n\n```python\n{_USE.format(repository=repository)}```")
    if settings := _settings(about.recipe):
        rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
        parts.append(f"## Training\n\n| setting | value |\n| --- | --- |\n{rows}")
    parts.append(f"Licence: {about.licence or 'not stated'}. Made with keras_mlp.")
    return f"---\n{_header(model, repository, about)}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n"


_USE = """import keras, keras_mlp  # pip install "keras-mlp[hub]"
from huggingface_hub import hf_hub_download

model = keras.models.load_model(hf_hub_download("{repository}", "model.keras"), compile=False)
# The weights alone, into a model that is built: keras_mlp.load_checkpoint(model, "hf://{repository}")
"""


def _header(model, repository, about) -> str:
    """What programs read of the card, as YAML."""
    library = need("huggingface_hub", extra=hub.EXTRA)
    licence = {}
    if about.licence:
        plain = re.fullmatch(r"[A-Za-z0-9.+-]+", about.licence)
        licence = {"license": about.licence.lower()} if plain else {"license": "other", "license_name": about.licence}
    task = _task(model)
    results = [
        library.EvalResult(
            task_type=task or "other",
            dataset_type=re.sub(r"\W+", "-", _data(about)).lower(),
            dataset_name=_data(about),
            metric_type="accuracy" if name.startswith("top") else name,
            metric_name=_METRICS.get(name, name),
            metric_value=float(value),
        )
        for name, value in about.scores.items()
    ]
    data = library.ModelCardData(
        library_name="keras",
        pipeline_tag=task,
        tags=["keras", "keras-mlp", "vision"],
        model_name=repository.partition("/")[2],
        eval_results=results or None,
        **licence,
    )
    return data.to_yaml()


def _data(about):
    return about.training_data or "data that are not named"


def _task(model) -> str | None:
    return _TASKS.get(len(model.output_shape)) if isinstance(model.output_shape, tuple) else None


def _settings(recipe) -> dict:
    settings = dataclasses.asdict(recipe) if isinstance(recipe, Recipe) else dict(recipe or {})
    return {name: str(value).replace("|", "\\|") for name, value in settings.items() if value not in (None, (), [])}


def _config(model, about) -> dict:
    """The config as timm writes it: `keras_mlp.checkpoints.hub` reads it, and so do timm's own tools."""
    config = {"architecture": model.name, "library": "keras_mlp"}
    *_, height, width, channels = model.inputs[0].shape
    published = {"input_size": [channels, height, width]} if height and width else {}
    if preprocessing := about.preprocessing:
        published |= {name: list(getattr(preprocessing, name)) for name in ("mean", "std")}
        published |= {"crop_pct": preprocessing.crop_pct, "interpolation": preprocessing.interpolation}
        published["crop_mode"] = "squash" if preprocessing.squash else "center"
    if _task(model):
        config["num_classes"] = model.output_shape[-1]
    if about.labels:
        config["label_names"] = list(about.labels)
    return config | {"pretrained_cfg": published}


def _checked(model, repository, about) -> About:
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a Keras model. Received: {type(model).__name__}")
    if not isinstance(repository, str) or not _REPOSITORY.fullmatch(repository):
        raise ValueError(f'`repository` must be "user/name". Received: repository={repository!r}')
    allowed = [field.name for field in dataclasses.fields(About)]
    if unknown := [name for name in about if name not in allowed]:
        raise ValueError(f"A card tells {', '.join(allowed)}. Received: {', '.join(unknown)}")
    told = About(**about)
    classes = model.output_shape[-1] if _task(model) else None
    if told.labels is None and classes in known_labels.CLASS_LISTS:
        told = dataclasses.replace(told, labels=[name for _, name in known_labels.class_names(classes)])
    known_labels.check_names(told.labels or [])
    if told.labels is not None and len(told.labels) != classes:
        raise ValueError(f"`labels` must be a name for each of the {classes} classes. Received: {len(told.labels)}")
    for name, value in told.scores.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
            raise ValueError(f"`scores` must be numbers. Received: {name}={value!r}")
    if told.picture is not None:
        path = pathlib.Path(told.picture)
        start = _PICTURES.get(path.suffix.lower())
        if start is None or not path.is_file() or not path.read_bytes().startswith(start):
            raise ValueError(f"`picture` must be a PNG or JPEG file. Received: picture={os.fspath(path)!r}")
    if told.preprocessing is None:
        told = dataclasses.replace(told, preprocessing=_preprocessing_of(model))
    return told


def _preprocessing_of(model) -> Preprocessing | None:
    """What a model with preprocessing inside does to pixels; `None` for one that takes them normalised."""
    for layer in model.layers:
        if isinstance(layer, Rescaling) and names.local(layer.name) == names.PREPROCESSING:
            scale, offset = np.atleast_1d(layer.scale), np.atleast_1d(layer.offset)
            std = 1 / (255 * scale)
            mean = -offset * std
            return Preprocessing(
                mean=tuple(round(float(value), 9) for value in mean), std=tuple(round(float(v), 9) for v in std)
            )
    return None
