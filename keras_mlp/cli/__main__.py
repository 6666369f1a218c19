"""`python -m keras_mlp.cli`, the same as `keras-mlp`."""

import sys

from keras_mlp.cli.main import main

sys.exit(main())
