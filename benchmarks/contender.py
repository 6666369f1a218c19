"""What is measured: one model, run by one library in one way."""

import dataclasses

# By task, how often the multiply-adds of the forward pass are done: a training step has two more products of the same
# size for each.
PASSES = {"inference": 1, "training": 3}


@dataclasses.dataclass(frozen=True)
class Contender:
    """One process of a benchmark.

    Args:
        task: "inference" or "training".
        model: name in the zoo, e.g. "mlp_mixer_b16".
        who: "keras_mlp", or "keras_mlp_segmenter" or "keras_mlp_detector" for one on that backbone; a peer: "timm",
            "kecam", "zeromodels", "keras_applications", "torchvision", "mmsegmentation", "mmdetection"; or a library
            whose matrix product is the measure: "tensorflow", "torch".
        form: how it runs: one of `keras_mlp.export.forms`; of peers "graph", "xla", "eager", "compiled", or
            "compiled_frozen" for `torch.compile` with weights as constants; "matmul" for a matrix product.
        precision: "float32", "bfloat16" or, of ours in some forms, "int8".
        image_size: height and width in pixels, or `None` for the model's own.
        threads: threads, and cores, it may use.
        remat: whether the hidden layers of MLPs are computed anew in the backward pass.
        part: of a segmenter "whole", "backbone" or "head"; of a detector as `benchmarks.detectors.PARTS` has it; of
            others "".
        head: of a detector "mask_rcnn" or "retina_net"; of others "".
        device: "cpu" or "gpu".
    """

    task: str
    model: str
    who: str
    form: str
    precision: str
    image_size: int | None
    threads: int
    remat: bool = False
    part: str = ""
    head: str = ""
    device: str = "cpu"

    def __str__(self):
        return f"{self.who} {self.form} {self.precision}"


class Unavailable(Exception):
    """The contender cannot take part here: its library is not installed, or does not have the model."""
