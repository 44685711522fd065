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
        use_bias: Whether the parameters hold a bias.
    """

    equation: str
    activation: Activation | str = "linear"
    use_bias: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns what the equation says of the input and the kernel."""
        y = jnp.einsum(self.equation, inputs[0], params.kernel)
        if params.bias is not None:
            if jnp.broadcast_shapes(y.shape, params.bias.shape) != y.shape:
                raise ValueError(f"bias has shape {params.bias.shape}, but the output {y.shape}")
            y = y + params.bias
        return Result((activations.get(self.activation)(y),), (None,))
