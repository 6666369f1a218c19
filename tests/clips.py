"""Videos that tests write: files of any codec, and folders of frames."""

import av
import keras
import numpy as np


def brightening(length, height=48, width=64):
    """A video that goes from black to white, red at the left and green at the right: `(frames, height, width, 3)`."""
    frames = np.zeros((length, height, width, 3), "uint8")
    frames += np.linspace(0, 200, length).astype("uint8")[:, None, None, None]
    frames[:, :, : width // 2, 0] += 50
    frames[:, :, width // 2 :, 1] += 50
    return frames


def write_video(path, frames, rate=30, codec="mpeg4", pixels="yuv420p", key_frames=None, numbers=None):
    """A file of these frames.

    `key_frames` is how many there are from one key frame to the next. `numbers` tells when each frame comes, in frames
    from the beginning, where these are not 0, 1, 2 and so on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = pixels
        stream.height, stream.width = frames.shape[1:3]
        stream.bit_rate = 4_000_000
        if key_frames:
            stream.codec_context.gop_size = key_frames
        for number, picture in zip(range(len(frames)) if numbers is None else numbers, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_frames(folder, frames):
    """Numbered without leading zeros, as many tools do."""
    folder.mkdir(parents=True)
    for i, pixels in enumerate(frames):
        keras.utils.save_img(folder / f"frame_{i}.png", pixels.astype("float32"), scale=False)
    return folder


REASONS = {
    "truncated": "not a video, or a broken one",
    "empty": "not a video, or a broken one",
    "one frame": "a single frame, too short for a video",
    "sound": "there is no video in the file",
}
"""Why nothing is learnt of the files that `write_broken` writes."""


def write_broken(folder, names):
    """Write files of which nothing can be learnt: `names` has the path of each kind in `REASONS`."""
    whole = write_video(folder / names["truncated"], brightening(20)).read_bytes()
    (folder / names["truncated"]).write_bytes(whole[: len(whole) // 2])
    (folder / names["empty"]).write_bytes(b"")
    write_video(folder / names["one frame"], brightening(1))
    with av.open(str(folder / names["sound"]), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "float32"), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
