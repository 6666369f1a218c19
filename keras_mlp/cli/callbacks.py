"""Keras callbacks by name, such as those of experiment trackers."""

import importlib
import os
import re
import sys

from keras_mlp.cli import console
from keras_mlp.cli.recipes import pairs

HELP = (
    'A Keras callback to train with, as "mlflow.keras:MlflowCallback" or "wandb.integration.keras:WandbMetricsLogger('
    'log_freq=10)": a class, or a function that returns one, of a module that is installed or in this folder. May be '
    "given several times. Of several processes the first one has them."
)
_WORD = re.compile(r"([\w.]+):([\w.]+)(?:\((.*)\))?")


def makers(words: list[str]) -> list:
    """What makes the callbacks that --callback names: functions without arguments.

    Modules are imported here, so that a mistake shows before anything slow.

    Args:
        words: `MODULE:CLASS` or `MODULE:CLASS(name=value,…)`.

    Raises:
        console.UsageError: a word has another form, or there is no such module or name in it.
    """
    return [_maker(word) for word in words]


def _maker(word):
    if not (found := _WORD.fullmatch(word)):
        raise console.UsageError(
            f"--callback is MODULE:CLASS or MODULE:CLASS(name=value,...), such as keras.callbacks:TerminateOnNaN. "
            f"Received: {word}"
        )
    module, path, arguments = found.groups()
    thing = _imported(module, word)
    for name in path.split("."):
        if not hasattr(thing, name):
            raise console.UsageError(f"--callback={word}: {module} has no {path}")
        thing = getattr(thing, name)
    options = pairs("callback", arguments or "")

    def make():
        import keras

        callback = thing(**options)
        if not isinstance(callback, keras.callbacks.Callback):
            raise console.UsageError(f"--callback={word} makes a {type(callback).__name__}, and no Keras callback")
        return callback

    return make


def _imported(module, word):
    sys.path.append(os.getcwd())  # as `python -m` looks there, and last, so that nothing there hides a package
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise console.UsageError(
            f"--callback={word}: there is no module {error.name!r}; install it, or start in the folder that holds it"
        ) from error
    finally:
        sys.path.remove(os.getcwd())
