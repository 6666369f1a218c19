"""From a file's content to pixels: the one decoder of images, in tf.data, in Python and in exported graphs.

TensorFlow's operations decode JPEG and PNG, which are nearly all files, without Python and its lock; Pillow decodes the
other formats, of which TensorFlow reads some wrong (a palette in a BMP) and others not at all (TIFF). An exported graph
has no Python: there TensorFlow reads what of these formats it reads right, and the rest is an error.

Whatever the file is, the result is what a viewer shows of it: turned as its EXIF orientation says, eight bits a channel
(of sixteen the upper ones), red, green and blue (grey three times), without an alpha channel, and of an animation the
first picture. A file's header says how many pixels there will be; where that is too many, it is not decoded.
"""

import io

import numpy as np
import tensorflow as tf

from keras_mlp.training.data.source import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
READABLE = "JPEG, PNG, GIF, BMP, WebP and TIFF can be read"
BY_TENSORFLOW = ("JPEG", "MPO", "PNG")  # as Pillow calls them; the second is a JPEG with further ones behind it

# How files begin.
_JPEG, _PNG, _GIF, _BMP, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF"
BEGINNINGS = (_JPEG, _PNG, _GIF, _BMP, _RIFF, b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_EXIF = b"Exif\0\0"  # what the EXIF segment of a JPEG begins with
_ORIENTATION = 0x0112  # the tag of TIFF and EXIF


def is_image(beginning: bytes) -> bool:
    """Whether a file that begins so is an image of a format that can be read; 12 bytes tell."""
    riff = beginning.startswith(_RIFF)
    return beginning.startswith(BEGINNINGS) and (not riff or beginning[8:12] == b"WEBP")


def decode(content: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a file's content, in Python.

    Args:
        content: of a file of one of `FORMATS`.
        max_pixels: how many pixels it may have.

    Returns:
        uint8 array `(height, width, 3)`.

    Raises:
        ValueError: it is no image, a broken one, or a larger one than it may be; the message says which.
    """
    try:
        if not (orientation := _look(content, max_pixels)):
            return _by_pillow(content, max_pixels)
        image = _by_tensorflow(content)
        return (image if orientation == 1 else _turned(image, orientation)).numpy()
    except tf.errors.OpError as error:
        raise ValueError("a broken image") from error


def pixels(content, max_pixels: int = MAX_PIXELS):
    """Decode a file's content in tf.data; arguments and result are those of `decode`, as tensors.

    What cannot be decoded is an error of the operation. Most files are JPEG without EXIF. TensorFlow's operations look
    at these: a call of Python for each image takes a quarter of the time of decoding it.
    """
    plain = tf.cond(_begins(content, _JPEG), lambda: ~_has(content, _EXIF), lambda: False)
    image = tf.cond(plain, lambda: _plain_jpeg(content, max_pixels), lambda: _looked_at(content, max_pixels))
    return tf.ensure_shape(image, (None, None, 3))


def _looked_at(content, max_pixels):
    """Decode after a look at the header in Python."""

    def by_pillow():
        return tf.numpy_function(lambda content: _by_pillow(content, max_pixels), [content], tf.uint8)

    orientation = tf.numpy_function(lambda content: np.int32(_look(content, max_pixels)), [content], tf.int32)
    orientation = tf.ensure_shape(orientation, ())

    def unusual():
        return tf.cond(orientation > 0, lambda: _turned(_by_tensorflow(content), orientation), by_pillow)

    return tf.cond(tf.equal(orientation, 1), lambda: _by_tensorflow(content), unusual)


def _plain_jpeg(content, max_pixels):
    """Decode a JPEG without EXIF."""
    with tf.control_dependencies([_check_size(tf.image.extract_jpeg_shape(content)[:2], max_pixels)]):
        return _by_tensorflow(tf.identity(content))


def pixels_in_graph(content, max_pixels: int = MAX_PIXELS):
    """Decode a file's content without Python; arguments and result are those of `pixels`.

    It reads JPEG, PNG, GIF, BMP of true colours, and WebP that is no animation and has no EXIF; all else is an error.
    """

    def other():
        size = tf.case(
            [
                (_begins(content, _GIF), lambda: _little(content, 6, 2, 2)),
                (_begins(content, _BMP), lambda: tf.abs(_little(content, 18, 4, 2))),
                (_begins(content, _RIFF), lambda: _webp_size(content)),
            ],
            default=lambda: tf.zeros(2, tf.int32),
        )
        readable = _begins(content, _GIF) | _is_plain_webp(content) | _is_bmp_of_true_colours(content)
        checks = [tf.debugging.Assert(readable, ["an image of a kind that this graph cannot read"])]
        with tf.control_dependencies([*checks, _check_size(size, max_pixels)]):
            checked = tf.identity(content)

        def webp():
            frames = tf.io.decode_webp(checked)  # to ask for three channels would refuse a fourth
            return tf.reshape(frames, tf.shape(frames)[-3:])[..., :3]

        image = tf.cond(
            _begins(content, _RIFF),
            webp,
            lambda: tf.io.decode_image(checked, channels=3, expand_animations=False),
        )
        return tf.ensure_shape(image, (None, None, 3))

    def usual():
        jpeg = _begins(content, _JPEG)
        size = tf.cond(jpeg, lambda: tf.image.extract_jpeg_shape(content)[:2], lambda: _big(content, 16, 4, 2))
        with tf.control_dependencies([_check_size(size, max_pixels)]):
            checked = tf.identity(content)
        orientation = tf.cond(jpeg, lambda: _jpeg_orientation(content), lambda: _png_orientation(content))
        image = _by_tensorflow(checked)
        return tf.cond(orientation > 1, lambda: _turned(image, orientation), lambda: image)

    return tf.cond(_begins(content, _JPEG) | _begins(content, _PNG), usual, other)


# Pillow


def _look(content, max_pixels) -> int:
    """Of an image that TensorFlow decodes the orientation, 1 to 8; of others 0. It raises as `decode` does."""
    image = _open(content, max_pixels)
    if image.format not in BY_TENSORFLOW:
        return 0
    if image.format == "PNG" and b"eXIf" in content:
        image.load()  # it may come after the pixels
    if not (block := image.info.get("exif")):
        return 1
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(block)
        found = exif.get(_ORIENTATION)
    except Exception:  # a broken block may make its reader raise anything, and the picture may be sound
        return 1
    return found if found in range(1, 9) else 1


def _open(content, max_pixels):
    """Read an image's header."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"an image of more pixels than the limit of {max_pixels:,}") from error
    except Image.UnidentifiedImageError as error:
        kind = "a broken image" if is_image(content[:12]) else "not an image"
        raise ValueError(f"{kind} ({READABLE})") from error
    except Exception as error:  # a broken file may make its readers raise anything
        raise ValueError(f"a broken image ({str(error) or type(error).__name__})") from error
    if image.width * image.height > max_pixels:
        raise ValueError(f"an image of {image.width}×{image.height} pixels, more than the limit of {max_pixels:,}")
    return image


def _by_pillow(content, max_pixels):
    from PIL import ImageOps

    image = _open(content, max_pixels)
    if image.mode in ("I", "F"):
        raise ValueError(f"an image of 32 bits a pixel, whose range nothing tells (Pillow's mode {image.mode})")
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            return np.repeat((np.asarray(image) >> 8).astype("uint8")[..., np.newaxis], 3, axis=-1)
        return np.asarray(image.convert("RGB"))
    except Exception as error:  # as above
        raise ValueError(f"a broken image ({str(error) or type(error).__name__})") from error


# TensorFlow


def _by_tensorflow(content):
    """Decode JPEG and PNG, as they lie."""
    return tf.ensure_shape(tf.io.decode_image(content, channels=3, expand_animations=False), (None, None, 3))


def _check_size(size, max_pixels):
    count = tf.reduce_prod(tf.cast(size, tf.int64))
    return tf.debugging.Assert(count <= max_pixels, ["an image of more pixels than the limit", size, max_pixels])


def _turned(image, orientation):
    """What a viewer shows of an image of an EXIF orientation from 2 to 8."""
    orientation = tf.convert_to_tensor(orientation)
    image = tf.cond(orientation > 4, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    image = tf.cond(mirrored, lambda: tf.reverse(image, (1,)), lambda: image)
    return tf.cond(tf.reduce_any(orientation == [3, 4, 7, 8]), lambda: tf.reverse(image, (0,)), lambda: image)


def _jpeg_orientation(content):
    """What the EXIF segment of a JPEG says, 1 if there is none."""
    return tf.cond(_has(content, _EXIF), lambda: _exif_segment(content), lambda: 1)


def _exif_segment(content):
    """The orientation in the EXIF segment of a JPEG."""

    def is_segment(place):  # of those before the image: SOI is not, nor SOS
        return (place + 10 < tf.strings.length(content)) & (_byte(content, place) == 0xFF)

    def is_exif(place):
        return (_byte(content, place + 1) == 0xE1) & (tf.strings.substr(content, place + 4, 6) == _EXIF)

    def goes_on(place):
        before_the_image = is_segment(place)
        return tf.cond(
            before_the_image,
            lambda: ~is_exif(place) & (_byte(content, place + 1) != 0xDA) & (_big(content, place + 2, 2, 1)[0] >= 2),
            lambda: False,
        )

    def next_segment(place):
        return (place + 2 + _big(content, place + 2, 2, 1)[0],)

    (place,) = tf.while_loop(goes_on, next_segment, (tf.constant(2),))
    found = tf.cond(is_segment(place), lambda: is_exif(place), lambda: False)
    return tf.cond(
        found,
        lambda: _tiff_orientation(tf.strings.substr(content, place + 10, _big(content, place + 2, 2, 1)[0] - 8)),
        lambda: 1,
    )


def _png_orientation(content):
    """What the eXIf chunk of a PNG says, 1 if there is none."""
    return tf.cond(_has(content, b"eXIf"), lambda: _exif_chunk(content), lambda: 1)


def _exif_chunk(content):
    """The orientation in the eXIf chunk of a PNG."""

    def length(place):
        return _big(content, place, 4, 1)[0]

    def is_chunk(place):
        return (place >= 8) & (place + 12 <= tf.strings.length(content))

    def is_exif(place):
        return tf.strings.substr(content, place + 4, 4) == b"eXIf"

    def goes_on(place):
        return tf.cond(is_chunk(place), lambda: ~is_exif(place) & (length(place) >= 0), lambda: False)

    (place,) = tf.while_loop(goes_on, lambda place: (place + 12 + length(place),), (tf.constant(8),))
    found = tf.cond(is_chunk(place), lambda: is_exif(place), lambda: False)
    return tf.cond(found, lambda: _tiff_orientation(tf.strings.substr(content, place + 8, length(place))), lambda: 1)


def _tiff_orientation(block):
    """The orientation that the first directory of a TIFF block has, 1 where it has none that there is."""
    size = tf.strings.length(block)

    def number(place, bytes_):
        found = tf.reshape(tf.io.decode_raw(tf.strings.substr(block, place, bytes_), tf.uint8), (bytes_,))
        found = tf.cond(tf.strings.substr(block, 0, 1) == b"I", lambda: found[::-1], lambda: found)
        return _number(found)

    def look():
        directory = number(4, 4)
        there = (directory >= 8) & (directory <= size - 2)
        # As many entries as fit.
        count = tf.cond(there, lambda: tf.minimum(number(directory, 2), (size - directory - 2) // 12), lambda: 0)

        def value(i):
            entry = directory + 2 + 12 * i
            return tf.cond(number(entry, 2) == _ORIENTATION, lambda: number(entry + 8, 2), lambda: 0)

        _, found = tf.while_loop(
            lambda i, found: (i < count) & (found == 0), lambda i, found: (i + 1, value(i)), (tf.constant(0), 0)
        )
        return tf.where((found >= 1) & (found <= 8), found, 1)

    return tf.cond(size >= 14, look, lambda: 1)


def _is_bmp_of_true_colours(content):
    long_enough = tf.strings.length(content) >= 30
    return tf.cond(_begins(content, _BMP) & long_enough, lambda: _little(content, 28, 2, 1)[0] >= 24, lambda: False)


def _webp_size(content):
    """Width and height of a WebP."""
    kind = tf.strings.substr(content, 12, 4)

    def lossless():
        bits = _little(content, 21, 4, 1)[0]
        return tf.stack([bits % 2**14, bits // 2**14 % 2**14]) + 1

    def lossy():
        return _little(content, 26, 2, 2) % 2**14

    def extended():
        return _little(content, 24, 3, 2) + 1

    return tf.case([(kind == b"VP8X", extended), (kind == b"VP8L", lossless)], default=lossy)


def _is_plain_webp(content):
    """Whether it is one picture, and without EXIF, which may say that it is turned."""

    def plain():
        extended = tf.strings.substr(content, 12, 4) == b"VP8X"
        return ~extended | (tf.bitwise.bitwise_and(_byte(content, 20), 0b1010) == 0)

    return tf.cond(_begins(content, _RIFF) & (tf.strings.length(content) >= 30), plain, lambda: False)


# Bytes of a string tensor


def _has(content, word):
    """Whether a word is anywhere: most files have none, and to go through their parts takes long in a graph."""
    return tf.size(tf.strings.split(content, word)) > 1


def _begins(content, beginning):
    return tf.strings.substr(content, 0, len(beginning)) == beginning


def _byte(content, place):
    return tf.cast(tf.io.decode_raw(tf.strings.substr(content, place, 1), tf.uint8)[0], tf.int32)


def _big(content, place, width, count):
    """`count` numbers of `width` bytes each, the highest byte first."""
    found = tf.io.decode_raw(tf.strings.substr(content, place, width * count), tf.uint8)
    return _number(tf.reshape(found, (count, width)))


def _little(content, place, width, count):
    """The same with the lowest byte first."""
    found = tf.io.decode_raw(tf.strings.substr(content, place, width * count), tf.uint8)
    return _number(tf.reshape(found, (count, width))[:, ::-1])


def _number(digits):
    """Numbers of their bytes along the last axis; of four bytes they may be negative."""
    result = tf.zeros(tf.shape(digits)[:-1], tf.int32)
    for digit in tf.unstack(tf.cast(digits, tf.int32), axis=-1):
        result = 256 * result + digit
    return result
