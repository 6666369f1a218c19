"""Where the `keras-mlp` command begins: `keras_mlp` is known, but not run yet.

Importing `keras_mlp` imports Keras, which takes seconds and writes to the terminal; help and mistakes need neither.
`keras_mlp.cli.main` runs it once a subcommand has been understood.
"""

import importlib.util
import sys


def main():
    spec = importlib.util.find_spec("keras_mlp")
    sys.modules["keras_mlp"] = importlib.util.module_from_spec(spec)
    from keras_mlp.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
