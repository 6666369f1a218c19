"""Whether the numbers of a checkpoint can be those of a variable."""

import keras
import numpy as np


def as_array(name: str, value) -> np.ndarray:
    """`value` of a dictionary as an array, bfloat16 as float32.

    Raises:
        ValueError: it is none, or is masked.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name!r} is a masked array, parts of which have no values")
    try:
        array = np.asarray(value)
    except Exception as error:  # tensors of any library
        raise ValueError(f"{name!r} is a {type(value).__name__} that is no array ({error})") from error
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def no_numbers(array: np.ndarray, variable=None) -> str | None:
    """What is wrong with the kind of `array` for a variable, by default of floats, or `None`."""
    dtype = keras.backend.standardize_dtype(variable.dtype) if variable is not None else "float32"
    if "float" not in dtype:  # whole numbers, of a quantised layer or of a count
        return None if array.dtype.name == dtype else f"is of {array.dtype}, not of {dtype}"
    return None if array.dtype.kind == "f" else f"is of {array.dtype}, not of floating-point numbers"


def fit(array: np.ndarray, variable) -> tuple[np.ndarray, str | None]:
    """`array` in the dtype of a variable, and what is wrong with its values, or `None`."""
    if array.dtype.kind != "f":
        return array, None
    dtype = keras.backend.standardize_dtype(variable.dtype)
    with np.errstate(over="ignore"):
        cast = array.astype(dtype, copy=False)
    if np.isfinite(cast.astype(np.float32, copy=False)).all():
        return cast, None
    return array, f"is beyond {dtype}" if np.isfinite(array).all() else "has values that are NaN or infinite"
