"""How each library makes a model ready: `contender -> (batch size -> step)`, a step being one batch, to its end.

All compute the same: logits, without preprocessing.
"""

import atexit
import importlib.util
import operator
import pathlib
import shutil
import tempfile

import numpy as np

from benchmarks import detectors, on_jax, on_tensorflow, on_torch, segmenters
from benchmarks.contender import Unavailable

# Where the peers have our models: timm's and torchvision's name, the builder in keras_cv_attention_models, the class in
# zeromodels whose default configuration is the model, and the builder in keras.applications.
PEERS = {
    "mlp_mixer_s32": {"timm": "mixer_s32_224", "kecam": "mlp_mixer.MLPMixerS32"},
    "mlp_mixer_s16": {"timm": "mixer_s16_224", "kecam": "mlp_mixer.MLPMixerS16"},
    "mlp_mixer_b32": {"timm": "mixer_b32_224", "kecam": "mlp_mixer.MLPMixerB32"},
    "mlp_mixer_b16": {"timm": "mixer_b16_224", "kecam": "mlp_mixer.MLPMixerB16", "zeromodels": "mlp_mixer.MLPMixer"},
    "mlp_mixer_l32": {"timm": "mixer_l32_224", "kecam": "mlp_mixer.MLPMixerL32"},
    "mlp_mixer_l16": {"timm": "mixer_l16_224", "kecam": "mlp_mixer.MLPMixerL16"},
    "mlp_mixer_h14": {"kecam": "mlp_mixer.MLPMixerH14"},
    "res_mlp_12": {"timm": "resmlp_12_224", "kecam": "mlp_family.ResMLP12", "zeromodels": "resmlp.ResMLP"},
    "res_mlp_24": {"timm": "resmlp_24_224", "kecam": "mlp_family.ResMLP24"},
    "res_mlp_36": {"timm": "resmlp_36_224", "kecam": "mlp_family.ResMLP36"},
    "res_mlp_b24": {"timm": "resmlp_big_24_224", "kecam": "mlp_family.ResMLP_B24"},
    "g_mlp_ti16": {"timm": "gmlp_ti16_224", "kecam": "mlp_family.GMLPTiny16"},
    "g_mlp_s16": {"timm": "gmlp_s16_224", "kecam": "mlp_family.GMLPS16"},
    "g_mlp_b16": {"timm": "gmlp_b16_224", "kecam": "mlp_family.GMLPB16"},
    "vit_ti16": {"timm": "vit_tiny_patch16_224"},
    "vit_s32": {"timm": "vit_small_patch32_224"},
    "vit_s16": {"timm": "vit_small_patch16_224"},
    "vit_b32": {"timm": "vit_base_patch32_224"},
    "vit_b16": {"timm": "vit_base_patch16_224", "zeromodels": "vit.ViT"},
    "vit_l32": {"timm": "vit_large_patch32_224"},
    "vit_l16": {"timm": "vit_large_patch16_224"},
    "deit_ti": {"timm": "deit_tiny_patch16_224", "zeromodels": "deit.DeiT"},
    "deit_s": {"timm": "deit_small_patch16_224"},
    "deit_b": {"timm": "deit_base_patch16_224"},
    "deit_ti_distilled": {"timm": "deit_tiny_distilled_patch16_224"},
    "deit_s_distilled": {"timm": "deit_small_distilled_patch16_224"},
    "deit_b_distilled": {"timm": "deit_base_distilled_patch16_224"},
    "mvit_v2_t": {"timm": "mvitv2_tiny"},
    "mvit_v2_s": {"timm": "mvitv2_small"},
    "mvit_v2_b": {"timm": "mvitv2_base"},
    "mvit_v2_l": {"timm": "mvitv2_large"},
    "mvit_video_b16x4": {"torchvision": "mvit_v1_b"},
    "mvit_video_v2_s16x4": {"torchvision": "mvit_v2_s"},
    "gc_vit_xxtiny": {"timm": "gcvit_xxtiny", "kecam": "gcvit.GCViT_XXTiny"},
    "gc_vit_xtiny": {"timm": "gcvit_xtiny", "kecam": "gcvit.GCViT_XTiny"},
    "gc_vit_tiny": {"timm": "gcvit_tiny", "kecam": "gcvit.GCViT_Tiny"},
    "gc_vit_small": {"timm": "gcvit_small", "kecam": "gcvit.GCViT_Small"},
    "gc_vit_base": {"timm": "gcvit_base", "kecam": "gcvit.GCViT_Base"},
    "cmt_ti": {"kecam": "cmt.CMTTiny_torch"},
    "cmt_xs": {"kecam": "cmt.CMTXS_torch"},
    "cmt_s": {"kecam": "cmt.CMTSmall_torch"},
    "cmt_b": {"kecam": "cmt.CMTBase_torch"},
    "wave_mlp_t": {"kecam": "mlp_family.WaveMLP_T"},
    "wave_mlp_s": {"kecam": "mlp_family.WaveMLP_S"},
    "wave_mlp_m": {"kecam": "mlp_family.WaveMLP_M"},
    "wave_mlp_b": {"kecam": "mlp_family.WaveMLP_B"},
    "levit_128s": {"timm": "levit_128s", "kecam": "levit.LeViT128S"},
    "levit_128": {"timm": "levit_128", "kecam": "levit.LeViT128", "zeromodels": "levit.Levit"},
    "levit_192": {"timm": "levit_192", "kecam": "levit.LeViT192"},
    "levit_256": {"timm": "levit_256", "kecam": "levit.LeViT256"},
    "levit_384": {"timm": "levit_384", "kecam": "levit.LeViT384"},
    "convnext_tiny": {
        "timm": "convnext_tiny",
        "kecam": "convnext.ConvNeXtTiny",
        "zeromodels": "convnext.ConvNeXt",
        "keras_applications": "ConvNeXtTiny",
    },
    "convnext_small": {
        "timm": "convnext_small",
        "kecam": "convnext.ConvNeXtSmall",
        "keras_applications": "ConvNeXtSmall",
    },
    "convnext_base": {
        "timm": "convnext_base",
        "kecam": "convnext.ConvNeXtBase",
        "keras_applications": "ConvNeXtBase",
    },
    "convnext_large": {
        "timm": "convnext_large",
        "kecam": "convnext.ConvNeXtLarge",
        "keras_applications": "ConvNeXtLarge",
    },
    "convnext_xlarge": {
        "timm": "convnext_xlarge",
        "kecam": "convnext.ConvNeXtXlarge",
        "keras_applications": "ConvNeXtXLarge",
    },
    "sequencer2d_s": {"timm": "sequencer2d_s"},
    "sequencer2d_m": {"timm": "sequencer2d_m"},
    "sequencer2d_l": {"timm": "sequencer2d_l"},
    "pool_former_s12": {"timm": "poolformer_s12", "zeromodels": "poolformer.PoolFormer"},
    "pool_former_s24": {"timm": "poolformer_s24"},
    "pool_former_s36": {"timm": "poolformer_s36"},
    "pool_former_m36": {"timm": "poolformer_m36"},
    "pool_former_m48": {"timm": "poolformer_m48"},
    "conv_mixer_768_32": {"timm": "convmixer_768_32", "zeromodels": "convmixer.ConvMixer"},
    "conv_mixer_1024_20": {"timm": "convmixer_1024_20_ks9_p14"},
    "conv_mixer_1536_20": {"timm": "convmixer_1536_20"},
    "dynamic_vit_swin_t_r70": {"timm": "swin_tiny_patch4_window7_224"},
    "dynamic_vit_swin_s_r70": {"timm": "swin_small_patch4_window7_224"},
    "dynamic_vit_swin_b_r70": {"timm": "swin_base_patch4_window7_224"},
}
WHOLE = {f"dynamic_vit_swin_{size.lower()}_r70": f"Swin-{size}" for size in "TSB"}
"""DynamicViTs that keep all tokens here, which makes them the Swin that peers have. `benchmarks.keep_rates` measures
what dropping tokens saves."""

