"""Data for training and evaluation."""

from keras_mlp.training.data.pipeline import DEFAULT_PREPROCESSING, Data, find, load

__all__ = ["DEFAULT_PREPROCESSING", "Data", "find", "load"]
