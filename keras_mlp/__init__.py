"""Vision MLPs for Keras: `keras.applications` for every vision-MLP family."""

from keras_mlp.checkpoints.load import load_checkpoint, save_checkpoint
from keras_mlp.checkpoints.resample import resize
from keras_mlp.families.dyna_mixer import DynaMixer, DynaMixerL, DynaMixerM, DynaMixerS
from keras_mlp.families.g_mlp import GMLP, GMLPB16, GMLPS16, GMLPTi16
from keras_mlp.families.mlp_mixer import (
    MLPMixer,
    MLPMixerB16,
    MLPMixerB32,
    MLPMixerH14,
    MLPMixerL16,
    MLPMixerL32,
    MLPMixerS16,
    MLPMixerS32,
)
from keras_mlp.families.raft_mlp import RaftMLP, RaftMLPL, RaftMLPM, RaftMLPS
from keras_mlp.families.res_mlp import ResMLP, ResMLP12, ResMLP24, ResMLP36, ResMLPB24
from keras_mlp.families.smlp import SMLPNet, SMLPNetB, SMLPNetS, SMLPNetT
from keras_mlp.families.spach import (
    SPACH,
    SPACHMLPMSS,
    SPACHMLPMSXS,
    SPACHMLPMSXXS,
    SPACHMLPS,
    SPACHMLPXS,
    SPACHMLPXXS,
    SPACHConvMSS,
    SPACHConvMSXS,
    SPACHConvMSXXS,
    SPACHConvS,
    SPACHConvXS,
    SPACHConvXXS,
    SPACHHybridMSS,
    SPACHHybridMSSPlus,
    SPACHHybridMSXS,
    SPACHTransMSS,
    SPACHTransMSXS,
    SPACHTransMSXXS,
    SPACHTransS,
    SPACHTransXS,
    SPACHTransXXS,
)
from keras_mlp.families.vip import ViP, ViPLarge7, ViPMedium7, ViPSmall7, ViPSmall14
from keras_mlp.labels import decode_predictions
from keras_mlp.pyramid import feature_pyramid
from keras_mlp.training import recipes as _recipes  # noqa: F401 (registers what compiled models are saved with)
from keras_mlp.zoo import create_model, list_models, model_card

__version__ = "0.1.0"

__all__ = [
    "RaftMLP",
    "RaftMLPL",
    "RaftMLPM",
    "RaftMLPS",
    "SPACH",
    "SPACHMLPXXS",
    "SPACHConvXXS",
    "SPACHTransXXS",
    "SPACHMLPXS",
    "SPACHConvXS",
    "SPACHTransXS",
    "SPACHMLPS",
    "SPACHConvS",
    "SPACHTransS",
    "SPACHMLPMSXXS",
    "SPACHConvMSXXS",
    "SPACHTransMSXXS",
    "SPACHMLPMSXS",
    "SPACHConvMSXS",
    "SPACHTransMSXS",
    "SPACHHybridMSXS",
    "SPACHMLPMSS",
    "SPACHConvMSS",
    "SPACHTransMSS",
    "SPACHHybridMSS",
    "SPACHHybridMSSPlus",
    "DynaMixer",
    "DynaMixerL",
    "DynaMixerM",
    "DynaMixerS",
    "GMLP",
    "GMLPB16",
    "GMLPS16",
    "GMLPTi16",
    "MLPMixer",
    "MLPMixerB16",
    "MLPMixerB32",
    "MLPMixerH14",
    "MLPMixerL16",
    "MLPMixerL32",
    "MLPMixerS16",
    "MLPMixerS32",
    "ResMLP",
    "ResMLP12",
    "ResMLP24",
    "ResMLP36",
    "ResMLPB24",
    "SMLPNet",
    "SMLPNetB",
    "SMLPNetS",
    "SMLPNetT",
    "ViP",
    "ViPLarge7",
    "ViPMedium7",
    "ViPSmall14",
    "ViPSmall7",
    "create_model",
    "decode_predictions",
    "feature_pyramid",
    "list_models",
    "load_checkpoint",
    "model_card",
    "resize",
    "save_checkpoint",
]
