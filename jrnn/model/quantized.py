"""Layers whose kernels are 8-bit integers, as Keras 3's mode int8 has them."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jrnn import activations
from jrnn.model.basic import Dense, Embedding
from jrnn.model.layer import Result


class InputRange(NamedTuple):
    """The integers that inputs become, each vector scaled by its largest number."""

    smallest: int = -127
    largest: int = 127
    epsilon: float = 1e-7  # added to the largest number


class QuantizedDenseParams(NamedTuple):
    """Parameters of a quantised dense layer; the kernel meant is ``kernel / kernel_scale``."""

    kernel: jax.Array  # [F, U], int8
    kernel_scale: jax.Array  # [U]
    bias: jax.Array | None = None  # [U]


class QuantizedEmbeddingParams(NamedTuple):
    """Parameters of a quantised embedding; the table meant is ``embeddings / scale``."""

    embeddings: jax.Array  # [V, F], int8
    embeddings_scale: jax.Array  # [V]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def quantized_product(
    x: jax.Array,
    kernel: jax.Array,
    kernel_scale: jax.Array,
    axes: int = 1,
    inputs: InputRange | None = InputRange(),
) -> jax.Array:
    """Returns ``tensordot(x, kernel / kernel_scale, axes)``, as 8-bit integers make it.

    Its derivative is that of this formula in ``x``, and none in the kernel and its scale.

    Args:
        x: Input [..., *F].
        kernel: int8 [*F, *U].
        kernel_scale: One number for each output, [*U] with or without ones in front.
        axes: How many axes F stands for.
        inputs: The integers that ``x`` becomes, too; None leaves it as it is.

    Source: ``keras.layers.Dense`` and ``EinsumDense`` of Keras 3 in mode int8.
    """
    scale = kernel_scale.reshape(kernel.shape[axes:])
    if inputs is None:
        return jnp.tensordot(x, kernel.astype(x.dtype), axes) / scale
    largest = jnp.max(jnp.abs(x), axis=tuple(range(-axes, 0)), keepdims=True)
    x_scale = (inputs.largest / (largest + inputs.epsilon)).astype(x.dtype)
    whole = jnp.clip(jnp.round(x * x_scale), inputs.smallest, inputs.largest).astype(jnp.int8)
    y = jnp.tensordot(whole, kernel, axes, preferred_element_type=jnp.int32).astype(x.dtype)
    ones = (1,) * (kernel.ndim - axes)
    return y / (scale * x_scale.reshape(*x.shape[: x.ndim - axes], *ones))


@quantized_product.defjvp
def _derivative(axes, inputs, primals, tangents):
    x, kernel, scale = primals
    meant = kernel.astype(x.dtype) / scale.reshape(kernel.shape[axes:])
    return quantized_product(*primals, axes, inputs), jnp.tensordot(tangents[0], meant, axes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedDense(Dense):
    """A dense layer with a kernel of 8-bit integers.

    Attributes:
        inputs: The integers that inputs become; None leaves them as they are.
    """

    inputs: InputRange | None = InputRange()

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the dense layer's output [..., U]; the mask passes through."""
        y = quantized_product(inputs[0], params.kernel, params.kernel_scale, 1, self.inputs)
        if params.bias is not None:
            y = y + params.bias
        return Result((activations.get(self.activation)(y),), (masks[0],))


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedEmbedding(Embedding):
    """Rows of a table of 8-bit integers, each row with a scale of its own."""

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the rows [..., F] and, with ``mask_zero``, the mask ``ids != 0``."""
        ids = inputs[0].astype(jnp.int32)
        # As that of a kernel, a table's scale is no parameter to be trained.
        scale = jax.lax.stop_gradient(jnp.take(params.embeddings_scale, ids, axis=0)[..., None])
        rows = jnp.take(params.embeddings, ids, axis=0, mode="clip").astype(scale.dtype) / scale
        return Result((rows,), (inputs[0] != 0 if self.mask_zero else None,))
