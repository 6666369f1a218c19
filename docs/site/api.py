"""The reference: a page for each public module, and what the pages of families say of their builders.

Docstrings are Markdown with Google's sections. They go to MyST as they are, and napoleon makes fields of the sections.
"""

import ast
import importlib
import inspect
import re
import types

import keras_mlp
from keras_mlp import arguments, zoo
from keras_mlp.documentation import documented
from keras_mlp.extras import need
from keras_mlp.family import Family

MODULES = (
    "keras_mlp",
    "keras_mlp.analysis",
    "keras_mlp.binary",
    "keras_mlp.cards",
    "keras_mlp.checkpoints.hub",
    "keras_mlp.classifiers",
    "keras_mlp.export",
    "keras_mlp.layers",
    "keras_mlp.tasks",
    "keras_mlp.training.callbacks",
    "keras_mlp.training.data",
    "keras_mlp.training.distill",
    "keras_mlp.training.distill_tokens",
    "keras_mlp.training.distribution",
    "keras_mlp.training.losses",
    "keras_mlp.training.metrics",
    "keras_mlp.training.moco_v3",
    "keras_mlp.training.objective",
    "keras_mlp.training.probe",
    "keras_mlp.training.quantization",
    "keras_mlp.training.recipes",
    "keras_mlp.training.remat",
    "keras_mlp.training.train",
)
"""What has a page. The builders of `keras_mlp` are on the pages of their families."""

SHARED = "arguments"
"""The page of the arguments that all builders share."""


def pages(missing: list[str]) -> dict[str, str]:
    """The pages of the reference, by their names in the folder `api`.

    Args:
        missing: gets the public names that have no docstring.
    """
    found = {module: _module(importlib.import_module(module), missing) for module in MODULES}
    listed = "\n".join(
        f"- [`{name}`]({name}.md): {inspect.getdoc(importlib.import_module(name)).splitlines()[0]}" for name in MODULES
    )
    toctree = "\n".join(["```{toctree}", ":hidden:", "", SHARED, *MODULES, "```"])
    found["index"] = (
        "# API\n\nThe builders of the models are on the pages of their [families](../families/index.md), and the "
        f"[arguments that they share]({SHARED}.md) have a page of their own.\n\n{listed}\n\n{toctree}\n"
    )
    found[SHARED] = _shared()
    return found


def builders(family: Family) -> str:
    """The builders of a family: the generic one with its own arguments, of each variant what it sets."""
    (_, generic), *variants = family.builders.items()
    own = family.architecture + family.options
    entries = documented(family.trunk)[1] | (documented(family.head)[1] if family.head_options else {})
    text = [documented(family.trunk)[0], f"The [arguments that all builders share](../api/{SHARED}.md) go with it."]
    text.append("\n".join(["Args:", *(entries[parameter.name] for parameter in own)]))
    rest = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
    signature = f"keras_mlp.{generic.__name__}{inspect.Signature([*own, rest])}"
    found = [_described("function", signature, "\n\n".join(text))]
    defaults = {name: parameter.default for name, parameter in generic.__signature__.parameters.items()}
    for name, build in variants:
        changed = [
            f"{parameter.name}={parameter.default!r}"
            for parameter in build.__signature__.parameters.values()
            if parameter.name != "name" and parameter.default != defaults[parameter.name]
        ]
        told = inspect.getdoc(build).partition("\n\n")[0]
        signature = f"keras_mlp.{build.__name__}({', '.join([*changed, '**arguments'])})"
        found.append(_described("function", signature, f'{told} In `create_model` it is "{name}".'))
    return "\n\n".join(found)


def _shared() -> str:
    returns = inspect.getdoc(keras_mlp.MLPMixer).partition("\n\nReturns:")
    text = "\n".join(["Args:", *documented(arguments.shared)[1].values()]) + "".join(returns[1:])
    return "\n\n".join(
        [
            "# Arguments of all builders",
            "Every builder takes the arguments of those of `keras.applications`, and some more. Further ones are on "
            "the page of its [family](../families/index.md).",
            _described("function", f"BUILDER{inspect.Signature(arguments.SHARED)}", text, ":no-index:\n\n"),
        ]
    )


def _module(module, missing) -> str:
    """The page of a module: its docstring, and all its public names."""
    parts = [f"# `{module.__name__}`", markdown(inspect.getdoc(module))]
    for name in _public(module):
        value = getattr(module, name)
        if isinstance(value, types.ModuleType):
            told = f"It has [a page]({value.__name__}.md) of its own." if value.__name__ in MODULES else ""
            parts.append(_described("data", f"{module.__name__}.{name}", told or inspect.getdoc(value)))
        elif inspect.isclass(value):
            parts.append(_class(f"{module.__name__}.{name}", value, missing))
        elif callable(value):
            path = f"{module.__name__}.{name}"
            parts.append(_described("function", f"{path}{_signature(value)}", _doc(value, path, missing)))
        else:
            text = _of_constant(module.__name__, name)
            if not text:
                missing.append(f"{module.__name__}.{name}")
            parts.append(_described("data", f"{module.__name__}.{name}", text or ""))
    return "\n\n".join(parts) + "\n"


