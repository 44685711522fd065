"""DropConnect: dropout of the weights between a state and the next."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jrnn.cells.base import Params
from jrnn.cells.meshes import split_as
from jrnn.cells.noise import drawn, draws, make_rates
from jrnn.cells.wrapper import Wrapper, array_names


@dataclasses.dataclass(frozen=True)
class DropConnectCell(Wrapper):
    """A cell whose recurrent kernel loses random weights in training.

    With ``k`` drawn once for all rows and steps, 0 with probability ``rate`` and otherwise
    ``1 / (1 - rate)``, every ``recurrent_kernel`` among the parameters becomes
    ``recurrent_kernel * k``. Without a key the cell is the inner one.

    Args:
        cell: A cell whose parameters have a ``recurrent_kernel``; those of cells inside count.
        rate: Probability, from 0 to 1, that a weight is dropped.

    Raises:
        ValueError: If the rate is out of range; in ``draw``, if there is no such parameter.

    Source: Wan et al., 2013 ("Regularization of neural networks using DropConnect"); Merity et
    al., 2017 (arXiv:1708.02182), the AWD-LSTM.
    """

    rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        make_rates(self, "rate")

    @property
    def is_random(self) -> bool:
        """Whether ``draw`` draws anything: always."""
        return True

    def draw(self, key: jax.Array, params: Params, x: Any) -> Params:
        """Returns the parameters with what is kept of every recurrent kernel."""
        if draws(self.cell):
            key, of_cell = jax.random.split(key)
            params = drawn(self.cell, of_cell, params, x)
        arrays, structure = jax.tree.flatten(params)
        kernels = [name == "recurrent_kernel" for name in array_names(params)]
        if not any(kernels):
            raise ValueError(
                f"DropConnectCell: the parameters of {type(self.cell).__name__} have no "
                "recurrent_kernel to drop weights of; use DropoutCell"
            )
        keys = jax.random.split(key, len(arrays))
        kept = [
            self._kept(one, array) if is_kernel else array
            for one, is_kernel, array in zip(keys, kernels, arrays, strict=True)
        ]
        return jax.tree.unflatten(structure, kept)

    def _kept(self, key: jax.Array, kernel: jax.Array) -> jax.Array:
        if self.rate in (0, 1):
            return kernel * (1 - self.rate)
        kept = jax.random.bernoulli(key, 1 - self.rate, kernel.shape)
        return jnp.where(split_as(kept, kernel), kernel / (1 - self.rate), jnp.zeros_like(kernel))
