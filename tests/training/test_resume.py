"""A run that is broken off ends with the weights that it would have come to."""

import dataclasses
import os
import pathlib
import signal

import keras
import numpy as np
import pytest

from keras_mlp.training import callbacks, train
from keras_mlp.training.folder import FILES, Folder
from keras_mlp.training.objectives.classification import Classification
from keras_mlp.training.resume import Checkpoints, Interrupted, Progress

STEPS = 11


class Crash(Exception):
    """What a test does to a run."""


class CrashAt(keras.callbacks.Callback):
    """Ends a run after a step that it does in an epoch, both counted from 0, or in the epoch's validation."""

    def __init__(self, epoch, step):
        super().__init__()
        self.at = epoch, step

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.at == (self.epoch, batch):
            raise Crash

    def on_test_batch_end(self, batch, logs=None):
        if self.at == (self.epoch, "validation"):
            raise Crash


@pytest.fixture(scope="module")
def train_into(digits, plain):
    """Train a model that has all that a state can be lost of; keyword arguments are `fit`'s and the recipe's."""
    augmentation = dict(random_resized_crop=(0.5, 1.0), cutmix=1.0, mixup=0.2, repeated_augmentation=2)
    recipe = dataclasses.replace(plain, **augmentation, ema_decay=0.9, warmup_epochs=1, gradient_clip_norm=1.0)

    def run(folder, *breaks, seed=1, change=None, **options):
        keras.utils.set_random_seed(seed)
        inner = [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(16),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, "softmax"),
        ]
        model = keras.Sequential([keras.Input((8, 8, 1)), *inner])
        wanted = dataclasses.replace(recipe, **(change or {}))
        arguments = dict(callbacks=breaks, verbose=0, checkpoint_seconds=0) | options
        data = digits(**augmentation), digits("test", batch_size=200)
        history = train.fit(model, *data, wanted, folder, **arguments).history
        return model, history

    return run


@pytest.fixture
def run(train_into, tmp_path):
    """The same, into a folder of this name."""

    def run(name, *breaks, **options):
        return train_into(tmp_path / name, *breaks, **options)

    run.folder = tmp_path
    return run


def weights(model):
    return np.concatenate([array.ravel() for array in model.get_weights()])


