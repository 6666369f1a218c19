"""Run and time .tflite files with the LiteRT interpreter."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from keras_mlp.checkpoints.untrusted import one_line
from keras_mlp.export.metadata import named_outputs
from keras_mlp.export.quiet import quiet
from keras_mlp.extras import need

PORTION = 32  # images in a call, where the file takes any number: more would only take more memory


class Runner:
    """A .tflite file, loaded and callable on NumPy batches.

    Args:
        path: the file; it has one input.
        threads: threads the interpreter computes with.

    Attributes:
        input_shape: shape the file takes, batch included, e.g. `(1, 224, 224, 3)`; `None` for a batch of any number.
        input_dtype: NumPy dtype the file takes: float32; uint8 for whole pixel values; int8 where it is quantised.
        output_shape: shape that it gives, batch included, `None` for a side of any length; `{name: shape}` where the
            outputs have names.
        output_names: names of its outputs, where it gives a dictionary of them; else `None`.
        output_step: how far apart neighbouring values are that a quantised output can take; 0 for one in float. `{name:
            step}` where the outputs have names.

    Raises:
        ValueError: there is no such file, it is not a TFLite file, it needs operators the interpreter lacks, or
            `threads` is less than one.
        ImportError: LiteRT is not installed.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        litert = need("ai_edge_litert.interpreter", extra="export")
        checked_threads(threads)
        path = os.path.expanduser(path)
        if not os.path.isfile(path):
            raise ValueError(f"There is no file {path}. Make one with `keras_mlp.export.to_tflite`.")
        try:
            with quiet():
                self._interpreter = litert.Interpreter(model_path=os.fspath(path), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"LiteRT cannot run {path}: {one_line(error)}") from error
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1:
            raise ValueError(f"Only one input is handled; {path} has {len(inputs)}.")
        (self._input,) = inputs
        self._outputs = _outputs(self._interpreter)
        alone = len(self._outputs) == 1 and named_outputs(path) != [*self._outputs]
        self.output_names = None if alone else tuple(self._outputs)
        self.input_shape = _shape(self._input)
        self.output_shape = self._given({name: _shape(output) for name, output in self._outputs.items()})
        self.input_dtype = np.dtype(self._input["dtype"])
        self.output_step = self._given({name: float(o["quantization"][0]) for name, o in self._outputs.items()})

    def __call__(self, images) -> np.ndarray | dict[str, np.ndarray]:
        """Compute a batch of any length, in portions of the file's own batch; of up to 32 where it takes any.

        Args:
            images: array `(n, ...)`, in the units the Keras model takes. Where the file's input is uint8 they must be
                whole numbers in 0–255; where it is int8 they are quantised here.

        Returns:
            Array `(n, ...)`: float32, the numbers of a quantised output scaled back; integers where the output is such,
            as a label map. A file with several outputs, or one that was exported from a dictionary of outputs, gives
            `{name: array}`.

        Raises:
            ValueError: `images` has another shape, no rows, or values that the input cannot hold.
        """
        images = np.asarray(images)
        if images.shape[1:] != self.input_shape[1:] or not len(images):
            raise ValueError(
                f"`images` must have the shape (n, {', '.join(map(str, self.input_shape[1:]))}) with n > 0. "
                f"Received: shape={images.shape}"
            )
        images = self._encode(images)
        size = self.input_shape[0] or min(len(images), PORTION)
        self._take(size)
        outputs = {name: [] for name in self._outputs}
        for start in range(0, len(images), size):
            portion = images[start : start + size]
            padding = [(0, size - len(portion))] + [(0, 0)] * (images.ndim - 1)
            self._interpreter.set_tensor(self._input["index"], np.pad(portion, padding))
            self._interpreter.invoke()
            for name, output in self._outputs.items():
                outputs[name].append(self._interpreter.get_tensor(output["index"])[: len(portion)])
        return self._given({name: self._decode(name, np.concatenate(parts)) for name, parts in outputs.items()})

    def _take(self, size):
        """Make ready for batches of a size."""
        if size != self._input["shape"][0]:
            self._interpreter.resize_tensor_input(self._input["index"], (size, *self.input_shape[1:]))
            self._interpreter.allocate_tensors()
            (self._input,) = self._interpreter.get_input_details()

    def _encode(self, images):
        scale, zero = self._input["quantization"]
        if scale:
            limits = np.iinfo(self.input_dtype)
            return np.clip(np.rint(images / scale) + zero, limits.min, limits.max).astype(self.input_dtype)
        encoded = images.astype(self.input_dtype)
        if np.issubdtype(self.input_dtype, np.integer) and not np.array_equal(encoded, images):
            raise ValueError(
                "This file takes pixels as bytes: `images` must be whole numbers in 0–255. "
                f"Received: dtype={images.dtype}, values from {images.min()} to {images.max()}"
            )
        return encoded

    def _given(self, values: dict):
        """Values by output as they are handed out: without the name where there is none."""
        return next(iter(values.values())) if self.output_names is None else values

    def _decode(self, name, outputs):
        scale, zero = self._outputs[name]["quantization"]
        if np.issubdtype(outputs.dtype, np.integer) and not scale:
            return outputs
        outputs = outputs.astype("float32")
        return (outputs - np.float32(zero)) * np.float32(scale) if scale else outputs


