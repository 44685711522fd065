"""Arrays of gates: one for all, as jrnn has them, or one for each, as Flax."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def packed(params: Mapping[str, Any], side: str, gates: str, field: str) -> jax.Array:
    """Returns one array for all gates, of the arrays of each."""
    return jnp.concatenate([params[side + gate][field] for gate in gates], axis=-1)


def of_each(side: str, gates: str, kernel: jax.Array, bias: jax.Array | None = None) -> dict:
    """Returns a kernel, and a bias if there is one, for each gate."""
    found = {
        side + gate: {"kernel": block}
        for gate, block in zip(gates, jnp.split(kernel, len(gates), axis=-1), strict=True)
    }
    if bias is not None:
        for gate, block in zip(gates, jnp.split(bias, len(gates)), strict=True):
            found[side + gate]["bias"] = block
    return found


def in_order(array: jax.Array, given: str, wanted: str) -> jax.Array:
    """Returns the gates, which stand in one order, in another."""
    blocks = dict(zip(given, jnp.split(array, len(given), axis=-1), strict=True))
    return jnp.concatenate([blocks[gate] for gate in wanted], axis=-1)


def added_to_forget(bias: jax.Array, by: int) -> jax.Array:
    """Returns a bias in jrnn's order with something added to the forget gate's."""
    units = bias.shape[-1] // 4
    return bias.at[units : 2 * units].add(by)
