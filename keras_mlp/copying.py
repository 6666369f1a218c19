"""Copies of models: all that a model has, in layers of its own.

Layers are made anew from their configurations, called as in the model, and given what a configuration does not tell:
weights, adapters (LoRA), Keras' quantisation, state beside the weights, what is trained and what is not. The model is
taken as it is in memory: its functions and classes need not be registered, as they must be in a file.
"""

import contextlib
import functools
import tempfile
import types
import warnings

import keras

from keras_mlp.adapters import is_adapted, is_factor, is_quantised, merged, own, settle, without_adapters


class Copier:
    """Copies a model and the models in it; a layer or model that is called several times, or in several models, once.

    A subclass copies with a difference, by the methods `config`, `dtype`, `call`, `value` and `carry`.

    Args:
        adapters: whether adapters are carried along; else they are added to the weights that they adapt.
    """

    def __init__(self, adapters: bool = True):
        self.adapters = adapters
        self._copies, self._models = {}, []  # {id of a layer: (layer, copy)}, [(model, copy)]

    def __call__(self, model: keras.Model, image=None) -> keras.Model:
        """Copy a model.

        Args:
            model: a functional model, or a sequential one that is built.
            image: the copy's input, of a model that has one; by default such as the model's.

        Returns:
            A functional model that is not compiled.
        """
        inputs = inputs_like(model, dtype=self.dtype)
        copy = self._model(model, inputs if image is None else keras.tree.map_structure(lambda _: image, inputs))
        self.finish()
        return copy

    def finish(self):
        """Give all copies, which have been called meanwhile, what their originals have."""
        for old, new in reversed(self._models):  # from the outermost to the innermost
            new.trainable = old.trainable
        for old, new in self._copies.values():
            if isinstance(old, keras.layers.Layer) and not is_graph(old):
                self.carry(old, new)

    def config(self, layer, config: dict) -> dict:
        """The configuration of a layer's copy, from that of the layer."""
        return config if self.adapters else without_adapters(config)

    def dtype(self, dtype: str) -> str:
        """The dtype of a copy's input, from that of the model's."""
        return dtype

    def call(self, layer, *arguments, **options):
        """What the copy of a layer or an operation gives.

        Args:
            layer: the original.
            *arguments, **options: what its copy is to be called with.
        """
        return self.copy(layer, arguments, options)(*arguments, **options)

    def value(self, old, new):
        """`(variable, copy of the variable) -> array`, for a layer and its copy."""
        return lambda variable, _: keras.ops.convert_to_numpy(variable)

    def carry(self, old, new):
        """Give the copy of a layer, which has been called meanwhile, all that the layer has."""
        carry(old, new, self.value(old, new), adapters=self.adapters)

    def copy(self, layer, arguments=(), options=None):
        """The copy of a layer or an operation, which `arguments` and `options` are for; it is made once."""
        if id(layer) not in self._copies:
            self._copies[id(layer)] = layer, self._made(layer, (arguments, options))
        return self._copies[id(layer)][1]

    def _made(self, layer, given):
        if is_graph(layer):
            return self._model(layer, inputs_like(layer, _tensors(given), self.dtype))
        if _wraps(layer):
            config = self.config(layer, layer.get_config())
            return type(layer)(self.copy(layer.layer, given), **{k: v for k, v in config.items() if k != "layer"})
        return anew(layer, functools.partial(self.config, layer))

    def _model(self, model, inputs):
        copy = keras.Model(inputs, called_anew(model, inputs, self.call), name=model.name)
        self._models.append((model, copy))
        return copy


def copied(model: keras.Model) -> keras.Model:
    """Copy a model: the same layers, weights and settings, in variables of its own.

    Args:
        model: a functional model, or a sequential one that is built, whatever layers and models are in it.

    Returns:
        A functional model that is not compiled. `model` is unchanged.
    """
    return Copier()(model)


