"""A dense layer over any axes."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jrnn import activations
from jrnn.activations import Activation
from jrnn.model.layer import Layer, Result


class EinsumDenseParams(NamedTuple):
    """Parameters of an einsum layer."""

    kernel: jax.Array  # an axis for each letter of the equation's second term
    bias: jax.Array | None = None  # broadcast against the output


@dataclasses.dataclass(frozen=True, kw_only=True)
class EinsumDense(Layer):
    """``activation(einsum(equation, x, kernel) + bias)``; the mask ends here.

    Attributes:
        equation: As for ``jax.numpy.einsum``: "abc,cd->abd" or "...c,cd->...d".
        activation: The activation.
        bias_axes: Letters of the output's axes that the bias has; None where there is no bias.
        output_shape: The output's sizes without the batch and what "..." stands for; None for any.
            Keras makes the kernel of them; jrnn needs them to save the layer alone.
    """

    equation: str
    activation: Activation | str = "linear"
    bias_axes: str | None = None
    output_shape: tuple[int | None, ...] | None = None

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns what the equation says of the input and the kernel."""
        y = jnp.einsum(self.equation, inputs[0], params.kernel)
        if params.bias is not None:
            if jnp.broadcast_shapes(y.shape, params.bias.shape) != y.shape:
                raise ValueError(f"bias has shape {params.bias.shape}, but the output {y.shape}")
            y = y + params.bias
        return Result((activations.get(self.activation)(y),), (None,))
