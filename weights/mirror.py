"""Make a mirror of published checkpoints, for machines without internet, and verify each of them.

    python -m weights.mirror --output=FOLDER "mlp_mixer_b*"

Fetches every checkpoint of the models that match (all by default), loads it strictly into its model, and lays the files
out as their urls have them, so that `KERAS_MLP_MIRROR` may name that folder, or the url of a server that has it.
"""

import pathlib
import shutil
import sys
import urllib.parse

from absl import app, flags

import keras_mlp
from keras_mlp import files
from keras_mlp.checkpoints import download

_OUTPUT = flags.DEFINE_string("output", None, "Folder of the mirror.", required=True, module_name=__name__)


def main(argv):
    failed = []
    wanted = sorted({name for pattern in argv[1:] or ["*"] for name in keras_mlp.list_models(pattern, weights=True)})
    for name in wanted:
        for tag, weights in keras_mlp.model_card(name).weights.items():
            if tag != weights.tag:
                continue
            try:
                keras_mlp.create_model(name, weights=tag, classes=weights.classes)
            except (OSError, ValueError) as error:
                failed.append(f"{name} {tag}: {error}")
                print(f"FAILED  {failed[-1]}", file=sys.stderr)
                continue
            url = urllib.parse.urlsplit(weights.url)
            target = pathlib.Path(_OUTPUT.value) / f"{url.netloc}{url.path}"
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.atomic_path(target) as temporary:
                shutil.copyfile(download.cached_path(weights), temporary)
            print(f"{download.sha256(target)}  {target}")
    sys.exit(f"{len(failed)} checkpoints could not be mirrored." if failed else 0)


if __name__ == "__main__":
    app.run(main)
