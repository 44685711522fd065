"""GRU, with the reset gate applied before or after the recurrent product."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jrnn import activations, initializers
from jrnn.activations import Activation
from jrnn.cells.base import (
    Cell,
    Masks,
    check_bias,
    check_input,
    check_shape,
    check_sizes,
    check_type,
    gate_products,
    masked_product,
    narrowed,
    to_rank,
    wide,
    zeros,
)
from jrnn.cells.gates import gru_after, gru_before
from jrnn.initializers import Initializer


class GRUParams(NamedTuple):
    """Parameters of a GRU, in Keras's layout; gate order z (update), r (reset), h (candidate)."""

    kernel: jax.Array  # [F, 3U]
    recurrent_kernel: jax.Array  # [U, 3U]
    bias: jax.Array | None = None  # [2, 3U] (input row, recurrent row) with reset_after, else [3U]


class GRUState(NamedTuple):
    """State of a GRU."""

    hidden: jax.Array  # [..., U]


class GRUGates(NamedTuple):
    """What one step of a GRU computes on the way, each [..., U], after its activation."""

    update: jax.Array
    reset: jax.Array
    candidate: jax.Array


@dataclasses.dataclass(frozen=True)
class GRUCell(Cell):
    """The gated recurrent unit.

    With ``a = recurrent_activation`` and ``Wz, Wr, Wh`` / ``Rz, Rr, Rh`` the three blocks of the
    kernel and of the recurrent kernel::

        z  = a(x @ Wz + bz + h @ Rz + cz)
        r  = a(x @ Wr + br + h @ Rr + cr)
        n  = activation(x @ Wh + bh + r * (h @ Rh + ch))   # reset_after=True
        n  = activation(x @ Wh + bh + (r * h) @ Rh)        # reset_after=False
        h' = z * h + (1 - z) * n

    ``b`` and ``c`` are the two rows of ``bias``; without ``reset_after`` there is ``b`` alone.

    Args:
        activation: Of the candidate: a function or a name known to ``jrnn.activations.get``.
        recurrent_activation: Of the two gates.
        reset_after: Whether the reset gate multiplies the recurrent product (cuDNN, Keras 3) or
            the state before it (the first version of the paper, Keras 1 and 2).
        use_bias: Whether the parameters hold a bias.
        kernel_initializer: A function or name known to ``jrnn.initializers.get``.
        recurrent_initializer: Likewise, for the recurrent kernel.
        bias_initializer: Likewise, for the bias.

    Source: Cho et al., 2014 (arXiv:1406.1078); ``keras.layers.GRUCell``.
    """

    gates: ClassVar[int] = 3

    activation: Activation | str = "tanh"
    recurrent_activation: Activation | str = "sigmoid"
    reset_after: bool = True
    use_bias: bool = True
    kernel_initializer: Initializer | str = "glorot_uniform"
    recurrent_initializer: Initializer | str = "orthogonal"
    bias_initializer: Initializer | str = "zeros"

    def __post_init__(self) -> None:
        for draw in (self.kernel_initializer, self.recurrent_initializer, self.bias_initializer):
            initializers.get(draw)
        activations.get(self.activation)
        activations.get(self.recurrent_activation)

    def init(
        self, key: jax.Array, features: int, units: int, dtype: DTypeLike = jnp.float32
    ) -> GRUParams:
        """Returns fresh parameters: kernel [F, 3U], recurrent_kernel [U, 3U], bias (see class)."""
        check_sizes("GRUCell.init", features=features, units=units)
        keys = jax.random.split(key, 3)
        kernel = initializers.get(self.kernel_initializer)(keys[0], (features, 3 * units), dtype)
        recurrent = initializers.get(self.recurrent_initializer)(keys[1], (units, 3 * units), dtype)
        if not self.use_bias:
            return GRUParams(kernel, recurrent)
        bias = initializers.get(self.bias_initializer)(keys[2], self._bias_shape(units), dtype)
        return GRUParams(kernel, recurrent, bias)

    def initial_state(self, params: GRUParams, z: tuple[jax.Array, ...]) -> GRUState:
        """Returns the zero state [..., U]."""
        return GRUState(zeros(params, z[0], params.recurrent_kernel.shape[0]))

    def project(
        self, params: GRUParams, xs: ArrayLike, *, dropout: Masks = ()
    ) -> tuple[jax.Array, ...]:
        """Returns each gate's ``xs @ kernel`` and input bias, three times [..., U]."""
        check_type("GRUCell", params, GRUParams)
        units = params.kernel.shape[-1] // 3
        check_shape("GRUCell", "kernel", params.kernel, (params.kernel.shape[0], 3 * units))
        check_shape("GRUCell", "recurrent_kernel", params.recurrent_kernel, (units, 3 * units))
        check_bias("GRUCell", params.bias, self.use_bias, self._bias_shape(units))
        bias = params.bias[0] if params.bias is not None and self.reset_after else params.bias
        xs = check_input("GRUCell", xs, params.kernel)
        kernels = jnp.split(params.kernel, 3, axis=-1)
        biases = None if bias is None else jnp.split(bias, 3)
        products = gate_products(xs, kernels, biases, dropout)
        dtype = jnp.result_type(xs, *jax.tree.leaves((params.kernel, bias)))
        return tuple(one.astype(dtype) for one in products)

    def step(
        self,
        params: GRUParams,
        state: GRUState,
        z: tuple[jax.Array, ...],
        *,
        dropout: Masks = (),
    ) -> tuple[GRUState, jax.Array]:
        """Returns the next state and the output [..., U]."""
        recurrence = self._reset_after if self.reset_after else self._reset_before
        hidden = recurrence(params, state.hidden, wide(z), dropout)
        hidden = narrowed(hidden, state.hidden.dtype)
        return GRUState(hidden), hidden

    def gate_values(
        self,
        params: GRUParams,
        state: GRUState,
        z: tuple[jax.Array, ...],
        *,
        dropout: Masks = (),
    ) -> GRUGates:
        """Returns what ``step`` computes on the way: the gates and the candidate [..., U].

        Of 16-bit operands they are in float32, as ``step`` has them before it rounds its results.
        """
        activation, gate = self._activations()
        z = wide(z)
        if self.reset_after:
            update, reset, candidate, inner = self._pre_after(params, state.hidden, z, dropout)
            reset = gate(reset)
            return GRUGates(gate(update), reset, activation(candidate + reset * inner))
        update, reset, kernel = self._pre_before(params, state.hidden, z, dropout)
        reset = gate(reset)
        kept = narrowed(reset * wide(state.hidden), state.hidden.dtype)
        inner = masked_product(kept, kernel, dropout[-1:])
        return GRUGates(gate(update), reset, activation(z[2] + inner))

    def _reset_after(self, params: GRUParams, hidden: jax.Array, z, dropout: Masks) -> jax.Array:
        pre = self._pre_after(params, hidden, z, dropout)
        return gru_after(*self._activations(), *pre, wide(hidden))

    def _reset_before(self, params: GRUParams, hidden: jax.Array, z, dropout: Masks) -> jax.Array:
        update, reset, kernel = self._pre_before(params, hidden, z, dropout)
        activation, gate = self._activations()
        update, kept = gru_before(gate, update, reset, wide(hidden))
        kept, hidden = narrowed(kept, hidden.dtype), wide(hidden)
        candidate = activation(z[2] + masked_product(kept, kernel, dropout[-1:]))
        return update * hidden + (1 - update) * candidate

    def _pre_after(self, params: GRUParams, hidden: jax.Array, z, dropout: Masks):
        """Returns the pre-activations of z and r, and the candidate's two parts."""
        inner = masked_product(hidden, params.recurrent_kernel, dropout)
        if params.bias is not None:
            inner = inner + to_rank(wide(params.bias[1]), inner)
        inner_update, inner_reset, inner_candidate = jnp.split(inner, 3, axis=-1)
        return z[0] + inner_update, z[1] + inner_reset, z[2], inner_candidate

    def _pre_before(self, params: GRUParams, hidden: jax.Array, z, dropout: Masks):
        """Returns the pre-activations of z and r, and the candidate's recurrent kernel."""
        split = 2 * params.recurrent_kernel.shape[0]
        gate_kernel, candidate_kernel = jnp.split(params.recurrent_kernel, [split], axis=-1)
        gates = masked_product(hidden, gate_kernel, dropout[:2])
        update, reset = jnp.split(gates, 2, axis=-1)
        return z[0] + update, z[1] + reset, candidate_kernel

    def _activations(self) -> tuple[Activation, Activation]:
        return activations.get(self.activation), activations.get(self.recurrent_activation)

    def _bias_shape(self, units: int) -> tuple[int, ...]:
        return (2, 3 * units) if self.reset_after else (3 * units,)
