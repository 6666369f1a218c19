"""Products with the kernels of a layer that is none of Keras' dense ones, for `quantize` and `enable_lora` to reach."""

import keras

from keras_mlp.layers.configs import registered
from keras_mlp.layers.dense import Adaptable


@registered
class HeldProduct(Adaptable, keras.layers.EinsumDense):
    """A product inside a layer with a kernel of its own, such as several matrices in one array.

    The kernel is a weight of the layer around it, as if there were no layer in between, until this one is quantised or
    given adapters. Then it is a weight of this one, of the same path, which works as Keras' `EinsumDense`. Biases are
    the business of the layer around.

    Args:
        holds: name of the kernel in the layer around it, with "kernel" in it.
        own_kernel: whether the kernel is this layer's own.
        **kwargs: of `keras.layers.EinsumDense`: `equation`, `output_shape`, the rest.

    Input shape, output shape: as `equation` says.
    """

    def __init__(self, holds="kernel", own_kernel=False, **kwargs):
        super().__init__(**kwargs)
        self.holds, self.own_kernel = holds, own_kernel
        self._names = None  # what paths of weights begin with, where a layer is around

    def begin(self, holder, shape, initializer, input_shape):
        """To be called when the layer around is built: make the kernel, here or there.

        Args:
            holder: the layer around.
            shape: of the kernel.
            initializer: of the kernel.
            input_shape: of this layer.
        """
        self._names = f"{holder.path}/{self.holds}"
        if self.own_kernel:
            self.build(input_shape)
            return
        kernel = holder.add_weight(name=self.holds, shape=shape, initializer=initializer)

        def take():
            self.own_kernel = True
            self.build(input_shape)
            self._kernel.assign(kernel)
            holder._untrack_variable(kernel)

        # Functions, because Keras takes a layer or a variable in an attribute for a part of this layer.
        self._held, self._take = (lambda: kernel), take

    def add_weight(self, *args, name=None, **kwargs):
        variable = super().add_weight(*args, name=name, **kwargs)
        if self._names:
            variable._path = self._names.replace("kernel", name) if "kernel" in name else f"{self._names}_{name}"
        return variable

    @property
    def kernel(self):
        return super().kernel if self.own_kernel else self._held()

    def product(self, x, multiply):
        """What the kernel makes of `x`: by `multiply(x, kernel)` in floating point, by Keras where it is quantised."""
        return self(x) if self.quantization_mode else multiply(x, self.kernel)

    def _check_quantize_args(self, *args):
        if not self.own_kernel:  # before Keras looks whether there is something to quantise
            self._take()
        super()._check_quantize_args(*args)

    def quantize(self, mode=None, type_check=True, config=None):
        super().quantize(mode, type_check=False, config=config)

    def enable_lora(self, *args, **kwargs):
        if not self.own_kernel:
            self._take()
        super().enable_lora(*args, **kwargs)
