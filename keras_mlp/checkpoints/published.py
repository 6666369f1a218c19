"""From a published checkpoint to the variables of a model: fetch, convert once, load."""

from safetensors import SafetensorError, safe_open

from keras_mlp.cards import Weights
from keras_mlp.checkpoints import download, load
from keras_mlp.checkpoints.layouts import Layout


def load_published(model, weights: Weights, layout: Layout, *, new_head=False, keep_activation=False):
    """Fetch a published checkpoint and load it into `model`.

    The publisher's own file is kept in the cache folder, with its conversion to our layout beside it, which is
    made once and read from then on.

    Args:
        model: a model of the architecture that the checkpoint is for.
        weights: the checkpoint.
        layout: the layout it follows.
        new_head, keep_activation: see `load_checkpoint`.

    Returns:
        A `load.LoadReport`.

    Raises:
        DownloadError: the file could not be fetched; the message says where to get it and where to put it.
        CheckpointError: the file does not fit the model.
    """
    options = dict(new_head=new_head, keep_activation=keep_activation, input_size=weights.input_size)
    published = download.fetch(weights)
    digest = download.sha256(published)
    path = published.with_name(f"{weights.model}-{weights.tag}.keras_mlp.safetensors")
    if not _is_conversion_of(path, digest):
        try:
            load.convert(published, path, layout, key=weights.key, tag=weights.tag, sha256=digest)
        except OSError:
            # A cache that cannot be written to: the published file itself serves as well, only slower.
            return load.load_checkpoint(model, published, key=weights.key, family=layout.family, **options)
    return load.load_checkpoint(model, path, **options)


def _is_conversion_of(path, digest) -> bool:
    try:
        with safe_open(path, "numpy") as file:
            return file.metadata()["sha256"] == digest
    except (OSError, SafetensorError, KeyError, TypeError):
        return False
