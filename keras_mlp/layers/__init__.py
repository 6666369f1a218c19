"""Building blocks that families share."""

from keras_mlp.layers.activations import Activation, GatedLinearUnit, gelu, gelu_tanh
from keras_mlp.layers.attention import MapAttention, RelativeAttention, SelfAttention, attend, split_heads
from keras_mlp.layers.bicubic import BicubicResize
from keras_mlp.layers.channel_mixing import channel_mlp
from keras_mlp.layers.composite import Composite
from keras_mlp.layers.dense import Dense
from keras_mlp.layers.depthwise import DepthwiseConv2D
from keras_mlp.layers.global_filter import GlobalFilter, filtered, spectrum
from keras_mlp.layers.grid import GridLayer
from keras_mlp.layers.held_product import HeldProduct
from keras_mlp.layers.joined_convolution import JoinedConv2D
from keras_mlp.layers.normalization import MAP_NORMS, LayerNormalization, batch_norm, image_norm, layer_norm, norm_named
from keras_mlp.layers.patch_embedding import PatchEmbedding
from keras_mlp.layers.pooling import PaddedMaxPooling
from keras_mlp.layers.position_embedding import PositionEmbedding
from keras_mlp.layers.products import short_sum, stacked_product
from keras_mlp.layers.relative_positions import by_pair, relative_bias
from keras_mlp.layers.residual import drop_path_rates, residual, stochastic_depth
from keras_mlp.layers.resizing import AdaptiveAveragePooling, Resize, resized
from keras_mlp.layers.scaling import TOKEN_NORMS, Affine, LayerScale, Rescaling
from keras_mlp.layers.shifts import AxialShift, CycleShift, PixelShift
from keras_mlp.layers.split_attention import SplitAttention, axial_branches
from keras_mlp.layers.stages import mixing_block, overlapping_patches, padded_conv, stages, whole_patches
from keras_mlp.layers.token_mixing import AxisDense, TokenDense, TokenMLP
from keras_mlp.layers.token_sequence import SequenceSplit, SequenceToMap, TokenSequence
from keras_mlp.layers.windows import WindowMerge, WindowPartition

__all__ = [
    "AdaptiveAveragePooling",
    "Resize",
    "resized",
    "MAP_NORMS",
    "TOKEN_NORMS",
    "Activation",
    "Affine",
    "AxialShift",
    "AxisDense",
    "BicubicResize",
    "Composite",
    "CycleShift",
    "Dense",
    "DepthwiseConv2D",
    "GatedLinearUnit",
    "GlobalFilter",
    "GridLayer",
    "HeldProduct",
    "JoinedConv2D",
    "LayerNormalization",
    "LayerScale",
    "MapAttention",
    "PaddedMaxPooling",
    "PatchEmbedding",
    "PixelShift",
    "PositionEmbedding",
    "RelativeAttention",
    "Rescaling",
    "SelfAttention",
    "SequenceSplit",
    "SequenceToMap",
    "SplitAttention",
    "TokenDense",
    "TokenMLP",
    "TokenSequence",
    "WindowMerge",
    "WindowPartition",
    "attend",
    "axial_branches",
    "batch_norm",
    "by_pair",
    "channel_mlp",
    "drop_path_rates",
    "filtered",
    "gelu",
    "gelu_tanh",
    "image_norm",
    "layer_norm",
    "mixing_block",
    "norm_named",
    "overlapping_patches",
    "padded_conv",
    "relative_bias",
    "residual",
    "short_sum",
    "spectrum",
    "split_heads",
    "stacked_product",
    "stages",
    "stochastic_depth",
    "whole_patches",
]
