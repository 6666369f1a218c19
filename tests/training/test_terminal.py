"""What training shows of the time that is left."""

import pytest

from keras_mlp.training import terminal
from keras_mlp.training.objectives.classification import Classification
from keras_mlp.training.resume import Progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("validated", [True, False])
def test_compiling_does_not_count_for_the_epochs_that_follow(clock, capsys, validated):
    """Ten epochs of ten steps of a second and a validation of five; the first ones wait for the compiler."""
    progress = Progress(steps=10)
    line = terminal.Terminal(progress, epochs=10, in_place=False, objective=Classification())
    line.interval = 0
    logs = {"loss": 1.0, "images_per_second": 1.0}
    for epoch in range(2):
        progress.epoch, progress.step = epoch, 0
        line.on_epoch_begin(epoch)
        for step in range(10):
            clock[0] += 81 if epoch == step == 0 else 1
            progress.step = step + 1
            line.on_train_batch_end(step, logs)
        if validated:
            line.on_test_begin()
            for step in range(5):
                clock[0] += 31 if epoch == step == 0 else 1
                line.on_test_batch_end(step)
        line.on_epoch_end(epoch, logs)
        shown = capsys.readouterr().out.splitlines()
        left = (10 - epoch - 1) * (15 if validated else 10)
        assert shown[-1].endswith(f"  {terminal.duration(left)} left")
        assert shown[-2].endswith(f"  {terminal.duration(10 * (10 - epoch - 1))} left")  # the steps alone


def test_an_epoch_of_one_step_is_all_that_is_known(clock, capsys):
    line = terminal.Terminal(Progress(steps=1), epochs=3, in_place=False, objective=Classification())
    line.on_epoch_begin(0)
    clock[0] += 20
    line.on_train_batch_end(0, {"loss": 1.0, "images_per_second": 1.0})
    line.on_epoch_end(0, {"loss": 1.0, "images_per_second": 1.0})
    assert capsys.readouterr().out.splitlines()[-1].endswith("40 s left")
