"""What models cost and what they learnt."""

from keras_mlp.analysis.cost import Cost, cost

__all__ = ["Cost", "cost"]
