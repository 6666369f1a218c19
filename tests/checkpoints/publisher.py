"""A published checkpoint for tests: its content, how it is fetched, and what that leaves behind."""

import hashlib

import numpy as np

from keras_mlp.checkpoints import download

CONTENT = b"PK\x03\x04" + np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def fetch(weights, **options):
    return download.fetch(weights, progress=False, **options)


def leftovers(path):
    """What lies in the cache folder that is neither the file nor what belongs beside it."""
    return {p.name for p in path.parent.iterdir()} - {path.name, path.name + ".json", path.name + ".lock"}


def sent(server):
    return [(asked, count) for _, asked, count in server.log]