OURS = ("graph", "xla", "fused", "fused_xla", "frozen", "frozen_xla")
OURS += ("openvino", "onnxruntime", "litert", "jax", "torch_compile")
"""The names in `keras_mlp.forms.FORMS`; a test compares them. They stand here again, because importing keras_mlp
imports Keras, and the process of each form chooses its backend first."""
TRAINED = ("graph", "xla", "jax")
"""The forms that can be trained, and that run on a GPU."""

# How each runs. All have the same two precisions except kecam, which is of the time before bfloat16.
FORMS = {
    "keras_mlp": OURS,
    "timm": ("eager", "compiled", "compiled_frozen"),
    "kecam": ("graph",),
    "zeromodels": ("graph", "xla"),
    "keras_applications": ("graph", "xla"),
    "torchvision": ("eager", "compiled", "compiled_frozen"),
}
PRECISIONS = {who: ("float32",) if who == "kecam" else ("float32", "bfloat16") for who in FORMS}
PRECISIONS["keras_mlp"] += ("int8",)


def keras_mlp(contender):
    backend = None
    if contender.form not in ("jax", "torch_compile"):
        backend = on_tensorflow.setup(contender.threads, contender.device)
    elif contender.form == "jax" and (contender.task, contender.device) != ("inference", "cpu"):
        backend = on_jax.setup(contender)

    import keras_mlp
    from keras_mlp.training import remat
    from keras_mlp.training.adamw import AdamW

    if contender.form not in TRAINED and (contender.task == "training" or contender.device == "gpu"):
        raise Unavailable(f"training, and any task on a GPU, is measured in these forms only: {', '.join(TRAINED)}")
    shape = input_shape(contender.model, contender.image_size)
    given = dict(input_shape=shape, classifier_activation=None, include_preprocessing=False, dtype=_dtype(contender))
    if contender.model in WHOLE:
        model = whole(contender.model, **given)
    else:
        model = keras_mlp.create_model(contender.model, weights=None, **given)
    if not (backend and contender.form in TRAINED):
        on_tensorflow.as_if_trained(model)
        return _in_its_form(model, contender)
    if contender.remat:
        remat.rematerialize(model)
    return _keras_step(backend, model, contender, AdamW)


