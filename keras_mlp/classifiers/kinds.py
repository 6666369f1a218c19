"""The kinds of classifiers, and the activations that they end with."""

KINDS = ("exclusive", "binary", "multi_label")
"""Kinds of classifiers, by how many of their classes can be true of an image."""
EXCLUSIVE, BINARY, MULTI_LABEL = KINDS
"""One class is true of an image; two classes with one score; each class is true or not, whatever the others are."""
ACTIVATIONS = ("softmax", "sigmoid", "linear")
"""What a classifier ends with."""
SEGMENTATION = "segmentation"
"""The kind of what classifies each pixel."""
DETECTION = "detection"
"""The kind of what finds things in an image."""
LABEL_MAP = "argmax"
"""The activation of a map that holds the numbers of classes."""
