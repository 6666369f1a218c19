"""The protocol that layers answer for pictures of what they mix positions with (`keras_mlp.analysis.mixings`).

The analysis knows no layer. It asks a layer the questions below, and the layer's own file answers them. A layer that
does not answer is not drawn.

    question    what the answer means
    weights     what the layer has learnt, whatever the image is
    made        what the layer makes of one image, such as an attention map

**A new layer** registers, below its class and in the same file, a function for the question that it has an answer to:

    @showing.weights.answer(MyMixing)
    def _matrix(layer):
        return showing.Pictures("the weight of every position for one position", showing.array(layer.kernel))

As in `layers/fusing.py`, an answer holds for exactly the class that it was registered for, and for those that say
`fusing.as_base`.
"""

import dataclasses

import keras
import numpy as np

from keras_mlp.layers.fusing import Question


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What a layer shows.

    Attributes:
        caption: what one of the pictures is, in a few words.
        values: `(n, rows, columns)`, at least one picture.
        ranked: whether they are sorted, the largest first; else each counts the same.
    """

    caption: str
    values: np.ndarray
    ranked: bool = False

    def some(self, count: int) -> np.ndarray:
        """`count` of the pictures, or all if there are fewer: the first if they are ranked, else evenly spaced ones."""
        if self.ranked or len(self.values) <= count:
            return self.values[:count]
        return self.values[(np.arange(count) + 0.5).astype(int) * len(self.values) // count]


weights = Question("(layer) -> `Pictures`")
made = Question("(layer, what it is called with for one image) -> `Pictures`")


def array(tensor) -> np.ndarray:
    """A tensor or variable of any precision as float32."""
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def largest_first(caption: str, values: np.ndarray) -> Pictures:
    """Pictures sorted by their Euclidean norm."""
    norms = np.linalg.norm(values.reshape(len(values), -1), axis=1)
    return Pictures(caption, values[np.argsort(-norms, kind="stable")], ranked=True)


@weights.answer(keras.layers.DepthwiseConv2D)
def _windows(layer):
    if layer.data_format != "channels_last" or max(layer.kernel_size) == 1:
        return None
    kernel = array(layer.kernel)
    return largest_first("the window of one channel", np.moveaxis(kernel.reshape(*kernel.shape[:2], -1), -1, 0))
