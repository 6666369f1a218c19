"""The precisions of exported files, in one table: what is stored in which form, and what that may cost.

Nothing is imported here, so that the commands can tell of them before Keras is.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limit:
    """How far a file may be from its model, in the units of `keras_mlp.export.Verification`.

    Args:
        max_difference: largest difference allowed.
        agreement: smallest agreement allowed.
    """

    max_difference: float
    agreement: float

    def admits(self, found) -> bool:
        """Whether a `Verification` is within the limit; a difference that is not a number never is."""
        near = found.max_difference is None or found.max_difference <= self.max_difference
        return near and (found.agreement is None or found.agreement >= self.agreement)


@dataclasses.dataclass(frozen=True)
class Precision:
    """One of them.

    Args:
        name: what `precision=` calls it.
        weights: what the file's weights are.
        activations: what is handed from operator to operator.
        limit: how far a file may be from its model.
        told: what is special about it, in words that follow its name.
        kernels: of TensorFlow's `tf.lite.OpsSet`, the member with the integer kernels it needs; `None` for none.
        usual: whether the demo and the benchmarks have it. One for which CPUs have no fast kernels is not.
    """

    name: str
    weights: str
    activations: str
    limit: Limit
    told: str = ""
    kernels: str | None = None
    usual: bool = True

    @property
    def calibrated(self) -> bool:
        """Whether the ranges of its activations are measured on images."""
        return self.activations.startswith("int")

    @property
    def rounded(self) -> bool:
        """Whether its weights are integers, with scales beside them."""
        return self.weights.startswith("int")


# float32 differs by the order of its sums alone. Eight bits move single outputs far, most of all probabilities near a
# tie, so there it is the agreement that tells a good file from a broken one.
_TABLE = (
    Precision("float32", weights="float32", activations="float32", limit=Limit(1e-4, agreement=0.99)),
    Precision("float16", weights="float16", activations="float32", limit=Limit(3e-2, agreement=0.98)),
    Precision(
        "dynamic_int8",
        weights="int8",
        activations="float32",
        limit=Limit(1.0, agreement=0.9),
        told="has weights in eight bits",
    ),
    Precision(
        "int8",
        weights="int8",
        activations="int8",
        limit=Limit(2.0, agreement=0.8),
        told="weights and activations",
        kernels="TFLITE_BUILTINS_INT8",
    ),
    Precision(
        "int16x8",
        weights="int8",
        activations="int16",
        limit=Limit(0.5, agreement=0.95),
        told="activations in sixteen",
        kernels="EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
        usual=False,
    ),
)

PRECISIONS = {precision.name: precision for precision in _TABLE}
"""All precisions by name, in the order of their bits."""

NAMES = tuple(PRECISIONS)
"""What a precision is called, in the order of their bits."""

LIMITS = {name: precision.limit for name, precision in PRECISIONS.items()}
"""How far a file of each precision may be from the model; see `Limit`."""

INPUT_DTYPES = ("float32", "uint8", "int8")
"""What a file may take; "int8" goes with that precision only."""

CALIBRATED = tuple(name for name, precision in PRECISIONS.items() if precision.calibrated)
"""Those that need images like those the file will see."""

USUAL = tuple(name for name, precision in PRECISIONS.items() if precision.usual)
"""Those that the demo and the benchmarks have."""
