"""Weak scaling: images a second of 1, 2, … processes that train together, each with the same batch of its own.

    python -m benchmarks.scaling --processes=1,2

The processes run on this machine, one thread each, and talk over loopback by `--strategy=multi_worker`; the model is a
small Mixer, its images are noise that is there before the clock starts. After the measured table comes what arithmetic
says of `--model` on real devices: a step takes the time to compute plus the time in which a ring all-reduce moves the
gradients,

    t = batch / images_per_second + 2 · (n − 1) / n · 4 · parameters / bandwidth,

one after the other, as these strategies do it on TensorFlow; efficiency is the first part's share of t.
"""

import os
import socket
import statistics
import subprocess
import sys
import time

from absl import app, flags

from benchmarks import tables

_PROCESSES = flags.DEFINE_list("processes", ["1", "2"], "How many, in turns.")
_BATCH = flags.DEFINE_integer("batch", 64, "Images of a process in a step, measured.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 20, "Measured steps of a turn.", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Turns of everyone.", lower_bound=1)
_MODEL = flags.DEFINE_string("model", "mlp_mixer_b16", "What the arithmetic is about.")
_DEVICE_BATCH = flags.DEFINE_integer("device_batch", 256, "Images of a device in a step, calculated.")
_DEVICE_RATE = flags.DEFINE_float(
    "images_per_second",
    11703 / 3,
    "Of one device in training. By default a third of README's inference figure for Mixer-B/16 on an H100, since a "
    "step's backward pass costs about two forward passes.",
)
_BANDWIDTHS = flags.DEFINE_list("bandwidths", ["1.25", "12.5", "50"], "Of the network of a device, GB/s.")
_CALCULATED = flags.DEFINE_string("save_calculated", None, "As --save, for the calculated table.")
_WORKER = flags.DEFINE_string("worker", None, "What this command starts its own processes with.")
SIZE, DIM, DEPTH = 32, 128, 4


def measure(processes: int) -> float:
    """Images a second of so many processes together, in one turn."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(processes)]
    addresses = ",".join(f"127.0.0.1:{free.getsockname()[1]}" for free in sockets)
    for free in sockets:
        free.close()
    command = [sys.executable, "-m", "benchmarks.scaling", f"--batch={_BATCH.value}", f"--steps={_STEPS.value}"]
    environment = {
        **os.environ,
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1" if processes == 1 else "2",  # one waits for the others
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    started = [
        subprocess.Popen([*command, f"--worker={rank}@{addresses}"], env=environment, stdout=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    if any(process.returncode for process in started):
        raise SystemExit("a process failed")
    return processes * _BATCH.value / max(float(output.split()[-1]) for output in outputs)


def worker(place: str):
    """Train, as one of several, and print the seconds of a step."""
    import keras
    import tensorflow as tf

    import keras_mlp
    from keras_mlp.training import distribution

    rank, _, addresses = place.partition("@")
    addresses = addresses.split(",")
    workers = distribution.connect("multi_worker", addresses, int(rank)) if addresses[1:] else distribution.Alone()
    model = keras_mlp.MLPMixer(patch_size=4, dim=DIM, depth=DEPTH, input_shape=(SIZE, SIZE, 3), classes=10)
    model.compile("adamw", "categorical_crossentropy", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    workers.prepare(model)
    images = tf.random.uniform((_BATCH.value, SIZE, SIZE, 3), maxval=255)
    labels = tf.one_hot(tf.range(_BATCH.value) % 10, 10)
    dataset = tf.data.Dataset.from_tensors((images, labels)).cache().repeat()
    clock = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            clock.append(time.perf_counter())

    model.fit(dataset, steps_per_epoch=_STEPS.value + 5, verbose=0, callbacks=[Clock()])
    print((clock[-1] - clock[4]) / _STEPS.value)


def predicted(devices: int, bandwidth: float) -> float:
    """The efficiency that the formula above gives; `bandwidth` in bytes/s."""
    from keras_mlp import zoo

    compute = _DEVICE_BATCH.value / _DEVICE_RATE.value
    moved = 2 * (devices - 1) / devices * 4 * zoo.model_card(_MODEL.value).parameters
    return compute / (compute + moved / bandwidth)


def main(_):
    if _WORKER.value:
        return worker(_WORKER.value)
    counts = [int(count) for count in _PROCESSES.value]
    rates = {count: [] for count in counts}
    for _ in range(_ROUNDS.value):
        for count in counts:
            rates[count].append(measure(count))
    medians = {count: statistics.median(found) for count, found in rates.items()}
    print(f"Mixer of {DEPTH} blocks of width {DIM}, {SIZE}×{SIZE} pixels, {_BATCH.value} images a process and step,")
    print(f"one thread a process, median of {_ROUNDS.value} turns, on {os.cpu_count()} cores at a load of ", end="")
    print(f"{os.getloadavg()[0]:.0f}\n")
    table = tables.Table(
        *(("processes", "d"), ("images/s", ".0f"), ("lowest–highest", ">14"), ("of so many times one", ".0%"))
    )
    for count, rate in medians.items():
        share = rate / count / (medians[counts[0]] / counts[0])
        table.row(count, rate, f"{min(rates[count]):.0f}–{max(rates[count]):.0f}", share)
    print(
        f"\nCalculated for {_MODEL.value}, {_DEVICE_BATCH.value} images a device, {_DEVICE_RATE.value:.0f} images/s:\n"
    )
    calculated = tables.Table(
        ("devices", "d"), *((f"{bandwidth} GB/s", ".0%") for bandwidth in _BANDWIDTHS.value), keep=_CALCULATED.value
    )
    for devices in (2, 8, 64, 512):
        calculated.row(devices, *(predicted(devices, 1e9 * float(bandwidth)) for bandwidth in _BANDWIDTHS.value))


if __name__ == "__main__":
    app.run(main)
