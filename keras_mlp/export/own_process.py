"""Measurements of a .tflite file in a process of its own, which loads neither Keras nor TensorFlow.

`runtime.py` runs this file as a program. So the memory of the process is LiteRT's alone. What LiteRT's C library writes
to the terminal stays in that process, and a crash of the library ends that process only.
"""

import ctypes
import json
import pathlib
import re
import sys

from ai_edge_litert import interpreter as litert


def load(path: str, threads: int, runs: int):
    """Load the file and call it; LiteRT ends the process where some number cannot be had."""
    interpreter = litert.Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    for _ in range(runs):
        interpreter.invoke()


def peak_memory(path: str, threads: int, runs: int) -> int:
    """Bytes that loading the file and calling it takes at most, beyond what LiteRT has without a file."""
    before = _peak()
    load(path, threads, runs)
    return _peak() - before


def _peak() -> int:
    try:
        with open("/proc/self/status") as status:
            found = re.search(r"VmHWM:\s*(\d+) kB", status.read())
        return 1024 * int(found[1])
    except (OSError, TypeError):
        # On Linux this would count what the parent process had when it started this one.
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def profile(path: str, threads: int, runs: int) -> list[dict]:
    """Time of each kind of operator, from LiteRT's profiler, which its C library has and its Python one does not."""
    found = [*pathlib.Path(litert.__file__).parent.glob("libLiteRt.*")]  # .so, or .dylib
    if not found:
        raise RuntimeError("the installed LiteRT has no C library")
    library = ctypes.CDLL(str(found[0]))
    libc = ctypes.CDLL(None)
    libc.strdup.restype = ctypes.c_void_p

    def call(name, *arguments):
        if status := getattr(library, name)(*arguments):
            raise RuntimeError(f"{name} answered the status {status}")

    def made(name, *arguments):
        """What a function gives in its last argument."""
        handle = ctypes.c_void_p()
        call(name, *arguments, ctypes.byref(handle))
        return handle

    def index(value):
        return ctypes.c_size_t(value)

    def set_option(group, line):
        text = ctypes.c_void_p(libc.strdup(line.encode()))  # the library will free it
        call("LiteRtAddOpaqueOptions", options, made("LiteRtCreateOpaqueOptions", group, text, libc.free))

    options = made("LiteRtCreateOptions")
    call("LiteRtSetOptionsHardwareAccelerators", options, 1)  # the CPU
    set_option(b"runtime_options_string", "enable_profiling = true")
    set_option(b"xnnpack", f"num_threads = {threads}")
    environment = made("LiteRtCreateEnvironment", 0, None)
    model = made("LiteRtCreateModelFromFile", environment, path.encode())
    compiled = made("LiteRtCreateCompiledModel", environment, model, options)
    graph = made("LiteRtGetModelSubgraph", model, index(0))

    def buffer(kind, i):
        tensor = made(f"LiteRtGetSubgraph{kind}", graph, index(i))
        tensor_type = ctypes.create_string_buffer(1024)  # a struct that is only handed on
        call("LiteRtGetRankedTensorType", tensor, tensor_type)
        needs = made(f"LiteRtGetCompiledModel{kind}BufferRequirements", compiled, index(0), index(i))
        return made("LiteRtCreateManagedTensorBufferFromRequirements", environment, tensor_type, needs)

    def buffers(kind):
        """How many inputs or outputs there are, and a buffer for each."""
        count = index(0)
        call(f"LiteRtGetNumSubgraph{kind}s", graph, ctypes.byref(count))
        return count, (ctypes.c_void_p * count.value)(*(buffer(kind, i) for i in range(count.value)))

    images, outputs = buffers("Input"), buffers("Output")

    def run(times):
        for _ in range(times):
            call("LiteRtRunCompiledModel", compiled, index(0), *images, *outputs)

    profiler = made("LiteRtCompiledModelGetProfiler", compiled)
    run(3)  # to warm up
    call("LiteRtStartProfiler", profiler)
    run(runs)
    call("LiteRtStopProfiler", profiler)
    summary = ctypes.cast(made("LiteRtGetProfileSummary", profiler, compiled), ctypes.c_char_p)
    return _rows(summary.value.decode(), runs)


def _rows(summary: str, runs: int) -> list[dict]:
    """The rows of the profiler's own table, in which XNNPACK's operators begin with "Delegate/"."""
    total_ms = int(re.search(r"Timings \(microseconds\):.* curr=(\d+)", summary)[1]) / 1e3 / runs
    table = summary.partition("Summary by node type")[2].partition("\n\n")[0]
    row = re.compile(r"\s*(?P<name>.+?)\s+\d+\s+[\d.]+\s+(?P<share>[\d.]+)%\s+[\d.]+%\s+[\d.]+\s+(?P<calls>\d+)")
    return [
        {
            "operator": found["name"].removeprefix("Delegate/"),
            "kernels": "XNNPACK" if found["name"].startswith("Delegate/") else "LiteRT",
            "count": int(found["calls"]) // runs,
            "share": float(found["share"]) / 100,
            "ms": float(found["share"]) / 100 * total_ms,
        }
        for found in map(row.fullmatch, table.splitlines())
        if found
    ]


if __name__ == "__main__":
    _, task, path, threads, runs = sys.argv
    result = {"load": load, "peak_memory": peak_memory, "profile": profile}[task](path, int(threads), int(runs))
    print(json.dumps(result))
