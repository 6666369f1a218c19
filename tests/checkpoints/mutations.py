"""Reads files of every format that were damaged in every way, in the process that runs this: python mutations.py FOLDER

Prints a line for each file that was answered in another way than by tensors or by one line of a `ValueError` that names
it, or by other tensors where the format has a checksum, and last how many files were read. Keras is not imported; the
process may not take more memory than it needs for files of a few kilobytes.
"""

import importlib.util
import pathlib
import random
import resource
import signal
import sys

import h5py
import numpy as np
import safetensors.numpy

spec = importlib.util.find_spec("keras_mlp")
sys.modules["keras_mlp"] = importlib.util.module_from_spec(spec)  # without running it, which imports Keras

from checkpoints.torch_writer import save_legacy, save_zip  # noqa: E402

from keras_mlp.checkpoints import packed, readers  # noqa: E402

MEMORY, SECONDS, TIMES = 1 << 30, 60, 25
random_state = np.random.RandomState(0)
TENSORS = {
    "stem.weight": random_state.standard_normal((8, 4)).astype("f4"),
    "stem.bias": random_state.standard_normal(8).astype("f4"),
    "head.weight": random_state.standard_normal((3, 8)).astype("f2"),
}


def write_npz(save, path):
    with open(path, "wb") as file:
        save(file, **TENSORS)


def write_h5(path, **options):
    with h5py.File(path, "w") as file:
        for name, array in TENSORS.items():
            file.create_dataset(f"layers/{name}/vars/0", data=array, **options)


def write_packed(path):
    bits = packed.to_bits("kernel", random_state.standard_normal((16, 8)) > 0, np.ones((1, 8), "f4"))
    safetensors.numpy.save_file(bits, path, {packed.SHAPES: '{"kernel": [16, 8]}'})


FORMATS = {  # how it is written, and whether the format has checksums
    "npz": (lambda path: write_npz(np.savez, path), True),
    "deflated npz": (lambda path: write_npz(np.savez_compressed, path), True),
    "safetensors": (lambda path: safetensors.numpy.save_file(TENSORS, path), False),
    "packed": (write_packed, False),
    "pth": (lambda path: save_zip(TENSORS, path), True),
    "legacy pth": (lambda path: save_legacy(TENSORS, path), False),
    "h5": (write_h5, False),
    "deflated h5": (lambda path: write_h5(path, compression="gzip", fletcher32=True), False),
}


def mutations(content, rng):
    """Damaged forms of a file: what transfers, disks and people do to it."""
    size = len(content)
    for _ in range(TIMES):
        at, count = rng.randrange(size), rng.choice([1, 4, 8, 64])
        bit = bytearray(content)
        bit[at] ^= 1 << rng.randrange(8)
        yield "bit", bytes(bit)
        yield "truncated", content[:at]
        yield "filled", content[:at] + bytes([rng.choice([0, 0x7F, 0xFF])]) * count + content[at + count :]
        yield "removed", content[:at] + content[at + count :]
        yield "doubled", content[: at + count] + content[at:]
        yield "noise", content[:at] + rng.randbytes(count) + content[at + count :]
        yield "before", rng.randbytes(count) + content
        yield "behind", content + rng.randbytes(count)


def main(folder):
    path, count = pathlib.Path(folder) / "damaged", 0
    taken = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    for form, (write, checksums) in FORMATS.items():
        write(path)
        content, rng = path.read_bytes(), random.Random(form)
        right = readers.read(path).tensors
        for kind, damaged in mutations(content, rng):
            path.write_bytes(damaged)
            count += 1
            signal.alarm(SECONDS)
            try:
                tensors = readers.read(path).tensors
                for name, array in tensors.items() if checksums else ():
                    if name in right and not np.array_equal(array, right[name]):
                        print(f"{form}, {kind}: other numbers than were written")
            except ValueError as error:
                if "\n" in str(error) or str(path) not in str(error):
                    print(f"{form}, {kind}: {error}")
            except BaseException as error:
                print(f"{form}, {kind}: {type(error).__name__}: {error}")
            signal.alarm(0)
    print(f"{count} files were read")


if __name__ == "__main__":
    main(sys.argv[1])