def checked_threads(threads: int):
    """Raise a `ValueError` for a number of threads that is none."""
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"`threads` must be a positive integer. Received: threads={threads!r}")


def _shape(details) -> tuple[int | None, ...]:
    """Shape of an input or output; `None` for a side of any length."""
    return tuple(None if side < 0 else int(side) for side in details["shape_signature"])


def _outputs(interpreter) -> dict[str, dict]:
    """Details of each output by its name in the file's signature; by the tensor's own where it has none, or several."""
    details = interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        (key,) = signatures
        named = interpreter.get_signature_runner(key).get_output_details()
        if {detail["index"] for detail in named.values()} == {detail["index"] for detail in details}:
            return dict(named)
    return {detail["name"]: detail for detail in details}


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long one call of a .tflite file takes.

    Args:
        threads: threads it ran with.
        median_ms: median of the calls, milliseconds of wall-clock time.
        p90_ms: 90th percentile of the calls, milliseconds.
        batch_size: images in a call.
        runs: calls that were timed.
        size_bytes: length of the file.
        peak_bytes: memory that a process of its own takes at most to load the file and call it, beyond what it has
            with LiteRT and no file. XNNPACK keeps a copy of the weights in an order of its own.
    """

    threads: int
    median_ms: float
    p90_ms: float
    batch_size: int
    runs: int
    size_bytes: int
    peak_bytes: int


def time_tflite(path: str | os.PathLike, threads: tuple[int, ...] = (1, 2), runs: int = 50) -> list[Timing]:
    """Time a .tflite file on this machine.

    The thread counts take turns, so that a machine whose speed drifts does not favour one; each is warmed up first.

    Args:
        path: the file.
        threads: thread counts to try.
        runs: calls to time for each.

    Returns:
        One `Timing` for each thread count, in the order given.

    Raises:
        ValueError: as `Runner`, or no `threads`, or `runs` less than one.
    """
    _check_runs(runs)
    if not threads:
        raise ValueError(f"`threads` must name at least one thread count. Received: threads={threads!r}")
    runners = [Runner(path, count) for count in threads]
    batch, *shape = runners[0].input_shape
    image = np.random.default_rng(0).integers(0, 256, (batch or 1, *shape))
    seconds = [[] for _ in runners]
    for runner in runners:
        runner(image)
    for _ in range(runs):
        for runner, times in zip(runners, seconds, strict=True):
            runner._interpreter.invoke()  # what the caches lost while the others ran
            start = time.perf_counter()
            runner._interpreter.invoke()
            times.append(time.perf_counter() - start)
    return [
        Timing(
            threads=count,
            median_ms=1e3 * float(np.median(times)),
            p90_ms=1e3 * float(np.percentile(times, 90)),
            batch_size=len(image),
            runs=runs,
            size_bytes=os.path.getsize(path),
            peak_bytes=_in_own_process("peak_memory", path, count, 2),
        )
        for count, times in zip(threads, seconds, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """What the operators of one kind take of a call of a .tflite file.

    Args:
        operator: their name, for XNNPACK's what kernel it chose, e.g. "Fully Connected (NC, F32) GEMM".
        kernels: whose they are: "XNNPACK", which takes over what it can and merges some, or "LiteRT", the rest.
        count: how many run in a call.
        share: of the time that all operators take, in [0, 1].
        ms: milliseconds in a call, mean of the calls.
    """

    operator: str
    kernels: str
    count: int
    share: float
    ms: float


def profile_tflite(path: str | os.PathLike, threads: int = 1, runs: int = 50) -> list[OperatorTime]:
    """Tell what the operators of a .tflite file take of its time on this machine, as LiteRT's own profiler measures it.

    The profiler counts whole microseconds of each operator: those of a very small model round to nothing.

    Args:
        path: the file; it has one input.
        threads: threads it computes with.
        runs: calls to measure.

    Returns:
        One `OperatorTime` for each kind, the longest first.

    Raises:
        ValueError: as `Runner`, or `runs` less than one, or the file takes batches of any number.
        RuntimeError: the profiler could not be run, as the installed LiteRT's C library is another than that of 2.3.
    """
    _check_runs(runs)
    if Runner(path, threads).input_shape[0] is None:
        raise ValueError(
            f"The profiler needs a known number of images in a call, and {path} takes any. Export it with a "
            "`batch_size`, such as 1, to profile it."
        )
    rows = _in_own_process("profile", path, threads, runs)
    return sorted((OperatorTime(**row) for row in rows), key=lambda row: -row.share)


def check_loads(path: str | os.PathLike):
    """Raise a `RuntimeError` if LiteRT cannot load a file; in a process of its own, which it may end."""
    _in_own_process("load", path, threads=1, runs=0)


def _check_runs(runs):
    if not isinstance(runs, int) or runs < 1:
        raise ValueError(f"`runs` must be a positive integer. Received: runs={runs!r}")


def _in_own_process(task, path, threads, runs):
    """What `own_process.py` prints."""
    program = pathlib.Path(__file__).with_name("own_process.py")
    # Not `python FILE`, which would put its folder, with modules such as `onnx`, in front of what is installed.
    start = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [str(program), task, os.fspath(path), str(threads), str(runs)]
    done = subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}"
        raise RuntimeError(f"LiteRT could not be run in a process of its own, to find the {task} of {path}: {reason}")
    return json.loads(done.stdout.splitlines()[-1])