def title(model: str) -> str:
    """What tables call a model of the zoo."""
    import keras_mlp

    return WHOLE.get(model) or keras_mlp.model_card(model).title


def whole(model: str, **given):
    """The network of a DynamicViT of the zoo that keeps all tokens; `given` are more arguments of its builder."""
    from keras_mlp import zoo

    family = zoo.FAMILIES["dynamic_vit"]
    # Nothing is dropped at any rate, but there has to be one.
    config = family.variants[model].config | {"pruning": (), "keep_rate": 0.5}
    return family.builders[family.name](**config, **given)


def _in_its_form(model, contender):
    """`batch size -> step` of one of the forms of `keras_mlp.export.forms`, from NumPy arrays to NumPy arrays."""
    from keras_mlp.export import forms

    try:
        forms.check(contender.form, contender.precision)
    except forms.UnavailableError as error:
        raise Unavailable(str(error)) from error
    folder = pathlib.Path(tempfile.mkdtemp(prefix="keras_mlp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def prepare(batch):
        request = forms.Request(batch, contender.precision, contender.threads, folder)
        call = forms.ready(contender.form, model, request)
        x = np.random.default_rng(0).uniform(-1, 1, (batch, *model.input_shape[1:])).astype("float32")
        return lambda: call(x)

    return prepare


def zeromodels(contender):
    name = _peer(contender)
    tf = on_tensorflow.setup(contender.threads, contender.device)
    if importlib.util.find_spec("zeromodels") is None:
        raise Unavailable("the package zeromodels is not installed")
    import keras

    module, network = name.split(".")
    module = importlib.import_module(f"zeromodels.models.{module}")
    size = {"image_size": contender.image_size} if contender.image_size else {}
    keras.config.set_dtype_policy(_dtype(contender))
    model = getattr(module, f"{network}ImageClassify")(getattr(module, f"{network}Config")(**size))
    return _keras_step(tf, model, contender)


def keras_applications(contender):
    builder = _peer(contender)
    tf = on_tensorflow.setup(contender.threads, contender.device)
    import keras

    size = contender.image_size or 224
    keras.config.set_dtype_policy(_dtype(contender))
    model = getattr(keras.applications, builder)(
        weights=None, classifier_activation=None, include_preprocessing=False, input_shape=(size, size, 3)
    )
    return _keras_step(tf, model, contender)


def _dtype(contender):
    """Training keeps its weights in float32, inference need not."""
    low = "mixed_bfloat16" if contender.task == "training" else "bfloat16"
    return low if contender.precision == "bfloat16" else "float32"


def _keras_step(backend, model, contender, optimizer=None):
    """The step of a Keras 3 model on TensorFlow or JAX, trained by Keras' AdamW unless another `optimizer` is given."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = (optimizer or keras.optimizers.AdamW)(1e-3, weight_decay=0.05)
    if contender.form == "jax":
        if contender.task == "inference":
            return on_jax.inference_step(backend, model)
        return on_jax.training_step(backend, model, loss, optimizer)
    xla = contender.form.endswith("xla")
    if contender.task == "inference":
        return on_tensorflow.inference_step(backend, model, jit_compile=xla)
    model.compile(optimizer, loss, jit_compile=xla)
    return on_tensorflow.training_step(backend, model)


def timm(contender):
    name = _peer(contender)
    torch = on_torch.setup(contender.threads, contender.device)
    library = on_torch.import_timm()
    size = {"img_size": contender.image_size} if contender.image_size else {}
    model = library.create_model(name, **size)
    sides = (contender.image_size,) * 2 if contender.image_size else model.default_cfg["input_size"][1:]
    return _torch_step(torch, model, contender, (3, *sides))


def torchvision(contender):
    """Its models of videos, which are built for clips of one size."""
    name = _peer(contender)
    torch = on_torch.setup(contender.threads, contender.device)
    library = on_torch.import_torchvision()
    model = library.models.get_model(name, weights=None)
    grid = (model.pos_encoding.temporal_size, *model.pos_encoding.spatial_size)
    frames, *sides = map(operator.mul, grid, model.conv_proj.stride)
    if contender.image_size and [contender.image_size] * 2 != sides:
        raise Unavailable(f"it takes clips of {sides[0]} pixels a side only")
    return _torch_step(torch, model, contender, (3, frames, *sides))


def _torch_step(torch, model, contender, shape):
    step = on_torch.training_step if contender.task == "training" else on_torch.inference_step
    return step(torch, model, contender, shape)


def kecam(contender):
    for package in ("keras_cv_attention_models", "tf_keras"):
        if importlib.util.find_spec(package) is None:
            raise Unavailable(f"the package {package} is not installed")
    builder = _peer(contender)
    tf = on_tensorflow.setup(contender.threads, contender.device)
    import keras_cv_attention_models

    size = contender.image_size
    shape = {"input_shape": (size, size, 3)} if size else {}
    model = operator.attrgetter(builder)(keras_cv_attention_models)(
        pretrained=None, classifier_activation=None, **shape
    )
    if contender.task == "inference":
        return on_tensorflow.inference_step(tf, model, jit_compile=False)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.AdamW(1e-3, weight_decay=0.05), loss)
    return on_tensorflow.training_step(tf, model)


def _peer(contender):
    name = PEERS.get(contender.model, {}).get(contender.who)
    if name is None:
        raise Unavailable(f"it does not have {contender.model}")
    return name


def input_shape(model: str, size: int | None) -> tuple[int, ...]:
    """Shape of a model's input at an image size, or `None` for its own; the frames of a video stay as many."""
    import keras_mlp

    *frames, height, width, channels = keras_mlp.model_card(model).input_shape
    return (*frames, size or height, size or width, channels)


def thing(model: str) -> str:
    """What a model takes: an "image", or a "clip" of a video."""
    import keras_mlp

    return {"image": "image", "video": "clip"}[keras_mlp.model_card(model).input]


def smallest(family: str) -> str:
    """The name of a family's published variant with the fewest parameters."""
    return min(_cards(family), key=lambda card: card.parameters).name


def largest(family: str) -> str:
    """The name of a family's published variant with the most parameters."""
    return max(_cards(family), key=lambda card: card.parameters).name


def named(models: list[str]) -> list[str]:
    """The models that a `--models` flag names; "smallest" and "largest" stand for that variant of each family.

    Raises:
        ValueError: there is no such model.
    """
    import keras_mlp
    from keras_mlp import zoo

    chosen = {"smallest": smallest, "largest": largest}
    names = []
    for model in models:
        names += map(chosen[model], sorted(zoo.FAMILIES)) if model in chosen else [keras_mlp.model_card(model).name]
    return names


def _cards(family):
    import keras_mlp

    return map(keras_mlp.model_card, keras_mlp.list_models(family=family))


LIBRARIES = {
    "keras_mlp": keras_mlp,
    "timm": timm,
    "kecam": kecam,
    "zeromodels": zeromodels,
    "keras_applications": keras_applications,
    "torchvision": torchvision,
    "keras_mlp_segmenter": segmenters.keras_mlp,
    "mmsegmentation": segmenters.mmsegmentation,
    "keras_mlp_detector": detectors.keras_mlp,
    "mmdetection": detectors.mmdetection,
    "tensorflow": on_tensorflow.matmul,
    "jax": on_jax.matmul,
    "torch": on_torch.matmul,
}
