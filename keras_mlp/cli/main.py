"""The `keras-mlp` command: finds the subcommand, reads its flags, runs it, and tells mistakes in one line."""

import difflib
import importlib
import inspect
import math
import os
import signal
import sys
import traceback

from absl import flags as absl_flags

from keras_mlp.cli import console

COMMANDS = (
    "list",
    "info",
    "predict",
    "segment",
    "detect",
    "train",
    "pretrain",
    "evaluate",
    "export",
    "analyze",
    "benchmark",
    "convert",
    "push",
    "demo",
)
PROGRAM = "keras-mlp"


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: words after `keras-mlp`; by default those of this process, whose error stream is then kept free of what
            TensorFlow writes to it.

    Returns:
        The exit code: 0; 1 where something failed; 2 for a mistake in the command line; 130 after Ctrl-C; 141 where
        the reader of the output went away.
    """
    own_process = argv is None
    argv = sys.argv[1:] if own_process else argv
    verbose = "--verbose" in _split(argv)[0]
    if own_process:
        console.prepare_streams()
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "2")
        # TensorFlow leaves oneDNN off on processors without VNNI, where batches and training are faster with it, too.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        if not verbose:
            console.silence_libraries()
    code, ended_by = _outcome(argv, verbose)
    console.flush()
    if own_process and ended_by:
        os._exit(code)
    return code


def _outcome(argv, verbose) -> tuple[int, BaseException | None]:
    """The exit code, its error told, and the error where it has to end the process without taking Python down.

    That error holds what it interrupted, so that nothing is taken down before: TensorFlow's threads may crash then.
    """
    try:
        code = _run(argv) or 0
        sys.stdout.flush()
        return code, None
    except BrokenPipeError:
        return 128 + signal.SIGPIPE, None
    except KeyboardInterrupt as error:  # training tells what it saved, and which signal came
        console.error(str(error) or "interrupted")
        return 128 + getattr(error, "signal", signal.SIGINT), error
    except Exception as error:
        if verbose:
            traceback.print_exc()
        console.error(_message(error))
        return 2 if isinstance(error, console.UsageError) else 1, error if getattr(error, "at_once", False) else None


def _run(argv) -> int | None:
    if not argv or argv[0] in ("help", "--help", "-h", "-help"):
        print(_help_on(_command(argv[1])) if argv[1:] else _overview())
        return None
    if argv[0] == "--version":
        print(f"{PROGRAM} {_version()}")
        return None
    name, *words = argv
    if name.startswith("-"):
        raise console.UsageError(f"the command comes first, then its flags. Received: {name}. See: {PROGRAM} --help")
    command = _command(name)
    words, verbatim = _split(words)
    if any(word in ("--help", "-h", "-help") for word in words):
        print(_help_on(command))
        return None
    flags = _flags_of(command)
    try:
        _, *arguments = flags([PROGRAM, *map(_with_underscores, words), *verbatim])
    except absl_flags.Error as error:
        raise console.UsageError(f"{_tidy(error)}. See: {PROGRAM} {name} --help") from error
    for flag in flags:
        value = flags[flag].value = _expanded(flags[flag].value)  # a shell expands no ~ behind "="
        if isinstance(value, float) and math.isnan(value):  # which is within any bounds
            raise console.UsageError(f"--{flag} must be a number. Received: nan. See: {PROGRAM} {name} --help")
    if getattr(command, "KERAS", True):
        _import_package()
    try:
        return command.run(flags, _expanded(arguments))
    except console.UsageError as error:
        raise console.UsageError(f"{error}. See: {PROGRAM} {name} --help") from error


def _command(name):
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=2)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(COMMANDS)}."
        raise console.UsageError(f"there is no command {name!r}. {hint}")
    return importlib.import_module(f"keras_mlp.cli.commands.{name}")


def _flags_of(command) -> absl_flags.FlagValues:
    flags = absl_flags.FlagValues()
    flags.set_gnu_getopt(True)
    command.define_flags(flags)
    absl_flags.DEFINE_bool(
        "verbose", False, "Show what libraries write, and the traceback of an error.", flag_values=flags
    )
    return flags


def _expanded(value):
    """A flag's value, or a list of values, with "~/" at the beginning replaced by the home folder."""
    if isinstance(value, list):
        return [_expanded(word) for word in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value


def _split(words) -> tuple[list[str], list[str]]:
    """The words before "--", where flags are, and the words from "--" on, which are taken as they are."""
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end:]


def _with_underscores(word):
    """`--check-data` is `--check_data`."""
    name, equals, value = word.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if word.startswith("--") else word


def _import_package():
    """Run the package's own `__init__`, where `keras_mlp_command` left it for later."""
    console.quieten_loggers()  # before, for some speak as they are imported
    package = sys.modules["keras_mlp"]
    if not hasattr(package, "create_model"):
        package.__spec__.loader.exec_module(package)
    console.quieten_loggers()


def _version() -> str:
    from importlib import metadata

    return metadata.version("keras-mlp")


def _overview() -> str:
    rows = [(name, _documentation(_command(name))[0].rstrip(".")) for name in COMMANDS]
    usage = f"Usage: {PROGRAM} COMMAND [ARGUMENTS] [--FLAGS]"
    more = f"{PROGRAM} COMMAND --help tells more of one; {PROGRAM} --version, which version this is."
    return "\n\n".join(["Vision MLPs for Keras.", usage, "Commands:\n" + console.table(rows, indent="  "), more])


def _help_on(command) -> str:
    name = command.__name__.rpartition(".")[2]
    summary, details = _documentation(command)
    flags = _flags_of(command)
    rows = [_describe(flags[flag]) for flag in flags]
    usage = " ".join(filter(None, [PROGRAM, name, command.ARGUMENTS, "[--FLAGS]"]))
    parts = [summary, f"Usage: {usage}", details, "Flags:\n" + console.table(rows, indent="  ")]
    return "\n\n".join(filter(None, parts))


def _documentation(command) -> tuple[str, str]:
    """The first line of a subcommand's docstring, and the rest."""
    summary, _, details = inspect.getdoc(command).partition("\n")
    return summary, console.paragraphs(details)


def _describe(flag) -> tuple[str, str]:
    """A flag, and what it does with its choices and default."""
    values = getattr(flag.parser, "enum_values", None)
    text = flag.help.removeprefix(f"<{'|'.join(values)}>: ") if values else flag.help
    notes = [f"one of {', '.join(values)}"] if values else []
    default = (flag.default_as_str or "").strip("'")
    notes += [f"default {default}"] if default not in ("", "false") else []
    return f"--{'[no]' if flag.default is True else ''}{flag.name}", text + (f" ({'; '.join(notes)})" if notes else "")


def _tidy(error) -> str:
    """absl's message in this command's words."""
    text = str(error).rstrip(" ?").replace("Unknown command line flag '", "there is no flag '--", 1)
    return text.replace(". Did you mean: ", "; did you mean --", 1)


def _message(error) -> str:
    text = " ".join(str(error).split())
    expected = isinstance(error, console.UsageError | ValueError | OSError | ImportError | RuntimeError)
    return text if text and expected else f"{type(error).__name__}: {text} (--verbose shows where)"
