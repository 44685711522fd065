"""ConvGRU: a GRU whose products are convolutions."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jrnn import activations, initializers
from jrnn.activations import Activation
from jrnn.cells.base import Masks, check_bias, check_type, narrowed, wide
from jrnn.cells.convolution import ConvCell
from jrnn.cells.gates import gru_after, gru_before


class ConvGRUParams(NamedTuple):
    """Parameters of a ConvGRU; gate order z (update), r (reset), h (candidate).

    ``K`` and ``R`` stand for the sizes of the two windows, ``C`` for the input's channels.
    """

    kernel: jax.Array  # [*K, C, 3U]
    recurrent_kernel: jax.Array  # [*R, U, 3U]
    bias: jax.Array | None = None  # [2, 3U] (input row, recurrent row) with reset_after, else [3U]


class ConvGRUState(NamedTuple):
    """State of a ConvGRU: an image of the size of the input's convolution."""

    hidden: jax.Array  # [..., *S, U], or [..., U, *S] with channels_first


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvGRUCell(ConvCell):
    """The gated recurrent unit over images of 1, 2 or 3 axes.

    ``GRUCell`` with each product of the input replaced by its convolution ``*``, and each of the
    state by ``°``::

        z  = a(x * Wz + bz + h ° Rz + cz)
        r  = a(x * Wr + br + h ° Rr + cr)
        n  = activation(x * Wh + bh + r (h ° Rh + ch))   # reset_after=True
        n  = activation(x * Wh + bh + (r h) ° Rh)        # reset_after=False
        h' = z h + (1 - z) n

    The other choices are those of ``ConvLSTMCell``, without ``unit_forget_bias``.

    Args:
        reset_after: Whether the reset gate multiplies the state's convolution or the state before
            it. The bias has two rows, or one.

    Source: Ballas et al., 2015 (arXiv:1511.06432); ``jrnn.GRUCell``.
    """

    gates: ClassVar[int] = 3

    reset_after: bool = True

    def init(
        self, key: jax.Array, features: int, units: int, dtype: DTypeLike = jnp.float32
    ) -> ConvGRUParams:
        """Returns fresh parameters for images of C = ``features`` channels: see the class."""
        kernel, recurrent, key = self._init_arrays(key, features, units, 3, dtype)
        if not self.use_bias:
            return ConvGRUParams(kernel, recurrent)
        bias = initializers.get(self.bias_initializer)(key, self._bias_shape(3 * units), dtype)
        return ConvGRUParams(kernel, recurrent, bias)

    def initial_state(self, params: ConvGRUParams, z: jax.Array) -> ConvGRUState:
        """Returns the zero state."""
        return ConvGRUState(self._zeros(params, z, 3))

    def project(self, params: ConvGRUParams, xs: ArrayLike, *, dropout: Masks = ()) -> jax.Array:
        """Returns the convolution and input bias [..., *S, 3U] of images [..., *S, C]."""
        check_type("ConvGRUCell", params, ConvGRUParams)
        bias_shape = self._bias_shape(params.kernel.shape[-1])
        check_bias("ConvGRUCell", params.bias, self.use_bias, bias_shape)
        zs = self._of_input(params, xs, 3, dropout)
        if params.bias is not None:
            zs = self._add_bias(zs, params.bias[0] if self.reset_after else params.bias)
        return narrowed(zs, jnp.result_type(xs, params.kernel))

    def step(
        self, params: ConvGRUParams, state: ConvGRUState, z: jax.Array, *, dropout: Masks = ()
    ) -> tuple[ConvGRUState, jax.Array]:
        """Returns the next state and the output [..., *S, U]."""
        recurrence = self._reset_after if self.reset_after else self._reset_before
        hidden = recurrence(params, state.hidden, wide(z), dropout)
        hidden = narrowed(hidden, state.hidden.dtype)
        return ConvGRUState(hidden), hidden

    def _reset_after(
        self, params: ConvGRUParams, hidden: jax.Array, z: jax.Array, dropout: Masks
    ) -> jax.Array:
        inner = self._of_state(params.recurrent_kernel, hidden, dropout)
        if params.bias is not None:
            inner = self._add_bias(inner, params.bias[1])
        inner_update, inner_reset, inner_candidate = self._split(inner, 3)
        update, reset, candidate = self._split(z, 3)
        update, reset = update + inner_update, reset + inner_reset
        activation, gate = self._activations()
        return gru_after(activation, gate, update, reset, candidate, inner_candidate, wide(hidden))

    def _reset_before(
        self, params: ConvGRUParams, hidden: jax.Array, z: jax.Array, dropout: Masks
    ) -> jax.Array:
        width = 2 * params.recurrent_kernel.shape[-2]
        gate_kernel, candidate_kernel = jnp.split(params.recurrent_kernel, [width], axis=-1)
        inner = self._of_state(gate_kernel, hidden, dropout[:2])
        inner_update, inner_reset = self._split(inner, 2)
        update, reset, candidate = self._split(z, 3)
        update, reset = update + inner_update, reset + inner_reset
        activation, gate = self._activations()
        update, kept = gru_before(gate, update, reset, wide(hidden))
        kept, hidden = narrowed(kept, hidden.dtype), wide(hidden)
        candidate = candidate + self._of_state(candidate_kernel, kept, dropout[-1:])
        candidate = activation(candidate)
        return update * hidden + (1 - update) * candidate

    def _activations(self) -> tuple[Activation, Activation]:
        return activations.get(self.activation), activations.get(self.recurrent_activation)

    def _bias_shape(self, width: int) -> tuple[int, ...]:
        return (2, width) if self.reset_after else (width,)
