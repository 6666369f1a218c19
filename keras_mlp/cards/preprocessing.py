"""How pixels become a checkpoint's input, and which frames of a video do."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How pixels become a checkpoint's input.

    Args:
        mean: per-channel mean, in units of pixel / 255.
        std: per-channel standard deviation, in units of pixel / 255.
        crop_pct: share of the resized image's side that the centre crop keeps in evaluation, in (0, 1].
        interpolation: "bilinear" or "bicubic", with antialiasing.
        squash: resize the whole image to the input size, not keeping its aspect ratio, instead of
            resizing the short side and cropping the centre.
        bgr: the checkpoint wants the channels in reverse: blue, green, red.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop_pct: float = 0.875
    interpolation: str = "bicubic"
    squash: bool = False
    bgr: bool = False

    @property
    def views(self) -> int:
        """How many inputs are made of one image or video."""
        return 1

    def for_channels(self, channels: int) -> "Preprocessing":
        """The same for another number of input channels: averaged for one, repeated in turn for more than three."""
        if channels == len(self.mean):
            return self
        if channels == 1:
            mean, std = (float(np.mean(self.mean)),), (float(np.mean(self.std)),)
        else:
            mean = tuple(self.mean[i % len(self.mean)] for i in range(channels))
            std = tuple(self.std[i % len(self.std)] for i in range(channels))
        return dataclasses.replace(self, mean=mean, std=std)

    @property
    def scale_and_offset(self) -> tuple[list[float], list[float]]:
        """Per-channel `scale` and `offset` with `x * scale + offset == (x / 255 - mean) / std`."""
        scale = [1 / (255 * std) for std in self.std]
        offset = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return scale, offset

    def __call__(self, pixels):
        """Normalise `pixels`.

        Args:
            pixels: array or tensor `(..., channels)`, red first, integers or floats in 0–255. It is not changed.

        Returns:
            A new float array (NumPy in, NumPy out) or tensor of the same shape.
        """
        scale, offset = self.for_channels(pixels.shape[-1]).scale_and_offset
        if isinstance(pixels, np.ndarray):
            dtype = pixels.dtype if np.issubdtype(pixels.dtype, np.floating) else np.float32
            pixels = pixels[..., ::-1] if self.bgr else pixels
            return pixels.astype(dtype) * np.asarray(scale, dtype) + np.asarray(offset, dtype)
        from keras import backend, ops

        dtype = backend.standardize_dtype(pixels.dtype)
        dtype = dtype if backend.is_float_dtype(dtype) else "float32"
        pixels = ops.flip(pixels, axis=-1) if self.bgr else pixels
        # As arrays, because plain numbers would be rounded to float32 on their way to float64.
        scale, offset = (ops.cast(np.asarray(values), dtype) for values in (scale, offset))
        return ops.cast(pixels, dtype) * scale + offset


@dataclasses.dataclass(frozen=True)
class VideoPreprocessing(Preprocessing):
    """How a video becomes a checkpoint's inputs: in evaluation several, if it is looked at more than once.

    Which frames a model is trained on follows the same rule, drawn anew each time.

    Args:
        stride: time from one frame to the next, in frames of a video of 30 a second. `None` to cut the whole video into
            as many parts as there are frames and take one of each.
        clips: how many such rows of frames are taken, evenly over the video.
        crops: 1 for the centre of the frames; 3 for the centre and both ends of their longer side.
        averaged: what of these views is averaged, "logits" or "probabilities".
    """

    stride: float | None = None
    clips: int = 1
    crops: int = 1
    averaged: str = "logits"

    @property
    def views(self) -> int:
        return self.clips * self.crops

    @property
    def places(self) -> list[float]:
        """Where the crops are on the longer side of a frame, from 0 (top or left) to 1."""
        return np.linspace(0, 1, self.crops).tolist() if self.crops > 1 else [0.5]

    def sample(self, length: int, frames: int, rate: float = 30.0) -> np.ndarray:
        """Which frames of a video are looked at.

        Args:
            length: how many it has.
            frames: how many the model takes.
            rate: how many it has a second.

        Returns:
            Indices `(clips, frames)`, in order; of a video that is too short, some are repeated.
        """
        clips = np.arange(self.clips)[:, np.newaxis]
        if self.stride is None:
            part = (length - 1) / frames
            starts = np.rint(part * np.arange(frames))
            return (starts + np.floor(part * (clips + 1) / (self.clips + 1))).astype(int)
        span = self.stride * frames * rate / 30
        spare = max(length - span, 0)
        starts = clips * np.floor(spare / (self.clips - 1)) if self.clips > 1 else np.floor([[spare / 2]])
        return np.clip(starts + np.linspace(0, span - 1, frames), 0, length - 1).astype(int)

    def draw(self, length: int, frames: int, random: np.random.RandomState, rate: float = 30.0) -> np.ndarray:
        """Which frames of a video a model learns from.

        With a stride the clip begins anywhere, as long as the video is long enough. Without one, each frame is drawn
        from its part of the video, both borders included.

        Source: facebookresearch/SlowFast, `get_start_end_idx` and `temporal_sampling` in datasets/decoder.py, and
        `get_seq_frames` in datasets/ssv2.py, which MorphMLP and MViT are trained with; segments are of Wang et al.
        2016 (TSN), https://arxiv.org/abs/1608.00859.

        Args:
            length, frames, rate: see `sample`.
            random: what is drawn from.

        Returns:
            Indices `(frames,)`, in order; of a video that is too short, some are repeated.
        """
        if self.stride is None:
            borders = np.rint((length - 1) / frames * np.arange(frames + 1)).astype(int)
            return random.randint(borders[:-1], borders[1:] + 1)
        span = self.stride * frames * rate / 30
        begin = random.uniform(0, max(length - span, 0))
        return np.clip(begin + np.linspace(0, span - 1, frames), 0, length - 1).astype(int)
