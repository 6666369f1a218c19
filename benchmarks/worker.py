"""One contender in its own process: the process's side and its owner's.

The two speak in lines of JSON over pipes. The first line to the process is the contender, and it answers
`{"ready": true}` or `{"unavailable": why}`; then each line `{"batch": n, "seconds": s}` asks it to run batches of n for
about s seconds, and it answers `{"steps": how many, "seconds": how long they took}`. Between two lines it sleeps.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time

from benchmarks.contender import Contender, Unavailable


def serve():
    """Be the process."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get between the answers

    def answer(**message):
        print(json.dumps(message), file=answers)

    contender = Contender(**json.loads(sys.stdin.readline()))
    # XLA and OpenMP look at the cores, not at the settings.
    if contender.device == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: contender.threads])
    try:
        from benchmarks.models import LIBRARIES

        prepare = LIBRARIES[contender.who](contender)
    except Unavailable as error:
        return answer(unavailable=str(error))
    answer(ready=True)
    steps = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["batch"] not in steps:
            steps[asked["batch"]] = prepare(asked["batch"])
            steps[asked["batch"]]()  # traces and compiles
        step = steps[asked["batch"]]
        step()  # what the caches lost while the others ran
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < asked["seconds"] or not count:
            step()
            count += 1
        answer(steps=count, seconds=elapsed)


_BACKENDS = {"jax": "jax", "torch_compile": "torch"}
"""Keras' backend by form, where it is not TensorFlow."""


class Worker:
    """A contender's process, from outside.

    Args:
        contender: what it runs.

    Raises:
        Unavailable: it cannot take part; the message says why.
    """

    def __init__(self, contender: Contender):
        self.contender = contender
        threads = str(contender.threads)
        # kecam is written for Keras 2.
        environment = os.environ | {
            "KERAS_BACKEND": _BACKENDS.get(contender.form, "tensorflow"),
            "TF_USE_LEGACY_KERAS": str(int(contender.who == "kecam")),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
        }
        if contender.device == "gpu":  # several processes share its memory
            environment |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            env=environment,
        )
        try:
            first = self._ask(dataclasses.asdict(contender))
            if "unavailable" in first:
                raise Unavailable(first["unavailable"])
        except Unavailable:
            self.close()
            raise

    def run(self, batch: int, seconds: float) -> float:
        """Run batches for about `seconds`.

        Returns:
            Images, clips or matrix products per second.

        Raises:
            Unavailable: the process ended; the message holds its last line.
        """
        answer = self._ask({"batch": batch, "seconds": seconds})
        return batch * answer["steps"] / answer["seconds"]

    def close(self):
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _ask(self, message) -> dict:
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        raise Unavailable(f"its process ended with code {code}: {lines[-1] if lines else 'it said nothing'}")


if __name__ == "__main__":
    serve()
