"""Checkpoints on the Hugging Face Hub, by the address `hf://owner/name@revision/file`.

`huggingface_hub` fetches them: its cache (`HF_HOME`), its tokens (`HF_TOKEN`), its mirrors (`HF_ENDPOINT`) and its
offline mode (`HF_HUB_OFFLINE`) hold here, too.
"""

import dataclasses
import json
import pathlib
import re
import urllib.parse
import warnings

from keras_mlp.cards import Preprocessing
from keras_mlp.checkpoints.download import DownloadError
from keras_mlp.checkpoints.untrusted import one_line, refusing, some
from keras_mlp.extras import need
from keras_mlp.labels import check_names

SCHEME = "hf://"
EXTRA = "hub"
FILES = ("model.safetensors", "pytorch_model.bin")
"""Where repositories keep their weights, in the order of preference. No pickle is executed in the second."""
CONFIG = "config.json"
_LONGEST = 16 << 20  # bytes of a config
_ADDRESS = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>refs/(pr|convert)/[^/@]+|[^/@]+))?(/(?P<file>[^@]+))?"
)
_INTERPOLATIONS = ("bicubic", "bilinear")


@dataclasses.dataclass(frozen=True)
class Address:
    """A place on the hub.

    Args:
        repository: "owner/name".
        revision: branch, tag or commit; `None` for the main branch.
        file: path of a file in the repository; `None` for the one that is there of `FILES`.
    """

    repository: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def of(cls, text: str) -> "Address":
        """Take `hf://owner/name@revision/file` apart; a "/" in a revision is written %2F, but in refs/pr/3.

        Raises:
            ValueError: it is no such address.
        """
        match = _ADDRESS.fullmatch(text)
        if not match:
            raise ValueError(
                f"An address on the hub is hf://owner/name, hf://owner/name@revision or hf://owner/name@revision/file. "
                f"Received: {text!r}"
            )
        revision = match["revision"] and urllib.parse.unquote(match["revision"])
        return cls(match["repository"], revision, match["file"])


@dataclasses.dataclass(frozen=True)
class HubCheckpoint:
    """A checkpoint of the hub on this machine, and what its `config.json` tells.

    Args:
        address: as it was given, "hf://…".
        path: of the file with the weights.
        classes: number of outputs of its head, or `None` where that is not told.
        labels: `(identifier, name)` of each class, in the order of the outputs, or `None`.
        preprocessing: how its input is normalised, and resized for evaluation, or `None`.
        input_size: height and width that it was trained at, in pixels, or `None`.
        architecture: what its publisher calls the model, such as timm's "mixer_b16_224", or "".
    """

    address: str
    path: pathlib.Path
    classes: int | None = None
    labels: tuple[tuple[str, str], ...] | None = None
    preprocessing: Preprocessing | None = None
    input_size: tuple[int, int] | None = None
    architecture: str = ""


def is_address(source) -> bool:
    """Whether `source` means a place on the hub."""
    return isinstance(source, str) and source.startswith(SCHEME)


def find(source) -> HubCheckpoint | None:
    """The checkpoint that `source` means, if it is an address on the hub or was fetched from there; else `None`."""
    if isinstance(source, HubCheckpoint):
        return source
    return fetch(source) if is_address(source) else None


def fetch(address: str) -> HubCheckpoint:
    """Have a checkpoint of the hub on this machine: what is in the hub's cache is not downloaded again.

    Args:
        address: "hf://owner/name", with "@revision" (branch, tag or commit) and "/file" where they are not the main
            branch and `model.safetensors`. Without a file, `pytorch_model.bin` is taken where that is missing.

    Raises:
        ImportError: the package of the extra "hub" is not installed.
        DownloadError: (an `OSError` and a `ValueError`) there is no such repository, revision or file, it is not open
            to the user, or it is not in the cache and the hub cannot be reached.
        ValueError: the address is none, or `config.json` is damaged.
    """
    place = Address.of(address)
    found = {}
    for name in (place.file,) if place.file else FILES:
        if path := _download(address, place, name):
            found = {"path": path}
            break
    if not found:
        raise DownloadError(_nothing(address, place))
    folder = (place.file or "").rpartition("/")[0]
    config = _download(address, place, f"{folder}/{CONFIG}".lstrip("/"))
    return HubCheckpoint(address, **found, **(_told(config) if config else {}))


