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
    check_sizes,
    check_type,
    gate_products,
    zeros,
)
from jrnn.cells.gates import sru_gates
from jrnn.initializers import Initializer


class SRUParams(NamedTuple):
    """Parameters of an SRU; the kernel's blocks are candidate, forget, reset and highway."""

    kernel: jax.Array  # [F, 3U] if F == U, as in ND4J; [F, 4U] with a block for the highway
    bias: jax.Array | None = None  # [2U]: forget, reset


class SRUState(NamedTuple):
    """State of an SRU."""

    cell: jax.Array  # [..., U]


@dataclasses.dataclass(frozen=True)
class SRUCell(Cell):
    """The simple recurrent unit, without weights on its state.

    With ``Wc, Wf, Wr`` and ``Wx`` the blocks of the kernel::

        f  = sigmoid(x @ Wf + bf)
        r  = sigmoid(x @ Wr + br)
        c' = f * c + (1 - f) * (x @ Wc)
        y  = r * activation(c') + (1 - r) * highway

    ``highway`` is ``x`` itself with a kernel of three blocks, which needs as many units as
    features, and ``x @ Wx`` with one of four.

    Args:
        activation: Of the cell's state: a function or a name known to ``jrnn.activations.get``.
        use_bias: Whether the parameters hold a bias.
        kernel_initializer: A function or name known to ``jrnn.initializers.get``.
        bias_initializer: Likewise, for the bias.

    Source: Lei et al., 2018 (arXiv:1709.02755, its first version); ND4J's ``sruCell``.
    """

    elementwise: ClassVar[bool] = True
    gates: ClassVar[int] = 4  # products; three, and the fourth's masks unused, if the highway is x

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
        """Returns fresh parameters: kernel [F, 3U], or [F, 4U] where F is not U, and bias [2U].

        Raises:
            ValueError: If a size is no positive integer, or the shapes would be those of another
                number of units: without bias where 4U is 3F.
        """
        check_sizes("SRUCell.init", features=features, units=units)
        if not self.use_bias and 4 * units == 3 * features:
            raise ValueError(
                f"SRUCell.init: {features} features and {units} units without bias need a kernel "
                f"that cannot be told from one of {features} units; use a bias or other sizes"
            )
        keys = jax.random.split(key, 2)
        width = (3 if features == units else 4) * units
        kernel = initializers.get(self.kernel_initializer)(keys[0], (features, width), dtype)
        if not self.use_bias:
            return SRUParams(kernel)
        bias = initializers.get(self.bias_initializer)(keys[1], (2 * units,), dtype)
        return SRUParams(kernel, bias)

    def initial_state(self, params: SRUParams, z: tuple[jax.Array, ...]) -> SRUState:
        """Returns the zero state [..., U]."""
        return SRUState(zeros(params, z[0], z[0].shape[-1]))

    def project(
        self, params: SRUParams, xs: ArrayLike, *, dropout: Masks = ()
    ) -> tuple[jax.Array, ...]:
        """Returns candidate, forget gate, reset gate and highway, each [..., U]."""
        check_type("SRUCell", params, SRUParams)
        blocks = _blocks(params)
        check_bias("SRUCell", params.bias, self.use_bias, (2 * params.kernel.shape[1] // blocks,))
        xs = check_input("SRUCell", xs, params.kernel)
        kernels = jnp.split(params.kernel, blocks, axis=-1)
        candidate, forget, reset, *projected = gate_products(xs, kernels, None, dropout[:blocks])
        if params.bias is not None:
            of_forget, of_reset = jnp.split(params.bias, 2)
            forget, reset = forget + of_forget, reset + of_reset
        forget, reset = activations.sigmoid(forget), activations.sigmoid(reset)
        return candidate, forget, reset, projected[0] if projected else xs

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
        candidate, forget, reset, highway = z
        activation = activations.get(self.activation)
        if activation is activations.tanh:
            cell, y = sru_gates(candidate, forget, reset, highway, state.cell)
        else:
            cell = forget * state.cell + (1 - forget) * candidate
            y = reset * activation(cell) + (1 - reset) * highway
        return SRUState(cell), y


def _blocks(params: SRUParams) -> int:
    """Returns how many blocks the kernel has: 3 with the input itself as highway, else 4.

    [4, 12] is both three blocks of 4 units and four of 3: then the bias tells.
    """
    features, width = params.kernel.shape[0], params.kernel.shape[-1]
    four = params.kernel.shape == (features, width) and width % 4 == 0
    if params.kernel.shape == (features, 3 * features) and not (
        four and params.bias is not None and params.bias.shape == (width // 2,)
    ):
        return 3
    if four:
        return 4
    raise ValueError(
        f"SRUCell: kernel is shape {params.kernel.shape}, but this cell needs "
        f"{(features, 3 * features)}, or four blocks of one size: [{features}, 4 * units]"
    )
