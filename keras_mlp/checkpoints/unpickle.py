"""Pickles read as data: nothing that a pickle names is ever imported or called.

A pickle is a small program that builds objects and calls functions. Python's own machine is not used here:
`interpret` walks the opcodes, knows only those that build plain containers, and looks every name up in a table
of our own stand-ins (`PLAIN`, and what the caller adds). Any other name is refused.
"""

import dataclasses
import pickletools
import re
from collections.abc import Callable

import numpy as np


class Record(dict):
    """Stands in for an object of a harmless class: its attributes and items, in one dictionary."""


@dataclasses.dataclass(frozen=True, eq=False)
class Global:
    """Stands in for a function or class: `make` is what calling it does here, `value` what it is as a value."""

    make: Callable | None = None
    value: object = None


def naturals(values) -> tuple[int, ...]:
    """`values` if it is a tuple of integers of at least 0, else an error."""
    if type(values) is not tuple or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("a shape, stride or size that is not made of natural numbers")
    return values


def _plain(keys):
    # Hashing nested tuples and long numbers can take for ever, and no checkpoint needs it.
    for key in keys:
        if not isinstance(key, (str, int, float, bytes, type(None), np.generic)) or (
            isinstance(key, int) and key.bit_length() > 64
        ):
            raise ValueError("a dictionary or set whose keys are not plain values")
    return keys


def _set(items=()):
    return set(_plain(items))


def _set_items(target, flat):
    if not isinstance(target, dict) or len(flat) % 2:
        raise ValueError("items that belong to no dictionary")
    target.update(zip(_plain(flat[::2]), flat[1::2], strict=True))
    return target


def _mapping(items=()):
    pairs = list(items.items()) if isinstance(items, dict) else items
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        raise ValueError("a dictionary that is not made of pairs")
    return _set_items({}, [part for pair in pairs for part in pair])


def _numpy_dtype(code, *_):
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[?biufc]\d{0,2}", code):
        raise ValueError(f"a NumPy array of dtype {code!r:.40}" if isinstance(code, str) else "a malformed NumPy dtype")
    return np.dtype(code)


def _numpy_array(data, dtype, shape, order):
    if not isinstance(dtype, np.dtype):
        raise ValueError("a malformed NumPy value")
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2 had no bytes
    return np.frombuffer(data, dtype).reshape(naturals(shape), order=order)


def _record(*_):
    return Record()


# Every name that may occur, and what stands in for it.
PLAIN = {
    "collections.OrderedDict": Global(_mapping),
    "collections.Counter": Global(_mapping),
    "collections.defaultdict": Global(lambda factory=None, items=(): _mapping(items)),
    "numpy.dtype": Global(_numpy_dtype),
    "numpy.ndarray": Global(),
    "_codecs.encode": Global(lambda text, encoding="latin1": text.encode("latin1")),  # bytes, in protocol 2
}
for _module in ("builtins", "__builtin__"):
    PLAIN |= {f"{_module}.{name}": Global(_set) for name in ("set", "frozenset")}
    for _name in ("dict", "list", "tuple", "int", "long", "float", "bool", "str", "unicode", "bytes"):
        PLAIN[f"{_module}.{_name}"] = Global()  # as defaultdict's factory
for _module in ("numpy.core", "numpy._core"):
    PLAIN[f"{_module}.multiarray.scalar"] = Global(lambda dtype, data: _numpy_array(data, dtype, (), "C")[()])
    PLAIN[f"{_module}.multiarray._reconstruct"] = Global(_record)  # BUILD makes it an array
    PLAIN[f"{_module}.numeric._frombuffer"] = Global(_numpy_array)
# The configurations and command lines that training checkpoints keep beside their tensors.
for _name in (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "yacs.config.CfgNode",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
):
    PLAIN[_name] = Global(_record)


def _call(function, arguments):
    if not isinstance(function, Global) or function.make is None or type(arguments) is not tuple:
        raise ValueError("a call of something that is no function of a checkpoint")
    return function.make(*arguments)


