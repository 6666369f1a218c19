"""What in a DynamicViT, and in the backbone that teaches it, training compares."""

import keras
from keras import ops

from keras_mlp import names
from keras_mlp.families.dynamic_vit.choices import Choice, KeepTokens
from keras_mlp.heads import FIRST
from keras_mlp.pyramid import feature_pyramid


class Lesson:
    """A classifier's output, and the tokens that it comes from: those of the last map, after the norm.

    LV-ViT classifies each token, too. Its tokens are the logits of that.

    Args:
        model: a DynamicViT, or a network of the same blocks without choices: a `DynamicViT(pruning=())`, DeiT or ConvNeXt.

    Call arguments:
        images: what the model takes.
        training: whether tokens are masked, in place of dropped.

    Returns of a call: a dictionary of "output", what the model gives; "tokens", `(batch, tokens, channels)`; of LV-ViT
        "head", the logits of the class token alone; and of a network that drops tokens "kept", `(batch, tokens)`, in
        training 1 for those kept and 0 for the others.

    Attributes:
        choices: the layers that choose among tokens, from the first to the last.
        shape: of the map, `(height, width, channels)`; of LV-ViT's tokens `(height, width, classes)`.
        of_logits: whether the tokens are logits.

    Raises:
        ValueError: the model is no functional classifier of this package, or there are layers around it.
    """

    def __init__(self, model: keras.Model):
        layers = {names.local(layer.name): layer for layer in model.layers}
        if FIRST not in layers:
            raise ValueError(
                f"Tokens are compared of a network that ends in its own layer {FIRST!r}, as those of this package do, "
                f"with nothing around it. Received: {model.name}, of the layers {', '.join(list(layers)[-3:])} at last"
            )
        *_, tokens = feature_pyramid(model).output.values()
        self.shape = tuple(tokens.shape[1:])
        self._norm = layers.get(names.HEAD_NORM)
        parts = {"output": model.outputs[0], "tokens": tokens}
        if of_tokens := layers.get(f"{FIRST}_auxiliary"):
            parts |= {"head": layers[FIRST].output, "tokens": of_tokens.output}
            self.shape = (*self.shape[:-1], of_tokens.output.shape[-1])
        self.of_logits = of_tokens is not None
        self.choices = [layer for layer in model.layers if isinstance(layer, Choice)]
        if self.choices and isinstance(self.choices[-1], KeepTokens):
            parts["kept"] = self.choices[-1].output[1]
        self._parts = keras.Model(model.inputs[0], parts)

    def __call__(self, images, training=False):
        found = self._parts(images, training=training)
        tokens = self._norm(found["tokens"]) if self._norm else found["tokens"]
        found["tokens"] = ops.reshape(tokens, (ops.shape(tokens)[0], -1, tokens.shape[-1]))
        if "kept" in found:
            found["kept"] = ops.stop_gradient(found["kept"][:, 1:])
        return found