def _download(address, place, name) -> pathlib.Path | None:
    """Path of a file of the hub in the hub's cache; `None` where the repository has none of that name."""
    library = need("huggingface_hub", extra=EXTRA)
    errors = need("huggingface_hub.errors", extra=EXTRA)
    try:
        return pathlib.Path(library.hf_hub_download(place.repository, name, revision=place.revision))
    except errors.LocalEntryNotFoundError as error:  # not in the cache, and why it is not fetched
        if _is_known_to_lack(place, name):
            return None
        raise DownloadError(
            f"{address} cannot be fetched: {name} is not in the hub's cache, and the hub {_endpoint()} cannot be "
            f"reached or HF_HUB_OFFLINE is set ({reason(error)}). Fetch it on a machine that can, and let HF_HOME "
            "name the folder of its cache, or let HF_ENDPOINT name a mirror of the hub."
        ) from error
    except errors.EntryNotFoundError:
        return None
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{address} cannot be fetched: its owner grants access. Ask for it at {_endpoint()}/{place.repository}, "
            "then log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(
            f"{address} cannot be fetched: {place.repository} has no branch, tag or commit {place.revision!r}."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"{address} cannot be fetched: there is no repository {place.repository} on the hub {_endpoint()}, or it "
            "is private. See that the name is right; for a private one log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except (errors.HFValidationError, OSError) as error:
        raise DownloadError(f"{address} cannot be fetched from the hub {_endpoint()}: {reason(error)}.") from error


def _is_known_to_lack(place, name) -> bool:
    """Whether the hub said, when it was asked last, that the repository has no such file."""
    library = need("huggingface_hub", extra=EXTRA)
    found = library.try_to_load_from_cache(place.repository, name, revision=place.revision)
    return found is not None and not isinstance(found, str)


def _nothing(address, place) -> str:
    library = need("huggingface_hub", extra=EXTRA)
    try:
        names = library.HfApi().list_repo_files(place.repository, revision=place.revision)
        holds = f" It holds {some(sorted(names), 20) or 'nothing'}."
    except Exception:  # of any kind, or no hub in reach: it is an addition to an error
        holds = ""
    wanted = place.file or " or ".join(FILES)
    return (
        f"{address} cannot be fetched: {place.repository} has no {wanted}.{holds} Name a file as hf://owner/name/file."
    )


def _endpoint() -> str:
    return need("huggingface_hub.constants", extra=EXTRA).ENDPOINT


def reason(error) -> str:
    """What an error says, as a part of a sentence."""
    return one_line(error).rstrip(".")


def _told(path) -> dict:
    """What a config as timm writes it tells, as arguments of a `HubCheckpoint`."""
    with refusing(path):
        if path.stat().st_size > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST} bytes")
        config = json.loads(path.read_text(encoding="utf-8"))
        published = config.get("pretrained_cfg", config) if isinstance(config, dict) else None
        if not isinstance(published, dict):
            raise ValueError("it is no JSON object, or its pretrained_cfg is none")
        told = {"architecture": str(config.get("architecture", ""))}
        if classes := config.get("num_classes", published.get("num_classes")):
            told["classes"] = _whole(classes, "num_classes")
        if "mean" in published and "std" in published:
            told["preprocessing"] = _preprocessing(published)
        if size := published.get("input_size"):
            told["input_size"] = tuple(_whole(side, "input_size") for side in size[-2:])
        if names := config.get("label_names", published.get("label_names")):
            descriptions = config.get("label_descriptions", published.get("label_descriptions")) or {}
            told["labels"] = _labels(names, descriptions, told.get("classes"))
        return told


def _whole(value, what) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"its {what} must be whole numbers above 0. Received: {one_line(repr(value))}")
    return value


def _preprocessing(published) -> Preprocessing:
    values = {name: tuple(map(float, published[name])) for name in ("mean", "std")}
    if len(values["mean"]) != len(values["std"]) or not all(std > 0 for std in values["std"]):
        raise ValueError("its mean and std must be numbers for each channel, those of std above 0")
    crop, interpolation = float(published.get("crop_pct") or 0.875), published.get("interpolation") or "bicubic"
    if not 0 < crop <= 1:
        raise ValueError(f"its crop_pct must be above 0 and at most 1. Received: {crop}")
    mode = published.get("crop_mode") or "center"
    if interpolation not in _INTERPOLATIONS or mode not in ("center", "squash"):
        warnings.warn(
            f"The checkpoint's images are resized by interpolation {one_line(interpolation)!r} and crop "
            f"{one_line(mode)!r}; here they are by 'bicubic' and 'center', where 'bilinear' and 'squash' are known.",
            stacklevel=2,
        )
        interpolation = interpolation if interpolation in _INTERPOLATIONS else "bicubic"
    return Preprocessing(**values, crop_pct=crop, interpolation=interpolation, squash=mode == "squash")


def _labels(names, descriptions, classes) -> tuple[tuple[str, str], ...]:
    if isinstance(names, dict):  # by the number of the output, which may have gaps
        most = max(map(int, names)) + 1
        if most > (classes or most) or most > 100 * len(names):
            raise ValueError(f"its label_names has a class {most - 1}, of {classes or len(names)}")
        numbered = {int(number): name for number, name in names.items()}
        names = [numbered.get(i, str(i)) for i in range(classes or most)]
    if not isinstance(names, list) or len(names) != (classes or len(names)) or not isinstance(descriptions, dict):
        raise ValueError(f"its label_names must be a name for each of its {classes} classes")
    check_names(names)
    texts = [one_line(descriptions.get(name, name)) for name in names]
    return tuple(zip(names, texts, strict=True))