@pytest.fixture(scope="module")
def whole(train_into, tmp_path_factory):
    """The model, the log and the folder of a run without a break."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return *train_into(folder, seed=0), folder


def begin(run, name, *breaks, **options):
    """The first part of a run. Parts that follow have another seed: what it decides is part of the state."""
    with pytest.raises(Crash):
        run(name, *breaks, seed=0, **options)


@pytest.mark.parametrize(
    "breaks",
    [
        [(0, 4), (0, 3), (1, 0)],
        pytest.param([(0, 10), (1, "validation")], marks=pytest.mark.slow),
        pytest.param([(2, 5), (2, 3)], marks=(pytest.mark.slow, pytest.mark.huge)),
    ],
    ids=["mid-epoch", "epoch's end", "last epoch"],
)
def test_a_broken_run_ends_as_a_whole_one(run, whole, breaks):
    model, history, folder = whole
    begin(run, "broken", CrashAt(*breaks[0]))
    for place in breaks[1:]:
        with pytest.raises(Crash):
            run("broken", CrashAt(*place))
    resumed, log = run("broken")
    np.testing.assert_array_equal(weights(resumed), weights(model))
    for name in ("loss", "top1", "val_loss", "val_top1", "learning_rate"):
        np.testing.assert_allclose(log[name], history[name], rtol=1e-5)
    for name in ("best", "last"):
        one, other = (keras.models.load_model(f / f"{name}.keras") for f in (folder, run.folder / "broken"))
        np.testing.assert_array_equal(weights(one), weights(other))
    table = (run.folder / "broken" / "log.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in table] == ["epoch", "0", "1", "2"]
    assert sorted(path.name for path in (run.folder / "broken").iterdir()) == sorted(FILES)


def test_each_step_is_done_once(run):
    """Also where a state was saved within the epoch before."""
    steps = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(int(self.model.optimizer.iterations))

    with pytest.raises(Crash):
        run("run", CrashAt(1, 3), Count())
    run("run", Count())
    assert steps == [*range(1, STEPS + 4), *range(STEPS + 4, 3 * STEPS + 1)]


def test_a_finished_run_is_not_repeated(run, capsys):
    model, history = run("run")
    before = {path: path.stat().st_mtime_ns for path in (run.folder / "run").iterdir()}
    again, log = run("run", CrashAt(0, 0), verbose=2)
    assert "is finished" in capsys.readouterr().out
    np.testing.assert_array_equal(weights(again), weights(model))
    assert log == history
    assert {path: path.stat().st_mtime_ns for path in (run.folder / "run").iterdir()} == before


@pytest.mark.slow
def test_training_ends_early_also_after_a_break(run):
    """With a rate of almost nothing the first epoch stays the best by accuracy and loss, or a later one soon is."""
    change = dict(patience=1, learning_rate=10.0, epochs=8, warmup_epochs=0, schedule="constant")
    _, history = run("whole", seed=0, change=change)
    ended = len(history["loss"])
    assert ended < 8 and Classification().best_epoch(history) == ended - 2
    begin(run, "broken", CrashAt(ended - 1, 5), change=change)
    _, log = run("broken", CrashAt(ended, 0), change=change)
    assert len(log["loss"]) == ended
    assert "Training ended early" in (run.folder / "broken" / "report.md").read_text()


def test_another_run_is_not_gone_on_with(run):
    with pytest.raises(Crash):
        run("run", CrashAt(0, 5), settings={"seed": 1})
    message = r"other settings \(learning_rate: 0.01, now 0.02, seed: 1, now 2\). Give the same"
    with pytest.raises(ValueError, match=message):
        run("run", change={"learning_rate": 0.02}, settings={"seed": 2})
    for file in (run.folder / "run" / "checkpoints").glob("*.npz"):
        file.unlink()
    run("run", overwrite=True, change={"epochs": 1, "warmup_epochs": 0})
    (run.folder / "run" / "report.md").unlink()
    with pytest.raises(ValueError, match=r"holds a run already .* too little is left"):
        run("run", change={"epochs": 1, "warmup_epochs": 0})


@pytest.mark.parametrize("finished", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_is_extended_to_more_epochs(run, finished):
    longer = dict(epochs=5)
    if finished:
        model, _ = run("run", seed=0)
        before = weights(model)
    else:
        begin(run, "run", CrashAt(1, 3))
    log = (run.folder / "run" / "log.csv").read_text()
    with pytest.raises(ValueError, match=r"epochs: 3, now 5\).* with extend=True \(--extend\), .*--overwrite"):
        run("run", change=longer)
    with pytest.raises(ValueError, match=r"epochs: 3, now 2\). Give the same to go on with it, choose"):
        run("run", change=dict(epochs=2), extend=True)
    with pytest.raises(Crash):  # and broken off once more, after which the flag makes no difference
        run("run", CrashAt(3, 2), change=longer, extend=True)
    extended, history = run("run", change=longer)
    assert len(history["loss"]) == 5
    assert (run.folder / "run" / "log.csv").read_text().startswith(log)
    assert int(keras.models.load_model(run.folder / "run" / "last.keras").optimizer.iterations) == 5 * STEPS
    if finished:
        assert not np.array_equal(weights(extended), before)
        again, _ = run("run", change=longer, extend=True)
        np.testing.assert_array_equal(weights(again), weights(extended))


@pytest.mark.slow
def test_a_run_killed_while_it_is_reopened_loses_nothing(run, monkeypatch):
    """At each of two moments: before the report goes, and before the recipe is written anew."""
    _, history = run("run", seed=0)

    def killed(*arguments, **options):
        raise Crash

    for moment in ((pathlib.Path, "unlink"), (Folder, "write")):
        with monkeypatch.context() as patch:
            patch.setattr(*moment, killed)
            with pytest.raises(Crash):
                run("run", change=dict(epochs=4), extend=True)
    _, log = run("run", change=dict(epochs=4), extend=True)
    assert len(log["loss"]) == 4
    np.testing.assert_allclose(log["loss"][:3], history["loss"])


# What can happen to a state


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(d, marks=(pytest.mark.slow, pytest.mark.huge)) for d in ("cut", "empty"))]
)
def test_a_broken_state_is_passed_over(run, whole, damage, capsys):
    begin(run, "run", CrashAt(1, 4))
    newest, older = sorted((run.folder / "run" / "checkpoints").glob("*.npz"), reverse=True)
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    newest.write_bytes({"cut": content[:-100], "flipped": content, "empty": b""}[damage])
    resumed, _ = run("run", verbose=2)
    assert f"{newest} cannot be read" in (said := capsys.readouterr().out)
    assert "going on in epoch 2 after 3 steps" in said and older.name == "00001-00000003.npz"
    np.testing.assert_array_equal(weights(resumed), weights(whole[0]))


def test_where_no_state_can_be_read_nothing_is_begun_anew(run):
    with pytest.raises(Crash):
        run("run", CrashAt(1, 4))
    for file in (run.folder / "run" / "checkpoints").glob("*.npz"):
        file.write_bytes(b"rubbish")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"None of the states .* can be read|too little is left"):
            run("run")


def test_nothing_but_finite_numbers_is_saved(run):
    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                self.model.layers[-1].bias.assign(np.full(10, np.inf))

    with pytest.raises(ArithmeticError, match=r"weights became NaN or infinite in epoch 1, step 5"):
        run("run", Poison())
    for file in (run.folder / "run" / "checkpoints").glob("*.npz"):
        with np.load(file) as stored:
            assert all(np.isfinite(stored[name]).all() for name in stored.files if name != "progress")
    model, _ = run("run")
    assert np.isfinite(weights(model)).all()


def test_one_process_has_the_folder(run, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    with pytest.raises(RuntimeError, match=r"Another process is training into .*run\."):
        run("run")
    checkpoints.close()
    run("run", change={"epochs": 1, "warmup_epochs": 0})


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_states_hold_all_dtypes(policy, tmp_path, small_model):
    def compiled():
        keras.config.set_dtype_policy(policy)
        model = small_model()
        model.compile(keras.optimizers.Adam(use_ema=True), "mse")
        model.optimizer.build(model.trainable_variables)
        return model

    model = compiled()
    model.fit(np.ones((8, 8, 8, 1)), np.ones((8, 10)), verbose=0)
    checkpoints, other = Checkpoints(tmp_path), compiled()
    checkpoints.save(model, Progress(3, 1, 2, {"loss": 0.5}))
    found, _ = checkpoints.restore(other)
    assert found == Progress(3, 1, 2, {"loss": 0.5})
    pairs = zip(model.variables + model.optimizer.variables, other.variables + other.optimizer.variables, strict=True)
    assert all(np.array_equal(np.asarray(one), np.asarray(two)) for one, two in pairs)


def test_evaluating_the_average_leaves_the_weights_as_they_are(digits, small_model, plain):
    """Keras' own callback adds and subtracts, which rounds."""
    model = small_model()
    model.compile(keras.optimizers.Adam(use_ema=True), "categorical_crossentropy")
    model.fit(digits().dataset, steps_per_epoch=5, verbose=0)
    model.layers[-1].kernel.assign_add(np.random.default_rng(0).normal(size=(32, 10)))
    before, averaged = weights(model), callbacks.Averaged()
    averaged.set_model(model)
    averaged.on_test_begin()
    assert not np.array_equal(weights(model), before)
    averaged.on_test_end()
    np.testing.assert_array_equal(weights(model), before)


# Signals


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_step_and_saves(run, whole, number):
    class Ask(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 6:
                os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match="epoch 1 after 7 steps; all is saved") as stopped:
        run("run", Ask(), seed=0, checkpoint_seconds=600)
    assert stopped.value.signal == number and signal.getsignal(number) == handler
    assert (run.folder / "run" / "last.keras").exists()
    resumed, _ = run("run")
    np.testing.assert_array_equal(weights(resumed), weights(whole[0]))
