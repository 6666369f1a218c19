"""Images and videos that cannot be decoded: found while they are read, left out, counted and named."""

import contextlib
import dataclasses
import math
import re
import threading
from collections.abc import Callable

from keras_mlp.training.data.source import Source, no_reason


@dataclasses.dataclass
class Broken:
    """The broken images that were found so far.

    Args:
        examples: how many images there are.
        share: of them that may be broken; at least one may, unless it is 0.
        name: from an image's number to what a person may call it.
        reason: from an image's number to why it cannot be read, empty where that is not known.
        numbers: of those that were found.
        things: what the examples are called.
    """

    examples: int
    share: float
    name: Callable[[int], str]
    reason: Callable[[int], str] = no_reason
    numbers: set[int] = dataclasses.field(default_factory=set)
    things: str = "images"

    def __post_init__(self):
        self._lock = threading.Lock()

    def __len__(self):
        return len(self.numbers)

    def __str__(self):
        shown = [self.name(number) for number in sorted(self.numbers)[:20]]
        more = f" and {len(self) - len(shown)} more" if len(self) > len(shown) else ""
        return f"{len(self)} of {self.examples} {self.things} cannot be read: {', '.join(shown)}{more}"

    def reasons(self) -> list[str]:
        """Why the first of them cannot be read, a line each."""
        found = ((self.name(number), self.reason(number)) for number in sorted(self.numbers)[:20])
        return [f"{name}: {reason}" for name, reason in found if reason]

    def add(self, number):
        """Note an image, from any thread."""
        with self._lock:
            self.numbers.add(int(number))

    def check(self):
        """Refuse too many.

        Raises:
            ValueError: there are more than may be; it names them.
        """
        if len(self) > (limit := math.ceil(self.share * self.examples)):
            raise ValueError(f"{self}. At most {limit} may be broken; mend or remove them, or allow more.")


def reader(source: Source, broken: Broken, max_pixels: int):
    """Return how to come from an example to its pixels, in tf.data.

    Args:
        source: where the examples come from.
        broken: what is told of those that cannot be decoded.
        max_pixels: how many pixels an image may have.

    Returns:
        A function of `(number, encoded, label)` and, if need be, of those of another example that takes its place, to
        `(pixels, label, encoded)`. If neither can be decoded, the pixels are black, the label is -1, and `encoded` is
        empty. In training it is given a `seed`, too, by which clips of videos are drawn.
    """
    import tensorflow as tf

    def read(*examples, seed=None):
        def pixels(number, encoded, label):
            return source.pixels(encoded, max_pixels, seed), label, encoded, number

        if source.sound:
            return pixels(*examples[:3])[:3]
        # Nothing else in tf.data outlives an operation that fails.
        candidates = tf.data.Dataset.from_tensors(examples[:3])
        for i in range(3, len(examples), 3):
            candidates = candidates.concatenate(tf.data.Dataset.from_tensors(examples[i : i + 3]))
        found = candidates.map(pixels)
        spec, unknown = found.element_spec, tf.constant(-1, tf.int64)
        black = tf.zeros([side or 1 for side in spec[0].shape], spec[0].dtype)
        empty = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), spec[2])
        none = tf.data.Dataset.from_tensors((black, unknown, empty, unknown))
        found = found.ignore_errors().concatenate(none).take(1)
        image, label, encoded, number = found.get_single_element()
        told = tf.cond(number == examples[0], lambda: True, lambda: tell(examples[0]))
        with tf.control_dependencies([told]):
            return tf.identity(image), label, encoded

    def tell(number):
        def add(number):
            broken.add(number)
            return True

        return tf.ensure_shape(tf.numpy_function(add, [number], tf.bool), ())

    return read


@contextlib.contextmanager
def in_plain_words():
    """Raise what Python code in tf.data refused as it said it, in place of TensorFlow's error with its traceback.

    Raises:
        ValueError: that.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        if said := re.search(r"ValueError: (.*?)\n\s*Traceback \(most recent call last\)", error.message, re.DOTALL):
            raise ValueError(said[1].strip()) from error
        raise
