"""Our models on Keras' JAX backend."""


def inference_step(model):
    """`batch size -> step` for the forward pass of a Keras model."""
    import jax

    variables = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)]
    forward = jax.jit(lambda trainable, others, x: model.stateless_call(trainable, others, x, training=False)[0])

    def prepare(batch):
        x = jax.random.uniform(jax.random.key(0), (batch, *model.input_shape[1:]), minval=-1)
        return lambda: forward(*variables, x).block_until_ready()

    return prepare