def _public(module) -> list[str]:
    """Names that a module offers: those of its `__all__`, else what is defined in it and has no underscore in front."""
    if module is keras_mlp:
        return [name for name in module.__all__ if name not in zoo.BUILDERS]
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    own += _constants(module.__name__)
    return sorted({name for name in own if not name.startswith("_")}, key=str.lower)


def _class(path, value, missing) -> str:
    inside = []
    for name, member in vars(value).items():
        function = getattr(member, "fget", None) or getattr(member, "__func__", None) or getattr(member, "func", None)
        function = function or member
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if not function.__doc__:
            if not any(hasattr(base, name) for base in value.__mro__[1:]):
                missing.append(f"{path}.{name}")
            continue
        if inspect.isfunction(member) or isinstance(member, classmethod | staticmethod):
            kind = {classmethod: "classmethod", staticmethod: "staticmethod"}.get(type(member))
            options = f":{kind}:\n\n" if kind else "\n"
            signature = _signature(getattr(value, name), method=inspect.isfunction(member))
            inside.append(_described("method", f"{name}{signature}", function.__doc__, options))
        else:
            inside.append(_described("property", name, function.__doc__))
    text = _doc(value, path, missing)
    return _described("class", f"{path}{_signature(value)}", text, inside=inside)


def _doc(value, name, missing) -> str:
    text = value.__doc__ or ""
    if not text.strip():
        missing.append(name)
    return text


def _described(kind: str, signature: str, text: str, options: str = "\n", inside=()) -> str:
    """A directive of Sphinx' Python domain.

    Args:
        kind: "function", "class", "method", "property" or "data".
        signature: what it is called, with its arguments.
        text: its docstring.
        options: of the directive.
        inside: directives of the members.
    """
    fence = ":" * (6 if inside else 4)
    body = "\n\n".join([markdown(inspect.cleandoc(text)), *inside])
    return f"{fence}{{py:{kind}}} {signature}\n{options}{body}\n{fence}"


def markdown(docstring: str) -> str:
    """A docstring as MyST reads it: fields for the sections, a fence around an example that has none."""
    napoleon = need("sphinx.ext.napoleon", extra="docs")
    own = ["Returns", "Yields", ("Call arguments", "params_style")]  # napoleon takes what is before a ":" for a type
    settings = napoleon.Config(napoleon_use_ivar=True, napoleon_use_rtype=False, napoleon_custom_sections=own)
    text = re.sub(r"^(Example:)\n(?!\s*```)((?:\n| +.*\n?)+)", _fenced, docstring, flags=re.MULTILINE)
    text = str(napoleon.GoogleDocstring(text, settings))
    text = re.sub(r"^\.\. rubric:: (Returns|Yields)\n\n((?:(?!:|\.\. ).*(?:\n|$))+)", _field, text, flags=re.MULTILINE)
    return re.sub(r"^\.\. rubric:: (.+)$", r"**\1**", text, flags=re.MULTILINE)


def _field(found) -> str:
    return f":{found[1].lower()}: " + found[2].strip().replace("\n", "\n    ") + "\n\n"


def _fenced(found) -> str:
    lines = "\n".join(f"    {line}" if line else "" for line in inspect.cleandoc(found[2]).splitlines())
    return f"{found[1]}\n    ```python\n{lines}\n    ```\n"


def _signature(function, method: bool = False) -> str:
    """The arguments of a function or class, without the first of a method; exceptions tell none."""
    if inspect.isclass(function) and issubclass(function, Exception):
        return ""
    typing = need("sphinx.util.inspect", extra="docs")
    found, returns = typing.signature(function, bound_method=method), not inspect.isclass(function)
    return typing.stringify_signature(found, show_return_annotation=returns, unqualified_typehints=True)


def _constants(module: str) -> dict[str, str]:
    """What is written below the constants of a module, by their names."""
    analyzer = need("sphinx.pycode", extra="docs").ModuleAnalyzer.for_module(module)
    analyzer.analyze()
    return {name: "\n".join(lines) for (scope, name), lines in analyzer.attr_docs.items() if not scope}


def _of_constant(module: str, name: str) -> str | None:
    """What is written below a constant, where it is defined: in a module, or in one that this imports it from."""
    for statement in ast.parse(inspect.getsource(importlib.import_module(module))).body:
        for imported in statement.names if isinstance(statement, ast.ImportFrom) else ():
            if name == (imported.asname or imported.name):
                return _of_constant(statement.module, imported.name)
    return _constants(module).get(name)
