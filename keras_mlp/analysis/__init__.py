"""What models cost, what reaches what in them, and what they learnt."""

from keras_mlp.analysis.attribution import grad_cam, occlusion, plot_attribution
from keras_mlp.analysis.complexity import Complexity, complexity, plot_complexity
from keras_mlp.analysis.cost import Cost, cost
from keras_mlp.analysis.cost_and_score import Model, plot_costs, published
from keras_mlp.analysis.mixing import mixings, plot_token_mixing
from keras_mlp.analysis.receptive_field import (
    Field,
    effective_receptive_field,
    plot_receptive_fields,
    receptive_field,
)
from keras_mlp.analysis.resolution import AtSize, plot_resolution, resolution
from keras_mlp.analysis.robustness import Step, changed, plot_robustness, robustness
from keras_mlp.analysis.sharing import Sharing, sharing
from keras_mlp.analysis.similarity import Similarity, plot_similarity, similarity
from keras_mlp.analysis.survey import Row, survey

__all__ = [
    "AtSize",
    "Complexity",
    "Cost",
    "Field",
    "Model",
    "Row",
    "Sharing",
    "Similarity",
    "Step",
    "changed",
    "complexity",
    "cost",
    "effective_receptive_field",
    "grad_cam",
    "mixings",
    "occlusion",
    "plot_attribution",
    "plot_complexity",
    "plot_costs",
    "plot_receptive_fields",
    "plot_resolution",
    "plot_robustness",
    "plot_similarity",
    "plot_token_mixing",
    "published",
    "receptive_field",
    "resolution",
    "robustness",
    "sharing",
    "similarity",
    "survey",
]
