"""Layers whose weights are tied to the positions of a grid, and so to one input size."""

from keras_mlp.layers.composite import Composite
from keras_mlp.layers.sizes import check_known


class GridLayer(Composite):
    """Base of the layers that have weights for every position of their input's grid.

    Such a layer works at one height and width only. It says which axes of which of its weights run over the grid, so
    that `keras_mlp.resize` and `load_checkpoint` can resample them to another grid (`checkpoints/resample.py`).

    Attributes:
        grid: `(height, width)` of the input that the layer was built for; of a video, `(frames, height, width)`. A
            layer whose positions are those of something else says so by `grid_of`.
        takes_videos: whether the input may be a video.
        follows_input: whether the grid grows with the model's input. Where it does not, the size of the images that a
            checkpoint was trained on says nothing of its grid.
        grid_axes: `{path of a weight inside the layer: what each of its axes runs over}`, where an axis is "in" (the
            grid's positions as input), "out" (the positions as output), "height in", "height out", "width in" or
            "width out" (the positions of one side), "embedding" (the positions, of vectors that are interpolated),
            "height spectrum" or "half width spectrum" (the frequencies of one side, of the width those up to half of
            it), "offsets embedding" (the offsets between two positions, `2 n - 1` of a side of `n`, of vectors that
            are interpolated), "distances embedding" (the same without their signs, `n` of a side of `n`), "reduced
            embedding" (the positions of the grid whose sides are `reduction` times shorter), or `None` (something
            else). Before "embedding" may stand "image" (the positions of one frame) or one side, "frames", "height" or
            "width", or what lies along it, as "height offsets". "linear" in place of "embedding" interpolates the
            vectors linearly and not by cubic convolution, "corners" linearly with the outer positions on each other. An
            axis may be longer than the positions by a factor, where each position has several numbers, one after the
            other.
        in_front: how many tokens stand before the positions on each axis that runs over the grid, such as one class
            token. What belongs to them does not depend on the grid.
        reduction: how many positions of a side of the grid are one of the reduced grid, such as that of attention's
            keys.
    """

    grid_axes: dict[str, tuple[str | None, ...]] = {}
    in_front = 0
    reduction = 1
    takes_videos = False
    follows_input = True

    def build(self, input_shape):
        self.grid = self.grid_of(input_shape)
        super().build(input_shape)

    def grid_of(self, input_shape) -> tuple[int, ...]:
        """The grid for an input: its height and width, unless a layer has the positions of something else."""
        reason = f"{self.__class__.__name__} mixes the positions of a fixed grid"
        check_known(input_shape, reason, self.takes_videos)
        return tuple(input_shape[1:-1])
