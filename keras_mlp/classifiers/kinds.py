"""The kinds of classifiers, and the activations that they end with."""

EXCLUSIVE, BINARY, MULTI_LABEL = KINDS = ("exclusive", "binary", "multi_label")
ACTIVATIONS = ("softmax", "sigmoid", "linear")

SEGMENTATION = "segmentation"
"""The kind of what classifies each pixel."""
DETECTION = "detection"
"""The kind of what finds things in an image."""
LABEL_MAP = "argmax"
"""The activation of a map that holds the numbers of classes."""
