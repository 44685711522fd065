"""Cells of Flax NNX, or of one's own in its form, as cells of jrnn."""

import dataclasses
from typing import Any

import jax
from flax import nnx

import jrnn
from jrnn.flax_wrappers.checks import check_cell_module


@dataclasses.dataclass(frozen=True)
class FlaxCell(jrnn.Cell):
    """A module with the methods of ``flax.nnx.RNNCellBase``; the parameters are its state.

    Its carry is the state, whatever that is. All it computes is done in the loop.
    """

    graphdef: Any
    feature_ndim: int

    def init(self, key: jax.Array, features: Any, units: Any) -> Any:
        """Raises ``TypeError``: Flax draws the parameters."""
        raise TypeError("jrnn.flax_wrappers: a cell of Flax draws its own parameters")

    def initial_state(self, params: Any, z: jax.Array) -> Any:
        """Returns what ``initialize_carry`` does."""
        return self._module(params).initialize_carry(z.shape, nnx.RngStream(0, tag="carry"))

    def project(self, params: Any, xs: Any) -> Any:
        """Returns the inputs."""
        return xs

    def step(self, params: Any, state: Any, z: Any) -> tuple[Any, Any]:
        """Returns the next carry and the output."""
        return self._module(params)(state, z)

    def _module(self, params: Any) -> Any:
        return nnx.merge(self.graphdef, params)


def as_cell(module: nnx.RNNCellBase) -> tuple[FlaxCell, Any]:
    """Returns a module as a cell, and its parameters.

    Raises:
        ValueError: If it holds other variables, which a step may change, or is no cell at all.
    """
    check_cell_module("nnx", module)
    graphdef, params, others = nnx.split(module, nnx.Param, ...)
    if jax.tree.leaves(others):
        kinds = sorted({type(leaf).__name__ for _, leaf in nnx.to_flat_state(others)})
        raise ValueError(
            f"jrnn.flax_wrappers.nnx.RNN: the {type(module).__name__} holds {', '.join(kinds)} "
            "beside parameters, which its steps may change; flax.nnx.RNN runs such a cell"
        )
    return FlaxCell(graphdef, module.num_feature_axes), params
