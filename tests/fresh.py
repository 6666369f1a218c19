"""Models as another process has them, which has imported nothing but the package."""

import numpy as np
import processes

LOAD = """
import sys, numpy as np, keras, keras_mlp
for folder in sys.argv[1:]:
    model = keras.saving.load_model(folder + "/model.keras")
    np.save(folder + "/answer.npy", model(np.load(folder + "/images.npy")))
"""


def answers(models, folder):
    """Save models, load all in one process and ask them there.

    Args:
        models: `(name, (model, images))`, one by one.
        folder: an empty one.

    Returns:
        Pairs of answers by name, that of the model here and that of the loaded one.
    """
    here = {}
    for name, (model, images) in models:
        (folder / name).mkdir()
        model.save(folder / name / "model.keras")
        np.save(folder / name / "images.npy", images)
        here[name] = np.asarray(model(images))
    done = processes.run(["-c", LOAD, *(folder / name for name in here)])
    assert done.returncode == 0, done.stderr
    return {name: (answer, np.load(folder / name / "answer.npy")) for name, answer in here.items()}