def _build(target, state):
    """`target` with its state, for which only records and NumPy's values have a use."""
    if isinstance(target, np.dtype) and type(state) is tuple:
        return target.newbyteorder(state[1])
    if isinstance(target, Record) and type(state) is tuple:
        _, shape, dtype, fortran, data = state
        return _numpy_array(data, dtype, shape, "F" if fortran else "C")
    if isinstance(target, Record) and isinstance(state, dict):
        return _set_items(target, [part for item in state.items() for part in item])
    if isinstance(state, dict):
        return target  # attributes, such as a state dict's `_metadata`
    raise ValueError(f"a {type(target).__name__} with a state")


# What is given to functions and to BUILD may have so many parts in all, beside so many for each byte of the pickle,
# which could give one long value to them again and again.
_PARTS, _PARTS_A_BYTE = 100_000, 4


def _size(arguments):
    """How many parts a function has to look at that is given `arguments`."""
    arguments = arguments if isinstance(arguments, tuple) else (arguments,)
    return sum(len(a) if hasattr(a, "__len__") else 1 for a in arguments)


_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_FLAGS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def interpret(stream, names: dict[str, Global], persistent: Callable):
    """Build what one pickle describes, from stand-ins alone.

    Args:
        stream: binary file at the pickle's first byte; it is left behind the pickle's last.
        names: every name that the pickle may hold, as "module.name", and its stand-in.
        persistent: function of a persistent identifier that returns what it stands for.

    Returns:
        A tree of dictionaries, lists, tuples, sets, plain values, NumPy values and what `names` and
        `persistent` make.

    Raises:
        ValueError: a name or an opcode that is not known. A damaged pickle raises any of the errors of
            the operations that it makes impossible (`IndexError`, `TypeError`, …).
    """
    stack, marks, memo, keys = [], [], {}, {}
    parts = 0

    def pop(count):
        if len(stack) < count:
            raise IndexError("the stack is empty")
        items = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return items

    def pop_mark():
        return pop(len(stack) - marks.pop())

    def memoise(key):
        memo[key] = stack[-1]
        keys[id(stack[-1])] = key

    def known(module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        if f"{module}.{name}" not in names:
            raise ValueError(
                f"it names `{module:.100}.{name:.100}`, which is neither a tensor nor a plain container, and is "
                "refused (nothing was executed). If you trust the file, open it with PyTorch and save the model's "
                "`state_dict()` alone"
            )
        return names[f"{module}.{name}"]

    def limited(arguments, position):
        nonlocal parts
        parts += _size(arguments)
        if parts > _PARTS + _PARTS_A_BYTE * position:
            raise ValueError("a pickle that would take for ever, as none of a checkpoint does")
        return arguments

    for opcode, value, position in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                (result,) = stack
                return result
            case name if name in _CONSTANTS:
                stack.append(value)
            case name if name in _EMPTY:
                stack.append(_EMPTY[name]())
            case name if name in _FLAGS:
                stack.append(_FLAGS[name])
            case "MARK":
                marks.append(len(stack))
            case "POP":
                pop(1)
            case "TUPLE" | "LIST":
                stack.append((tuple if opcode.name == "TUPLE" else list)(pop_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(pop(int(opcode.name[-1]))))
            case "DICT":
                stack.append(_set_items({}, pop_mark()))
            case "FROZENSET":
                stack.append(_set(pop_mark()))
            case "SETITEM" | "SETITEMS":
                items = pop(2) if opcode.name == "SETITEM" else pop_mark()
                _set_items(stack[-1], items)
            case "APPEND" | "APPENDS":
                items = pop(1) if opcode.name == "APPEND" else pop_mark()
                list.extend(stack[-1], items)
            case "ADDITEMS":
                items = _plain(pop_mark())
                set.update(stack[-1], items)
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memoise(value)
            case "MEMOIZE":
                memoise(len(memo))
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[value])
            case "GLOBAL":
                stack.append(known(*value.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(known(*pop(2)))
            case "REDUCE" | "NEWOBJ":
                function, arguments = pop(2)
                stack.append(_call(function, limited(arguments, position)))
            case "BUILD":
                target, state = pop(2)
                stack.append(_build(target, limited(state, position)))
                key = keys.get(id(target))
                if stack[-1] is not target and memo.get(key) is target:  # a NumPy value is memoised before it is built
                    memoise(key)
            case "BINPERSID":
                (identifier,) = pop(1)
                stack.append(persistent(limited(identifier, position)))
            case name:
                raise ValueError(f"the pickle opcode {name}, which no checkpoint needs")
    raise EOFError("the pickle has no end")
