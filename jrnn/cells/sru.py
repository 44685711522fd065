"""SRU: gates that see the input alone, so that a step has no matrix product."""

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
    narrowed,
    to_rank,
    wide,
    zeros,
)
from jrnn.cells.gates import sru_gates
from jrnn.initializers import Initializer


class SRUParams(NamedTuple):
    """Parameters of an SRU; the kernel's blocks are candidate, forget and reset."""

    kernel: jax.Array  # [F, 3U]
    bias: jax.Array | None = None  # [2U]: forget, reset
    highway_kernel: jax.Array | None = None  # [F, U], where F is not U


class SRUState(NamedTuple):
    """State of an SRU."""

    cell: jax.Array  # [..., U]


@dataclasses.dataclass(frozen=True)
class SRUCell(Cell):
    """The simple recurrent unit, without weights on its state.

    With ``Wc, Wf, Wr`` the blocks of the kernel::

        f  = sigmoid(x @ Wf + bf)
        r  = sigmoid(x @ Wr + br)
        c' = f * c + (1 - f) * (x @ Wc)
        y  = r * activation(c') + (1 - r) * highway

    ``highway`` is ``x`` itself, which needs as many units as features, or ``x @ highway_kernel``
    where the parameters hold one.

    Args:
        activation: Of the cell's state: a function or a name known to ``jrnn.activations.get``.
        use_bias: Whether the parameters hold a bias.
        kernel_initializer: A function or name known to ``jrnn.initializers.get``; also draws the
            highway's kernel.
        bias_initializer: Likewise, for the bias.

    Source: Lei et al., 2018 (arXiv:1709.02755, its first version); ND4J's ``sruCell``.
    """

    elementwise: ClassVar[bool] = True
    gates: ClassVar[int] = 4  # products; the last one's masks are unused if the highway is x

    activation: Activation | str = "tanh"
    use_bias: bool = True
    kernel_initializer: Initializer | str = "glorot_uniform"
    bias_initializer: Initializer | str = "zeros"

    def __post_init__(self) -> None:
        for draw in (self.kernel_initializer, self.bias_initializer):
            initializers.get(draw)
        activations.get(self.activation)

    def init(
        self, key: jax.Array, features: int, units: int, dtype: DTypeLike = jnp.float32
    ) -> SRUParams:
        """Returns fresh parameters: kernel [F, 3U], bias [2U], and [F, U] where F is not U."""
        check_sizes("SRUCell.init", features=features, units=units)
        keys = jax.random.split(key, 3)
        draw = initializers.get(self.kernel_initializer)
        kernel = draw(keys[0], (features, 3 * units), dtype)
        bias = None
        if self.use_bias:
            bias = initializers.get(self.bias_initializer)(keys[1], (2 * units,), dtype)
        if features == units:
            return SRUParams(kernel, bias)
        return SRUParams(kernel, bias, draw(keys[2], (features, units), dtype))

    def initial_state(self, params: SRUParams, z: tuple[jax.Array, ...]) -> SRUState:
        """Returns the zero state [..., U]."""
        return SRUState(zeros(params, z[0], z[0].shape[-1]))

    def project(
        self, params: SRUParams, xs: ArrayLike, *, dropout: Masks = ()
    ) -> tuple[jax.Array, ...]:
        """Returns candidate, forget gate, reset gate and highway, each [..., U]."""
        check_type("SRUCell", params, SRUParams)
        features, units = params.kernel.shape[0], params.kernel.shape[-1] // 3
        check_shape("SRUCell", "kernel", params.kernel, (features, 3 * units))
        check_bias("SRUCell", params.bias, self.use_bias, (2 * units,))
        kernels = jnp.split(params.kernel, 3, axis=-1)
        highway_kernel = params.highway_kernel
        if features != units or highway_kernel is not None:
            check_shape("SRUCell", "highway_kernel", highway_kernel, (features, units))
        kernels += [] if highway_kernel is None else [highway_kernel]
        xs = check_input("SRUCell", xs, params.kernel)
        masks = dropout[: len(kernels)]
        candidate, forget, reset, *projected = gate_products(xs, kernels, None, masks)
        if params.bias is not None:
            of_forget, of_reset = jnp.split(params.bias, 2)
            forget = forget + to_rank(wide(of_forget), forget)
            reset = reset + to_rank(wide(of_reset), reset)
        forget, reset = activations.sigmoid(forget), activations.sigmoid(reset)
        highway = projected[0] if projected else xs
        dtype = jnp.result_type(xs, params.kernel)
        return narrowed((candidate, forget, reset, highway), dtype)

    def step(
        self,
        params: SRUParams,
        state: SRUState,
        z: tuple[jax.Array, ...],
        *,
        dropout: Masks = (),
    ) -> tuple[SRUState, jax.Array]:
        """Returns the next state and the output [..., U]."""
        del params
        if dropout:
            raise ValueError(
                "SRUCell: recurrent dropout masks a product with the state, but this cell has "
                "none; use dropout (of the input) alone, or drops_state=True"
            )
        candidate, forget, reset, highway = wide(z)
        activation, old_cell = activations.get(self.activation), wide(state.cell)
        if activation is activations.tanh:
            cell, y = sru_gates(candidate, forget, reset, highway, old_cell)
        else:
            cell = forget * old_cell + (1 - forget) * candidate
            y = reset * activation(cell) + (1 - reset) * highway
        return narrowed((SRUState(cell), y), state.cell.dtype)