def is_graph(layer) -> bool:
    """Whether a layer is a model that knows its layers and their connections: a functional or sequential one."""
    if not isinstance(layer, keras.Model) or not getattr(layer, "inputs", None):
        return False
    # One that overrides `call` may compute something else.
    return next(kind for kind in type(layer).__mro__ if "call" in vars(kind)).__module__.startswith("keras.")


def anew(layer, edit=lambda config: config, **changes):
    """A layer or operation like another, in all but what it has learnt and where it is called.

    Args:
        layer: the layer or operation.
        edit: function from its configuration to that of the new one.
        **changes: settings of the new one that differ.
    """
    if not isinstance(layer, keras.layers.Layer):  # an operation: it has no weights
        new = object.__new__(type(layer))
        vars(new).update(vars(layer), _inbound_nodes=[], _outbound_nodes=[])
        return new
    if isinstance(layer, keras.layers.Lambda):
        config = edit(keras.layers.Layer.get_config(layer))
        own = dict(output_shape=layer._output_shape, mask=layer.mask, arguments=layer.arguments)
        return type(layer)(layer.function, **own, **config | changes)
    with warnings.catch_warnings(), keras.saving.custom_object_scope(_names(layer)):
        warnings.filterwarnings("ignore", message=".*lambda")
        config = edit(layer.get_config()) | changes
        for setting in config:
            value = getattr(layer, setting, None)
            if isinstance(value, types.LambdaType) and value.__name__ == "<lambda>" and setting not in changes:
                config[setting] = value
        return type(layer).from_config(config)


def calls(model) -> list:
    """The calls of a model's layers and operations, in the order in which copies make them: nodes of Keras."""
    nodes = [node for _, nodes in sorted(graph(model)._nodes_by_depth.items(), reverse=True) for node in nodes]
    return [node for node in nodes if not node.is_input]


def called_anew(model, inputs, call):
    """What a model gives for `inputs`, each of its calls made by `call(layer, *arguments, **options)`."""
    return graph(model)._run_through_graph(keras.tree.flatten(inputs), call_fn=call)


def inputs_like(model, given=(), dtype=lambda dtype: dtype):
    """Inputs as a model's.

    Args:
        model: a functional or sequential model.
        given: tensors that it is to be called with. Sides that are known in the model are theirs; they may have axes in
            front that the model has not, such as the frames of `TimeDistributed`.
        dtype: function from the dtype of a model's input to that of the new one.
    """
    given = iter(given)

    def fresh(tensor):
        batch, *sides = tensor.shape
        taken = next(given, tensor).shape
        taken = taken[len(taken) - len(sides) :]
        return keras.Input(
            batch_shape=(batch, *(side and other for side, other in zip(sides, taken, strict=True))),
            dtype=dtype(tensor.dtype),
            sparse=tensor.sparse,
            name=tensor.name,
            optional=getattr(tensor._keras_history.operation, "optional", False),
        )

    return keras.tree.map_structure(fresh, graph(model).input)


def parts(old, new):
    """A layer and its copy, and in pairs all the layers in them, each before those that it holds.

    Raises:
        ValueError: they hold different layers.
    """
    yield old, new
    inside, copies = _inside(old), _inside(new)
    if list(map(_kind, inside)) != list(map(_kind, copies)):
        raise ValueError(
            f"Layer {old.name!r} ({type(old).__name__}) cannot be copied: it holds the layers "
            f"{[layer.name for layer in inside]}, and one made from its configuration {[c.name for c in copies]}. "
            "Make the layers that it holds in its `__init__` or `build`, from what `get_config` tells."
        )
    for pair in zip(inside, copies, strict=True):
        yield from parts(*pair)


