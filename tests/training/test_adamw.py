"""AdamW in one pass over a variable takes the steps of Keras' own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mlp.training.adamw import AdamW

SHAPES = ((3, 4), (4,), (2, 3, 5))
OPTIONS = dict(learning_rate=0.01, weight_decay=0.1, beta_2=0.99, epsilon=1e-6)


def trained(kind, graph=False, jit_compile=False, steps=5, **options):
    """The variables after some steps, and the kinds of operators of the step's graph, if there is one."""
    random = np.random.default_rng(0)
    variables = [keras.Variable(random.normal(size=shape), dtype="float32") for shape in SHAPES]
    optimizer = kind(**{**OPTIONS, **options})
    optimizer.build(variables)

    def step(gradients):
        optimizer.apply(gradients, variables)

    if graph:
        step = tf.function(step, jit_compile=jit_compile)
    for _ in range(steps):
        gradients = [tf.constant(random.normal(size=shape), "float32") for shape in SHAPES]
        step(gradients)
    graph = step.get_concrete_function(gradients).graph.get_operations() if graph else ()
    return [variable.numpy() for variable in variables], {operation.type for operation in graph}


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(graph=True),
        dict(graph=True, jit_compile=True),
        dict(global_clipnorm=0.5, graph=True),
        dict(use_ema=True, ema_momentum=0.5),
        dict(gradient_accumulation_steps=2, graph=True),
        dict(amsgrad=True),
    ],
    ids=str,
)
def test_takes_the_steps_of_keras_own(options):
    ours, operators = trained(AdamW, **options)
    theirs, others = trained(keras.optimizers.AdamW, **options)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if "graph" in options and "gradient_accumulation_steps" not in options:
        assert "ResourceApplyAdam" in operators - others


def test_gradients_of_some_rows_go_keras_own_way():
    table = keras.Variable(np.ones((5, 2)), dtype="float32")
    optimizer = AdamW(0.1)
    optimizer.build([table])
    optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([3]), tf.constant([5, 2]))], [table])
    assert (table.numpy()[3] < 1).all()


def test_is_saved_and_made_again():
    optimizer = AdamW(**OPTIONS)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is AdamW and again.get_config() == optimizer.get_config()
