"""Cells of Flax Linen, or of one's own in its form, as cells of jrnn."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

import jrnn


@dataclasses.dataclass(frozen=True)
class FlaxCell(jrnn.Cell):
    """A module with the methods of ``flax.linen.RNNCellBase``; its parameters are "params".

    Its carry is the state, whatever that is. All it computes is done in the loop.
    """

    module: Any  # not bound

    @property
    def feature_ndim(self) -> int:
        """Number of feature axes of the input."""
        return self.module.num_feature_axes

    def init(self, key: jax.Array, features: Any, units: Any) -> Any:
        """Raises ``TypeError``: Flax draws the parameters."""
        raise TypeError("jrnn.flax_wrappers: a cell of Flax draws its own parameters")

    def initial_state(self, params: Any, z: jax.Array) -> Any:
        """Returns what ``initialize_carry`` does."""
        return self.module.initialize_carry(jax.random.key(0), z.shape)

    def project(self, params: Any, xs: Any) -> Any:
        """Returns the inputs."""
        return xs

    def step(self, params: Any, state: Any, z: Any) -> tuple[Any, Any]:
        """Returns the next carry and the output."""
        return self.module.apply({"params": params}, state, z)


def as_cell(module: Any, shape: tuple[int, ...], dtype: Any) -> tuple[FlaxCell, Any]:
    """Returns a bound module as a cell, and its parameters, made if it is initializing.

    Args:
        module: The module.
        shape: Of one step's input.
        dtype: Of the input.

    Raises:
        ValueError: If it holds other variables, which a step may change.
    """
    if module.is_initializing():
        module(module.initialize_carry(jax.random.key(0), shape), jnp.zeros(shape, dtype))
    plain, variables = module.unbind()
    others = sorted(name for name in variables if name != "params" and variables[name])
    if others:
        raise ValueError(
            f"jrnn.flax_wrappers.linen.RNN: the {type(module).__name__} holds {others} beside "
            "parameters, which its steps may change; flax.linen.RNN runs such a cell"
        )
    return FlaxCell(plain), variables.get("params", {})
