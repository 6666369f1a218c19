"""What an export raises, and what it makes of what libraries raise."""

import contextlib

from keras_mlp.export.quiet import quiet

TFLITE = "TFLite's converter refused the model"


class ExportError(RuntimeError):
    """The model could not be converted, or its file does not compute like it. No file was written."""


@contextlib.contextmanager
def calls_of_a_library(refusal: str, raised: type[Exception] = Exception):
    """Silence around calls of a library, and of nothing else: what they raise becomes an `ExportError`.

    Our own code stands outside, so that a mistake in it is not taken for a refusal.

    Args:
        refusal: what it means that a call failed, e.g. `TFLITE`.
        raised: what the library may raise; converters raise whatever their passes do.

    Raises:
        ExportError: a call failed. It ends with what the library wrote to the terminal.
    """
    with quiet() as written:
        try:
            yield
        except raised as error:
            raise ExportError(f"{refusal}: {error}\n{written()[-2000:]}") from error
