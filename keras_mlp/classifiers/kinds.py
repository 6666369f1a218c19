"""The kinds of classifiers, and the activations that they end with."""

EXCLUSIVE, BINARY, MULTI_LABEL = KINDS = ("exclusive", "binary", "multi_label")
ACTIVATIONS = ("softmax", "sigmoid", "linear")
