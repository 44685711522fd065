"""SimpleRNN: one matrix, one activation."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jrnn import activations, initializers
from jrnn.activations import Activation
from jrnn.cells.base import (
    Cell,
    Masks,
    check_bias,
    check_shape,
    check_sizes,
    check_type,
    masked_product,
    narrowed,
    project_input,
    wide,
    zeros,
)
from jrnn.initializers import Initializer


class SimpleRNNParams(NamedTuple):
    """Parameters of a SimpleRNN, in Keras's layout."""

    kernel: jax.Array  # [F, U]
    recurrent_kernel: jax.Array  # [U, U]
    bias: jax.Array | None = None  # [U]


class SimpleRNNState(NamedTuple):
    """State of a SimpleRNN."""

    hidden: jax.Array  # [..., U]


@dataclasses.dataclass(frozen=True)
class SimpleRNNCell(Cell):
    """The fully connected recurrent cell of Elman.

    ``hidden' = activation(x @ kernel + bias + hidden @ recurrent_kernel)``; the output is
    ``hidden'``.

    Args:
        activation: A function or a name known to ``jrnn.activations.get``.
        use_bias: Whether the parameters hold a bias.
        kernel_initializer: A function or name known to ``jrnn.initializers.get``.
        recurrent_initializer: Likewise, for the recurrent kernel.
        bias_initializer: Likewise, for the bias.

    Source: Elman, "Finding structure in time", 1990; ``keras.layers.SimpleRNNCell``.
    """

    activation: Activation | str = "tanh"
    use_bias: bool = True
    kernel_initializer: Initializer | str = "glorot_uniform"
    recurrent_initializer: Initializer | str = "orthogonal"
    bias_initializer: Initializer | str = "zeros"

    def __post_init__(self) -> None:
        for draw in (self.kernel_initializer, self.recurrent_initializer, self.bias_initializer):
            initializers.get(draw)
        activations.get(self.activation)

    def init(
        self, key: jax.Array, features: int, units: int, dtype: DTypeLike = jnp.float32
    ) -> SimpleRNNParams:
        """Returns fresh parameters: kernel [F, U], recurrent_kernel [U, U], bias [U]."""
        check_sizes("SimpleRNNCell.init", features=features, units=units)
        keys = jax.random.split(key, 3)
        kernel = initializers.get(self.kernel_initializer)(keys[0], (features, units), dtype)
        recurrent = initializers.get(self.recurrent_initializer)(keys[1], (units, units), dtype)
        if not self.use_bias:
            return SimpleRNNParams(kernel, recurrent)
        bias = initializers.get(self.bias_initializer)(keys[2], (units,), dtype)
        return SimpleRNNParams(kernel, recurrent, bias)

    def initial_state(self, params: SimpleRNNParams, z: jax.Array) -> SimpleRNNState:
        """Returns the zero state [..., U]."""
        return SimpleRNNState(zeros(params, z, params.recurrent_kernel.shape[0]))

    def project(self, params: SimpleRNNParams, xs: ArrayLike, *, dropout: Masks = ()) -> jax.Array:
        """Returns ``xs @ kernel + bias`` [..., U] for ``xs`` [..., F]."""
        check_type("SimpleRNNCell", params, SimpleRNNParams)
        units = params.kernel.shape[-1]
        check_shape("SimpleRNNCell", "recurrent_kernel", params.recurrent_kernel, (units, units))
        check_bias("SimpleRNNCell", params.bias, self.use_bias, (units,))
        return project_input("SimpleRNNCell", xs, params.kernel, params.bias, dropout)

    def step(
        self,
        params: SimpleRNNParams,
        state: SimpleRNNState,
        z: jax.Array,
        *,
        dropout: Masks = (),
    ) -> tuple[SimpleRNNState, jax.Array]:
        """Returns the next state and the output [..., U]."""
        activation = activations.get(self.activation)
        inner = masked_product(state.hidden, params.recurrent_kernel, dropout)
        hidden = narrowed(activation(wide(z) + inner), state.hidden.dtype)
        return SimpleRNNState(hidden), hidden
