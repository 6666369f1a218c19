"""Vision MLPs for Keras: `keras.applications` for every vision-MLP family."""

from keras_mlp import binary, tasks, zoo
from keras_mlp.checkpoints.inflation import inflate
from keras_mlp.checkpoints.load import load_checkpoint, save_checkpoint
from keras_mlp.checkpoints.resample import resize
from keras_mlp.export.freezing import fast
from keras_mlp.families.active_mlp import *
from keras_mlp.families.as_mlp import *
from keras_mlp.families.bimlp import *
from keras_mlp.families.ccs_mlp import *
from keras_mlp.families.cmt import *
from keras_mlp.families.conv_mixer import *
from keras_mlp.families.conv_mlp import *
from keras_mlp.families.convnext import *
from keras_mlp.families.cycle_mlp import *
from keras_mlp.families.deit import *
from keras_mlp.families.dyna_mixer import *
from keras_mlp.families.dynamic_vit import *
from keras_mlp.families.feed_forward import *
from keras_mlp.families.g_mlp import *
from keras_mlp.families.gc_vit import *
from keras_mlp.families.gfnet import *
from keras_mlp.families.hat_net import *
from keras_mlp.families.hire_mlp import *
from keras_mlp.families.hornet import *
from keras_mlp.families.levit import *
from keras_mlp.families.lit import *
from keras_mlp.families.mlp_mixer import *
from keras_mlp.families.morph_mlp import *
from keras_mlp.families.ms_mlp import *
from keras_mlp.families.mvit import *
from keras_mlp.families.pool_former import *
from keras_mlp.families.posmlp import *
from keras_mlp.families.raft_mlp import *
from keras_mlp.families.repmlpnet import *
from keras_mlp.families.res_mlp import *
from keras_mlp.families.s2_mlp import *
from keras_mlp.families.sequencer2d import *
from keras_mlp.families.shift_vit import *
from keras_mlp.families.smlp import *
from keras_mlp.families.spach import *
from keras_mlp.families.sparse_mlp import *
from keras_mlp.families.swat import *
from keras_mlp.families.vip import *
from keras_mlp.families.vit import *
from keras_mlp.families.wave_mlp import *
from keras_mlp.features import features
from keras_mlp.fusion import fuse
from keras_mlp.heads import replace_head
from keras_mlp.labels import decode_predictions
from keras_mlp.lora import enable_lora, merge_lora
from keras_mlp.publishing import push_to_hub
from keras_mlp.pyramid import feature_pyramid
from keras_mlp.training import recipes as _recipes  # noqa: F401 (registers what compiled models are saved with)
from keras_mlp.zoo import create_model, list_models, model_card, preprocess_input

__version__ = "0.1.0"

__all__ = [
    *zoo.BUILDERS,
    "binary",
    "create_model",
    "decode_predictions",
    "enable_lora",
    "fast",
    "feature_pyramid",
    "features",
    "fuse",
    "inflate",
    "list_models",
    "load_checkpoint",
    "merge_lora",
    "model_card",
    "preprocess_input",
    "push_to_hub",
    "replace_head",
    "resize",
    "save_checkpoint",
    "tasks",
]
