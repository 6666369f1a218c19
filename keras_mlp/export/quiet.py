"""Silence for libraries that write to the terminal from C++."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings


@contextlib.contextmanager
def quiet():
    """Keep what is written to the standard error stream meanwhile, by Python or by C++, off the terminal.

    Yields:
        A function that returns what was written so far, for the message of an error.
    """
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    with tempfile.TemporaryFile() as kept:
        _flush()
        try:
            terminal = os.dup(2)
        except OSError:  # it is closed
            terminal = None

        def written():
            kept.seek(0)
            return kept.read().decode(errors="replace").strip()

        try:
            os.dup2(kept.fileno(), 2)
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield written
        finally:
            _flush()
            if terminal is None:
                os.close(2)
            else:
                os.dup2(terminal, 2)
                os.close(terminal)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _flush():
    if sys.stderr is not None:  # as it is where the error stream is closed
        sys.stderr.flush()
