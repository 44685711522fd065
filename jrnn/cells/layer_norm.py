"""Layer normalization inside SimpleRNN, GRU and LSTM."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jrnn import activations
from jrnn.cells.base import Masks, State, check_type, masked_product, narrowed, to_rank, wide
from jrnn.cells.gru import GRUCell, GRUParams, GRUState
from jrnn.cells.lstm import LSTMCell, LSTMParams, LSTMState
from jrnn.cells.norm import Norm, check_epsilon, check_norm, fresh_norm, normalized
from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNParams, SimpleRNNState
from jrnn.cells.wrapper import OwnParams, init_cell

_VARIANTS = ("paper", "addons", "contrib")
_CELLS = {SimpleRNNCell: SimpleRNNParams, GRUCell: GRUParams, LSTMCell: LSTMParams}


class LayerNormParams(NamedTuple):
    """A cell's parameters, and those of what is normalized in it; ``G`` is the gates' width."""

    params: Any  # the inner cell's
    input: Norm | None = None  # of x @ kernel, gain [G]; "paper" and "addons"
    recurrent: Norm | None = None  # of h @ recurrent_kernel, gain [G]; "paper" and "addons"
    gates: Norm | None = None  # of the gates, gain and offset [G]; "contrib"
    cell: Norm | None = None  # of an LSTM's next cell, gain and offset [U]


@dataclasses.dataclass(frozen=True)
class LayerNormCell(OwnParams):
    """A SimpleRNN, GRU or LSTM with layer normalization inside.

    With ``LN(v) = (v - mean(v)) / sqrt(variance(v) + epsilon) * gain + offset``, each LN with
    parameters of its own. In "paper" and "addons" both products of the cell are normalized, all
    gates of an LSTM at once, those of a GRU apart from its candidate; the bias comes after that::

        x @ kernel + bias  ->  LN(x @ kernel) + bias          # gain alone
        h @ recurrent_kernel  ->  LN(h @ recurrent_kernel)    # likewise

    In "contrib" each gate's whole pre-activation is normalized for itself, the bias with it::

        a(v)  ->  a(LN(v))  for each gate and the candidate

    An LSTM's next cell is normalized as well, on its way to the output. The state's cell is what
    it was before that in "paper", and the normalized one in "addons" and "contrib"::

        c' = f * c + i * g;  h' = o * output_activation(LN(c'))          # "paper"
        c' = LN(f * c + i * g);  h' = o * output_activation(c')          # "addons", "contrib"

    Args:
        cell: A ``SimpleRNNCell``, ``GRUCell`` or ``LSTMCell``, with any options. An LSTM's
            ``unit_forget_bias`` is in "contrib" the forget gate's offset.
        variant: "paper", "addons" or "contrib".
        epsilon: What is added to the variance.
        rms: Whether LN is ``v / sqrt(mean(v**2) + epsilon) * gain``, without an offset.

    Raises:
        ValueError: If the cell is another, the variant unknown, or ``epsilon`` not above 0.

    Source: Ba et al., 2016 (arXiv:1607.06450), equations 20 to 29, without their offsets beside
    the bias; TensorFlow Addons' ``LayerNormLSTMCell``, whose three offsets add up to one bias;
    ``tf.contrib.rnn.LayerNormBasicLSTMCell``, whose LSTM has ``use_bias=False``. Zhang and
    Sennrich, 2019 (arXiv:1910.07467), rms.
    """

    params_type: ClassVar[type] = LayerNormParams

    variant: Literal["paper", "addons", "contrib"] = "paper"
    epsilon: float = 1e-3
    rms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.cell, tuple(_CELLS)):
            raise ValueError(
                f"LayerNormCell: cell is a {type(self.cell).__name__}, but a SimpleRNNCell, "
                "GRUCell or LSTMCell is needed; NormCell normalizes input or output of any cell, "
                "and cells that hold cells go around this one"
            )
        if self.variant not in _VARIANTS:
            raise ValueError(
                f"LayerNormCell: variant is {self.variant!r}, but one of {_VARIANTS} is needed"
            )
        check_epsilon("LayerNormCell", self.epsilon)

    @property
    def gates(self) -> int:
        """Number of gates, the candidate included: the inner cell's."""
        return getattr(self.cell, "gates", 1)

    def init(
        self, key: jax.Array, features: Any, units: Any, dtype: DTypeLike | None = None
    ) -> LayerNormParams:
        """Returns the inner cell's fresh parameters, gains of ones and offsets of zeros."""
        params = init_cell(self.cell, key, features, units, dtype)
        width, own = params.kernel.shape[-1], params.kernel.dtype
        of_cell = None
        if isinstance(self.cell, LSTMCell):
            of_cell = fresh_norm(width // 4, own, offset=not self.rms)
        if self.variant != "contrib":
            one, other = (fresh_norm(width, own, offset=False) for _ in range(2))
            return LayerNormParams(params, one, other, cell=of_cell)
        gates = fresh_norm(width, own, offset=not self.rms)
        if gates.offset is not None and getattr(self.cell, "unit_forget_bias", False):
            ones = gates.offset.at[width // 4 : width // 2].set(1)
            gates = gates._replace(offset=ones)
        return LayerNormParams(params, gates=gates, cell=of_cell)

    def project(self, params: LayerNormParams, xs: Any, *, dropout: Masks = ()) -> Any:
        """Returns the inner cell's projection, in "paper" and "addons" its product normalized."""
        inner, cell = self.inner(params), self.cell
        self._check(params)
        of_cell: Any = cell.project  # of the cells that take masks
        if params.input is None:
            return of_cell(inner, xs, dropout=dropout)
        bias = inner.bias
        unbiased = inner if bias is None else inner._replace(bias=jnp.zeros_like(bias))
        z = of_cell(unbiased, xs, dropout=dropout)
        dtype = jax.tree.leaves(z)[0].dtype
        if not isinstance(cell, GRUCell):
            z = self._norm(wide(z), params.input)
            return narrowed(z if bias is None else z + to_rank(wide(bias), z), dtype)
        z = self._norm(wide(jnp.concatenate(z, -1)), params.input, (2, 1))
        if bias is not None:
            z = z + to_rank(wide(bias[0] if cell.reset_after else bias), z)
        return narrowed(tuple(jnp.split(z, 3, axis=-1)), dtype)

    def _check(self, params: LayerNormParams) -> None:
        """Raises ``ValueError`` unless the cell's and what the variant normalizes are there."""
        who = "LayerNormCell"
        expected = next(_CELLS[kind] for kind in _CELLS if isinstance(self.cell, kind))
        check_type(who, params.params, expected, "params.params")
        width = params.params.kernel.shape[-1]
        offset = not self.rms
        needed = {"gates": (width, offset)}
        if self.variant != "contrib":
            needed = {"input": (width, False), "recurrent": (width, False)}
        if isinstance(self.cell, LSTMCell):
            needed["cell"] = (width // 4, offset)
        for name in ("input", "recurrent", "gates", "cell"):
            norm = getattr(params, name)
            if name in needed:
                size, has_offset = needed[name]
                check_norm(who, name, norm, size, offset=has_offset)
            elif norm is not None:
                raise ValueError(f"{who}: params have {name}, but {self.variant!r} needs none")

    def step(
        self, params: LayerNormParams, state: Any, z: Any, *, dropout: Masks = ()
    ) -> tuple[State, jax.Array]:
        """Returns the next state and the output [..., U]."""
        z, dtype = wide(z), state.hidden.dtype
        if isinstance(self.cell, GRUCell):
            hidden = narrowed(self._gru(self.cell, params, state.hidden, z, dropout), dtype)
            return GRUState(hidden), hidden
        product = masked_product(state.hidden, params.params.recurrent_kernel, dropout)
        pre = z + self._norm(product, params.recurrent)
        pre = self._norm(pre, params.gates, (1,) * self.gates)
        if isinstance(self.cell, LSTMCell):
            return self._lstm(self.cell, params, state, pre)
        cell: Any = self.cell
        hidden = narrowed(activations.get(cell.activation)(pre), dtype)
        return SimpleRNNState(hidden), hidden

    def _lstm(
        self, cell: LSTMCell, params: LayerNormParams, state: LSTMState, pre: jax.Array
    ) -> tuple[LSTMState, jax.Array]:
        values = cell.gates_of(params.params, pre, wide(state.cell))
        new = self._norm(values.cell, params.cell)
        carried = values.cell if self.variant == "paper" else new
        hidden, carried = narrowed((values.output * cell.of_cell(new), carried), state.cell.dtype)
        hidden = cell.projected(params.params, hidden)
        return LSTMState(hidden, carried), hidden

    def _gru(
        self, cell: GRUCell, params: LayerNormParams, hidden: jax.Array, z: Any, masks: Masks
    ) -> jax.Array:
        activation = activations.get(cell.activation)
        gate = activations.get(cell.recurrent_activation)
        split = 2 * hidden.shape[-1]
        kernels = jnp.split(params.params.recurrent_kernel, [split], axis=-1)
        of_gates, of_candidate = _split(params.recurrent, split)
        sum_gates, sum_candidate = _split(params.gates, split)

        inner = self._norm(masked_product(hidden, kernels[0], masks[:2]), of_gates)
        bias = params.params.bias if cell.reset_after else None
        if bias is not None:
            inner = inner + to_rank(wide(bias[1, :split]), inner)
        gates = gate(self._norm(jnp.concatenate(z[:2], -1) + inner, sum_gates, (1, 1)))
        update, reset = jnp.split(gates, 2, axis=-1)

        old = wide(hidden)
        seen = hidden if cell.reset_after else narrowed(reset * old, hidden.dtype)
        inner = self._norm(masked_product(seen, kernels[1], masks[-1:]), of_candidate)
        if bias is not None:
            inner = inner + to_rank(wide(bias[1, split:]), inner)
        new = z[2] + (reset * inner if cell.reset_after else inner)
        return update * old + (1 - update) * activation(self._norm(new, sum_candidate))

    def _norm(self, x: jax.Array, norm: Norm | None, blocks: tuple[int, ...] = (1,)) -> jax.Array:
        """Returns ``x`` normalized, or as it is where the variant does not normalize."""
        if norm is None:
            return x
        return normalized(x, norm, self.epsilon, rms=self.rms, blocks=blocks)


def _split(norm: Norm | None, size: int) -> tuple[Norm | None, Norm | None]:
    """Returns the parameters for the first ``size`` numbers and for the others."""
    if norm is None:
        return None, None
    first = jax.tree.map(lambda leaf: leaf[:size], norm)
    return first, jax.tree.map(lambda leaf: leaf[size:], norm)
