"""LSTM, with optional peepholes, output projection and cell clipping."""

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
    check_shape,
    check_sizes,
    check_type,
    masked_product,
    narrowed,
    product,
    project_input,
    to_rank,
    wide,
    zeros,
)
from jrnn.cells.gates import lstm_gates
from jrnn.initializers import Initializer


class LSTMParams(NamedTuple):
    """Parameters of an LSTM, in Keras's layout; gate order i (input), f (forget), c, o (output).

    The state's size is ``U``, or ``P`` where there is a projection.
    """

    kernel: jax.Array  # [F, 4U]
    recurrent_kernel: jax.Array  # [U or P, 4U]
    bias: jax.Array | None = None  # [4U]
    peephole: jax.Array | None = None  # [3, U], rows i, f, o
    projection: jax.Array | None = None  # [U, P]


class LSTMState(NamedTuple):
    """State of an LSTM."""

    hidden: jax.Array  # [..., U or P]
    cell: jax.Array  # [..., U]


class LSTMGates(NamedTuple):
    """What one step of an LSTM computes on the way, each [..., U], after its activation."""

    input: jax.Array
    forget: jax.Array
    candidate: jax.Array
    output: jax.Array
    cell: jax.Array  # the next cell


@dataclasses.dataclass(frozen=True)
class LSTMCell(Cell):
    """Long short-term memory.

    With ``a = recurrent_activation`` and the gates in the order i, f, c, o::

        i, f, g, o = split(x @ kernel + bias + h @ recurrent_kernel, 4)
        i, f = a(i + peephole[0] * c), a(f + peephole[1] * c)
        c' = clip(f * c + i * activation(g), -cell_clip, cell_clip)
        o  = a(o + peephole[2] * c')
        h' = clip((o * output_activation(c')) @ projection, -projection_clip, projection_clip)

    where the peephole terms, the clips and the projection stand only if asked for. The output
    is ``h'``.

    Args:
        activation: Of the candidate: a function or a name known to ``jrnn.activations.get``.
        recurrent_activation: Of the three gates.
        use_bias: Whether the parameters hold a bias.
        unit_forget_bias: Whether ``init`` sets the forget gate's bias to one.
        peephole: Whether the gates see the cell through diagonal weights.
        projection: Size ``P`` of the projected output, or None for no projection.
        cell_clip: Bound on the cell's absolute value, or None.
        output_activation: Of the next cell, on its way to the output; None for ``activation``.
        projection_clip: Bound on the projected output's absolute value, or None.
        kernel_initializer: A function or name known to ``jrnn.initializers.get``; also draws
            the projection.
        recurrent_initializer: Likewise, for the recurrent kernel.
        bias_initializer: Likewise, for the bias.
        peephole_initializer: Likewise, for the peephole weights.

    Source: Hochreiter and Schmidhuber, 1997; Gers and Schmidhuber, 2000 (peepholes); Sak et
    al., 2014 (arXiv:1402.1128, projection); ``keras.layers.LSTMCell``.
    """

    gates: ClassVar[int] = 4

    activation: Activation | str = "tanh"
    recurrent_activation: Activation | str = "sigmoid"
    use_bias: bool = True
    unit_forget_bias: bool = True
    peephole: bool = False
    projection: int | None = None
    cell_clip: float | None = None
    output_activation: Activation | str | None = None
    projection_clip: float | None = None
    kernel_initializer: Initializer | str = "glorot_uniform"
    recurrent_initializer: Initializer | str = "orthogonal"
    bias_initializer: Initializer | str = "zeros"
    peephole_initializer: Initializer | str = "zeros"

    def __post_init__(self) -> None:
        for draw in (
            self.kernel_initializer,
            self.recurrent_initializer,
            self.bias_initializer,
            self.peephole_initializer,
        ):
            initializers.get(draw)
        activations.get(self.activation)
        activations.get(self.recurrent_activation)
        activations.get(self.output_activation)
        if self.projection is not None:
            check_sizes("LSTMCell", projection=self.projection)
        elif self.projection_clip is not None:
            raise ValueError("LSTMCell: projection_clip needs a projection; use cell_clip or None")
        for name in ("cell_clip", "projection_clip"):
            bound = getattr(self, name)
            if bound is not None and not bound > 0:
                raise ValueError(f"LSTMCell: {name} is {bound}, but it must be above 0")

    def init(
        self, key: jax.Array, features: int, units: int, dtype: DTypeLike = jnp.float32
    ) -> LSTMParams:
        """Returns fresh parameters: kernel [F, 4U], recurrent_kernel [U, 4U], bias [4U]."""
        check_sizes("LSTMCell.init", features=features, units=units)
        keys = jax.random.split(key, 5)
        draw_kernel = initializers.get(self.kernel_initializer)
        draw_recurrent = initializers.get(self.recurrent_initializer)
        draw_peephole = initializers.get(self.peephole_initializer)
        state_size = self.projection or units
        return LSTMParams(
            draw_kernel(keys[0], (features, 4 * units), dtype),
            draw_recurrent(keys[1], (state_size, 4 * units), dtype),
            self._init_bias(keys[2], units, dtype) if self.use_bias else None,
            draw_peephole(keys[3], (3, units), dtype) if self.peephole else None,
            draw_kernel(keys[4], (units, state_size), dtype) if self.projection else None,
        )

    def _init_bias(self, key: jax.Array, units: int, dtype: DTypeLike) -> jax.Array:
        bias = initializers.get(self.bias_initializer)(key, (4 * units,), dtype)
        return bias.at[units : 2 * units].set(1) if self.unit_forget_bias else bias

    def initial_state(self, params: LSTMParams, z: jax.Array) -> LSTMState:
        """Returns the zero state: hidden [..., U or P] and cell [..., U]."""
        state_size, width = params.recurrent_kernel.shape
        return LSTMState(zeros(params, z, state_size), zeros(params, z, width // 4))

    def project(self, params: LSTMParams, xs: ArrayLike, *, dropout: Masks = ()) -> jax.Array:
        """Returns ``xs @ kernel + bias`` [..., 4U] for ``xs`` [..., F]."""
        check_type("LSTMCell", params, LSTMParams)
        units = params.kernel.shape[-1] // 4
        state_size = self.projection or units
        check_shape("LSTMCell", "kernel", params.kernel, (params.kernel.shape[0], 4 * units))
        check_shape(
            "LSTMCell", "recurrent_kernel", params.recurrent_kernel, (state_size, 4 * units)
        )
        check_bias("LSTMCell", params.bias, self.use_bias, (4 * units,))
        if self.peephole or params.peephole is not None:
            _check_optional("peephole", params.peephole, self.peephole, (3, units))
        if self.projection or params.projection is not None:
            _check_optional("projection", params.projection, self.projection, (units, state_size))
        return project_input("LSTMCell", xs, params.kernel, params.bias, dropout)

    def step(
        self, params: LSTMParams, state: LSTMState, z: jax.Array, *, dropout: Masks = ()
    ) -> tuple[LSTMState, jax.Array]:
        """Returns the next state and the output [..., U or P]."""
        if self._is_standard():
            hidden, cell = lstm_gates(_pre(params, state, z, dropout), wide(state.cell))
        else:
            *_, output, cell = self.gate_values(params, state, z, dropout=dropout)
            hidden = output * self.of_cell(cell)
        hidden, cell = narrowed((hidden, cell), state.hidden.dtype)
        hidden = self.projected(params, hidden)
        return LSTMState(hidden, cell), hidden

    def gate_values(
        self, params: LSTMParams, state: LSTMState, z: jax.Array, *, dropout: Masks = ()
    ) -> LSTMGates:
        """Returns what ``step`` computes on the way: the gates and the next cell [..., U].

        Of 16-bit operands they are in float32, as ``step`` has them before it rounds its results.
        """
        return self.gates_of(params, _pre(params, state, z, dropout), wide(state.cell))

    def gates_of(self, params: LSTMParams, pre: jax.Array, old_cell: jax.Array) -> LSTMGates:
        """Returns ``gate_values`` for pre-activations i, f, c, o [..., 4U]."""
        gate = activations.get(self.recurrent_activation)
        i, f, g, o = jnp.split(pre, 4, axis=-1)
        peephole = wide(params.peephole)
        if peephole is not None:
            i = i + to_rank(peephole[0], i) * old_cell
            f = f + to_rank(peephole[1], f) * old_cell
        i, f, g = gate(i), gate(f), activations.get(self.activation)(g)
        cell = _clipped(f * old_cell + i * g, self.cell_clip)
        if peephole is not None:
            o = o + to_rank(peephole[2], o) * cell
        return LSTMGates(i, f, g, gate(o), cell)

    def of_cell(self, cell: jax.Array) -> jax.Array:
        """Returns what the output gate lets through: the cell after its activation."""
        return self._output_activation()(cell)

    def projected(self, params: LSTMParams, hidden: jax.Array) -> jax.Array:
        """Returns the output [..., U or P] from the hidden state before the projection."""
        if params.projection is None:
            return hidden
        out = _clipped(product(hidden, params.projection), self.projection_clip)
        return narrowed(out, hidden.dtype)

    def _output_activation(self) -> Activation:
        chosen = self.activation if self.output_activation is None else self.output_activation
        return activations.get(chosen)

    def _is_standard(self) -> bool:
        activation = activations.get(self.activation)
        return (
            activation is activations.tanh
            and self._output_activation() is activations.tanh
            and activations.get(self.recurrent_activation) is activations.sigmoid
            and not self.peephole
            and self.cell_clip is None
        )


def _pre(params: LSTMParams, state: LSTMState, z: jax.Array, dropout: Masks) -> jax.Array:
    return wide(z) + masked_product(state.hidden, params.recurrent_kernel, dropout)


def _clipped(x: jax.Array, bound: float | None) -> jax.Array:
    return x if bound is None else jnp.clip(x, -bound, bound)


def _check_optional(name: str, array, wanted, expected: tuple[int, ...]) -> None:
    if not wanted:
        raise ValueError(
            f"LSTMCell: params hold a {name} of shape {array.shape}, but the cell was made "
            f"without one; use LSTMCell({name}=...)"
        )
    check_shape("LSTMCell", name, array, expected)