def carry(old, new, value=lambda variable, _: keras.ops.convert_to_numpy(variable), *, adapters=True):
    """Give a layer, which is built, all that another like it has.

    Args:
        old: the other.
        new: the layer.
        value: `(variable of old, variable of new) -> array`, what a variable is to be.
        adapters: whether `new` gets the adapters of `old`; else they are added to the weights that they adapt.
    """
    for one, other in parts(old, new):
        if is_quantised(one) and not is_quantised(other):
            # Keras lets no subclass of its layers be quantised unless told so.
            options = {"config": one.quantization_config} if getattr(one, "quantization_config", None) else {}
            other.quantize(one.quantization_mode, type_check=False, **options)
        if adapters and is_adapted(one):
            if not is_adapted(other):
                other.enable_lora(one.lora_rank)
            other.lora_alpha = one.lora_alpha
        _carry_own_state(one, other)
        for source, target in _matched(one, other):
            array = value(source, target)
            if not adapters:
                array = merged(one, source, array)
            target.assign(keras.ops.cast(array, target.dtype))
        settle(other)
        for source, target in zip(one._seed_generators, other._seed_generators, strict=True):
            target.state.assign(source.state)
    set_trainable(old, new)


def set_trainable(old, new):
    """Let of a layer that be trained which is trained of another like it."""
    for one, other in parts(old, new):
        if other.trainable != one.trainable:
            other.trainable = one.trainable
    for one, other in parts(old, new):
        for source, target in _matched(one, other):
            if target.trainable != source.trainable:
                target.trainable = source.trainable


def graph(model):
    """A functional model, or the functional one that a sequential model consists of."""
    return model._functional if isinstance(model, keras.Sequential) else model


def _tensors(structure) -> list:
    return [leaf for leaf in keras.tree.flatten(structure) if keras.backend.is_keras_tensor(leaf)]


def _wraps(layer) -> bool:
    """Whether it is a wrapper, made of the layer that it wraps and of its settings."""
    made = getattr(type(layer).from_config, "__func__", None)
    return isinstance(layer, keras.layers.Wrapper) and made is keras.layers.Wrapper.from_config.__func__


def _inside(layer) -> list:
    """The layers that a layer holds."""
    if isinstance(layer, keras.Model):
        return [inner for inner in layer.layers if not isinstance(inner, keras.layers.InputLayer)]
    return layer._layers


def _kind(layer) -> type:
    return keras.Model if is_graph(layer) else type(layer)  # copies of sequential models are functional ones


def _matched(old, new):
    """The variables of a layer and of its copy, in pairs."""
    ones, others = own(old), own(new)
    if not any(map(is_factor, others)):
        ones = [variable for variable in ones if not is_factor(variable)]
    names = [variable.name for variable in ones]
    by_name = {variable.name: variable for variable in others}
    if len(by_name) == len(others) and sorted(by_name) == sorted(names):  # an order may change, by quantisation
        others = [by_name[name] for name in names]
    if len(ones) != len(others):
        raise ValueError(
            f"Layer {old.name!r} ({type(old).__name__}) cannot be copied: it has the variables {names}, and one made "
            f"from its configuration {list(by_name)}."
        )
    return zip(ones, others, strict=True)


def _carry_own_state(old, new):
    """What a layer's class itself says is to be kept of it, as in a file."""
    own = type(old).save_own_variables is not keras.layers.Layer.save_own_variables
    if own and not hasattr(old, "variable_serialization_spec"):  # Keras' own, whose variables are all of it
        store = {}
        old.save_own_variables(store)
        new.load_own_variables({key: _array(value) for key, value in store.items()})
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


def _array(value):
    with contextlib.suppress(ValueError, TypeError):
        return keras.ops.convert_to_numpy(value)
    return value


def _names(layer) -> dict:
    """The functions and classes that a configuration may name, of which Keras knows only those that are registered."""
    found = {}
    for part in layer._flatten_layers():
        for value in (part, *vars(part).values()):
            named = value if isinstance(value, types.FunctionType) else type(value)
            if not named.__module__.startswith(("keras.", "builtins")):
                found[keras.saving.get_registered_name(named)] = named
    return found
