"""Where the pixels of a changed image come from: drawn once, and the same for the image, its masks and its boxes.

An image has pixels `(height, width, channels)`. In its place may be the frames of a clip, `(frames, height, width,
channels)`, which are then all changed alike. A mask `(height, width, any)`, integers or floats, says something of
each pixel; it is never blended, since the mean of two classes is a third one. Boxes `(any, 4)` are left, top, right and
bottom in pixels, where the first pixel is from 0 to 1.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_mlp.training.data.images import resize

GREY = 128.0  # what is shown where a picture is moved out of sight
VOID = 255  # and what a mask has there: the usual mark of pixels that are of no class
MASKS, BOXES = "masks", "boxes"
"""The targets that follow the image; others stay as they are."""
ANNOTATED = "annotated_size"
"""The target that says the height and width of the image on which the others were drawn."""


class Geometry:
    """A change of an image, and of what has a place in it. This one changes nothing."""

    def image(self, image):
        """Return the changed image, float pixels."""
        return image

    def mask(self, mask):
        """Return what a mask of the image is of the changed one."""
        return mask

    def boxes(self, boxes):
        """Return where things in boxes are in the changed image, as far as they are in sight.

        What is out of sight has a box of no width or height.
        """
        return boxes

    def targets(self, targets: dict) -> dict:
        """Return targets of the changed image: `MASKS` and `BOXES` follow it."""
        follow = {MASKS: self.mask, BOXES: self.boxes}
        return {name: follow[name](value) if name in follow else value for name, value in targets.items()}


class Steps(Geometry):
    """Changes one after the other.

    Args:
        steps: the changes.
    """

    def __init__(self, *steps: Geometry):
        self.steps = steps

    def image(self, image):
        for step in self.steps:
            image = step.image(image)
        return image

    def mask(self, mask):
        for step in self.steps:
            mask = step.mask(mask)
        return mask

    def boxes(self, boxes):
        for step in self.steps:
            boxes = step.boxes(boxes)
        return boxes


class Resize(Geometry):
    """Another size.

    Args:
        whole: height and width before.
        size: height and width after.
        interpolation: "bilinear" or "bicubic", for the image.
        wanted: a boolean tensor, if it is not always done.
    """

    def __init__(self, whole, size, interpolation: str, wanted=None):
        self.whole = whole
        self.size = size
        self.interpolation = interpolation
        self.wanted = wanted

    def image(self, image):
        return self._perhaps(lambda: resize(image, self.size, self.interpolation), image)

    def mask(self, mask):
        return self._perhaps(lambda: tf.image.resize(mask, self.size, "nearest"), mask)

    def boxes(self, boxes):
        scale = tf.cast(self.size, tf.float32) / tf.cast(self.whole, tf.float32)
        return self._perhaps(lambda: boxes * _twice(scale), boxes)

    def _perhaps(self, changed, before):
        return changed() if self.wanted is None else tf.cond(self.wanted, changed, lambda: before)


class Cut(Geometry):
    """A part.

    Args:
        begin: top and left of the part.
        size: its height and width.
    """

    def __init__(self, begin, size):
        self.begin = begin
        self.size = size

    def image(self, image):
        before = image.shape.rank - 3
        begin, extent = [0] * before + tf.unstack(self.begin, 2), [-1] * before + tf.unstack(self.size, 2)
        part = tf.slice(image, [*begin, 0], [*extent, -1])
        size = (None, None) if tf.is_tensor(self.size) else self.size
        return tf.ensure_shape(part, (*image.shape[:-3], *size, image.shape[-1]))

    def mask(self, mask):
        return self.image(mask)

    def boxes(self, boxes):
        return _in_sight(boxes - _twice(tf.cast(self.begin, tf.float32)), self.size)


class Pad(Geometry):
    """Grey below and on the right, and void in masks, up to a size.

    Args:
        whole: height and width before.
        size: height and width that the result has at least.
    """

    def __init__(self, whole, size):
        self.missing = tf.maximum(size - whole, 0)

    def image(self, image):
        return self._padded(image, GREY)

    def mask(self, mask):
        return self._padded(mask, VOID)

    def _padded(self, pixels, filling):
        height, width = tf.unstack(self.missing)
        return tf.pad(pixels, [[0, height], [0, width], [0, 0]], constant_values=tf.cast(filling, pixels.dtype))


class Mirror(Geometry):
    """Left becomes right.

    Args:
        width: of the image.
        wanted: a boolean tensor.
    """

    def __init__(self, width: int, wanted):
        self.width = width
        self.wanted = wanted

    def image(self, image):
        return tf.cond(self.wanted, lambda: tf.reverse(image, [-2]), lambda: image)

    def mask(self, mask):
        return self.image(mask)

    def boxes(self, boxes):
        left, top, right, bottom = tf.unstack(boxes, axis=-1)
        mirrored = tf.stack([self.width - right, top, self.width - left, bottom], -1)
        return tf.where(self.wanted, mirrored, boxes)


class Move(Geometry):
    """An affine map within the image: it is turned, sheared or shifted.

    Args:
        size: height and width.
        coefficients: six numbers. The pixel at (x, y) of the result is that at (a x + b y + c, d x + e y + f) of the
            image, both counted from the middle of the first one.
    """

    def __init__(self, size, coefficients):
        self.size = size
        self.coefficients = coefficients

    def image(self, image):
        return self._moved(image, "BILINEAR", GREY)

    def mask(self, mask):
        return self._moved(mask, "NEAREST", VOID)

    def boxes(self, boxes):
        a, b, c, d, e, f = self.coefficients
        left, top, right, bottom = tf.unstack(boxes, axis=-1)
        x = tf.stack([left, right, left, right]) - 0.5 - c
        y = tf.stack([top, top, bottom, bottom]) - 0.5 - f
        area = a * e - b * d
        x, y = (e * x - b * y) / area + 0.5, (a * y - d * x) / area + 0.5
        corners = [reduce(side, 0) for reduce in (tf.reduce_min, tf.reduce_max) for side in (x, y)]
        seen = tf.cast((right > left) & (bottom > top), tf.float32)[:, tf.newaxis]  # turned, no width would become one
        return _in_sight(tf.stack(corners, -1), self.size) * seen

    def _moved(self, pixels, interpolation, filling):
        is_one = pixels.shape.rank == 3
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.expand_dims(pixels, 0) if is_one else pixels,
            transforms=[[*self.coefficients, 0.0, 0.0]],
            output_shape=self.size,
            interpolation=interpolation,
            fill_mode="CONSTANT",
            fill_value=filling,
        )
        return tf.squeeze(moved, 0) if is_one else moved


def _twice(sides):
    """(y, x) as (x, y, x, y)."""
    return tf.tile(tf.reverse(sides, [0]), [2])


def _in_sight(boxes, size):
    """What of boxes is in an image of this size."""
    return tf.clip_by_value(boxes, 0.0, _twice(tf.cast(size, tf.float32)))


def checked(targets: dict, image, label, name: Callable[[int], str]) -> dict:
    """Return the targets of an image, in tf.data.

    Masks of another size than the image's are an error when the data are read, and so are annotations.

    Args:
        targets: the targets.
        image: the image, as it was decoded.
        label: the example's number.
        name: from a number to what a person may call the example.
    """
    checks = [_same_size(value, image, label, name, key) for key, value in targets.items() if key in _SIZED]
    with tf.control_dependencies(checks):
        return {name: tf.identity(value) for name, value in targets.items()}


_SIZED = {MASKS: "A mask", ANNOTATED: "The image of annotations"}


def _same_size(value, image, label, name, key):
    def refuse(label, size, image):
        raise ValueError(of_another_size(name(int(label)), size, image, _SIZED[key]))

    sizes = tf.shape(value)[:2] if key == MASKS else value, tf.shape(image)[:2]
    same = tf.reduce_all(sizes[0] == sizes[1])
    return tf.cond(same, lambda: True, lambda: tf.numpy_function(refuse, [label, *sizes], tf.bool))


def of_another_size(name: str, size, image, what: str = _SIZED[MASKS]) -> str:
    """What is wrong with a mask of another height and width than its image's, of the example called `name`."""
    size, image = (" × ".join(map(str, one)) for one in (size, image))
    return f"{what} should be as high and wide as the image. The one of {name} has {size} pixels, the image {image}."
