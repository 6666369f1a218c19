"""HAT-Net's own: settings and sizes that cannot work."""

import pytest

import keras_mlp


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(head_dim=48), r"must divide the width of each stage. Received: head_dim=48.* 64 is no multiple"),
        (dict(kernel_sizes=(3, 4, 3, 3)), r"positive odd numbers. Received: kernel_sizes=\(3, 4, 3, 3\)"),
        (dict(windows=(8, 0, 7, 1)), r"`windows` must be positive whole numbers. Received: windows=\(8, 0, 7, 1\)"),
        (dict(pools=(8, 4, 0, 1)), r"`pools` must be positive whole numbers. Received: pools=\(8, 4, 0, 1\)"),
        (dict(input_shape=(300, 224, 3)), "multiples of its window.*height=300. The nearest that work: 224 and 445"),
        (dict(pools=(8, 4, 15, 1)), "`pools` .* smaller side of the stage's map"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_mlp.HATNet(**arguments)
