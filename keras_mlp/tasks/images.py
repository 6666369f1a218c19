"""Images as users give them: files or arrays, of any number of channels."""

import os
import pathlib

import numpy as np


def pixels(image, channels: int) -> np.ndarray:
    """An image, or what is in a file, in a model's channels.

    Args:
        image: array `(height, width)` or `(height, width, channels)`, or a path.
        channels: of the model's input.

    Returns:
        An array `(height, width, channels)`.

    Raises:
        ValueError: it has not the axes or channels of an image, or the file is none.
    """
    if isinstance(image, str | os.PathLike):
        from keras_mlp.training.data import decoding

        try:
            image = decoding.decode(pathlib.Path(image).read_bytes())
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from error
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim == 3 and image.shape[-1] != channels and channels in (1, 3) and 1 <= image.shape[-1] <= 4:
        from keras_mlp.training.data.images import with_channels

        image = with_channels(image, channels).numpy()
    if image.ndim != 3 or image.shape[-1] != channels:
        raise ValueError(
            f"`image` must be a path, or an array (height, width, {channels}) for this model. Received an array of the "
            f"shape {image.shape}."
        )
    return image
