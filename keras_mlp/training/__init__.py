"""Training: recipes, data, `fit` and `evaluate`."""
