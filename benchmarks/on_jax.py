"""What the contenders that run on JAX have in common: steps on arrays that stay on the device."""

import functools

from benchmarks.contender import Unavailable


def setup(contender):
    """JAX, where it has the contender's device."""
    import jax

    if contender.device == "gpu" and jax.default_backend() != "gpu":
        raise Unavailable("JAX sees no GPU")
    if contender.precision == "float32":  # as PyTorch does it; JAX would round products to fewer digits on a GPU
        jax.config.update("jax_default_matmul_precision", "highest")
    return jax


def inference_step(jax, model):
    """`batch size -> step` for the forward pass of a Keras model."""
    trainable, others = _values(model.trainable_variables), _values(model.non_trainable_variables)
    forward = jax.jit(lambda trainable, others, x: model.stateless_call(trainable, others, x, training=False)[0])

    def prepare(batch):
        x = _images(jax, batch, model)
        return lambda: jax.block_until_ready(forward(trainable, others, x))

    return prepare


def training_step(jax, model, loss, optimizer):
    """The same for forward, backward and the optimizer's step."""
    optimizer.build(model.trainable_variables)

    def value(trainable, others, x, y):
        outputs, others = model.stateless_call(trainable, others, x, training=True)
        return loss(y, outputs), others

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state, x, y):
        trainable, others, moments = state
        (found, others), gradients = jax.value_and_grad(value, has_aux=True)(trainable, others, x, y)
        trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
        return (trainable, others, moments), found

    # Copies, since a step takes the arrays of the one before for its own.
    state = jax.tree.map(
        jax.numpy.copy,
        tuple(map(_values, (model.trainable_variables, model.non_trainable_variables, optimizer.variables))),
    )

    def prepare(batch):
        x, y = _images(jax, batch, model), jax.numpy.zeros(batch, "int32")

        def step():
            nonlocal state
            state, found = train(state, x, y)
            return jax.block_until_ready(found)

        return step

    return prepare


def matmul(contender):
    """`size -> step` for the device's measure: one product of two square matrices of that size."""
    jax = setup(contender)
    product = jax.jit(lambda a: (a @ a)[0, 0])

    def prepare(size):
        a = jax.random.normal(jax.random.key(0), (size, size), contender.precision)
        return lambda: jax.block_until_ready(product(a))

    return prepare


def _values(variables):
    return [variable.value for variable in variables]


def _images(jax, batch, model):
    return jax.random.uniform(jax.random.key(0), (batch, *model.input_shape[1:]), model.input.dtype, -1, 1)
