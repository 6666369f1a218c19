"""`python -m keras_mlp`, the same as `keras-mlp`."""

import sys

from keras_mlp.cli.main import main

sys.exit(main())
