"""What callers hand to the ops, checked and brought to one layout."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.base import check_type
from jrnn.cells.lstm import LSTMState
from jrnn.layers.arguments import check_lengths

_PLACES = {"TNS": (0, 1, 2), "T2NS": (0, 1, 2), "NTS": (1, 0, 2), "NST": (2, 0, 1)}


def sequence(who: str, x: ArrayLike) -> jax.Array:
    """Returns ``x`` of three axes as an array of floating-point numbers."""
    x = jnp.asarray(x)
    if x.ndim != 3:
        raise ValueError(
            f"jrnn.nd4j.{who}: x has shape {x.shape}, but three axes are needed: batch, time "
            "and features, in the order of the data format"
        )
    return _floating(x)


def one_step(who: str, x: ArrayLike) -> jax.Array:
    """Returns ``x`` [..., I] as an array of floating-point numbers."""
    x = jnp.asarray(x)
    if x.ndim == 0:
        raise ValueError(f"jrnn.nd4j.{who}: x is a single number, but [B, I] is needed")
    return _floating(x)


def _floating(x: jax.Array) -> jax.Array:
    """What is not floating becomes float32, as upstream."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def checked(who: str, weights: Any, expected: type) -> Any:
    """Returns the weights as JAX arrays; raises ``ValueError`` unless they are of the type."""
    check_type(f"jrnn.nd4j.{who}", weights, expected)
    return jax.tree.map(jnp.asarray, weights)


def expect(who: str, shape: tuple[int, ...], **arrays: Any) -> None:
    """Raises ``ValueError`` unless every array that is given has the shape."""
    for name, array in arrays.items():
        if array is not None and jnp.shape(array) != shape:
            raise ValueError(
                f"jrnn.nd4j.{who}: {name} has shape {jnp.shape(array)}, but x and the weights "
                f"need {shape}"
            )


def split_rows(who: str, weight: jax.Array, features: int, gates: int) -> list[jax.Array]:
    """Returns the rows of x and those of the state of one weight [I + n, gates * n]."""
    rows, width = weight.shape
    if rows - features != width // gates:
        raise ValueError(
            f"jrnn.nd4j.{who}: features is {features}, but a weight of {rows} rows for "
            f"{width // gates} units has {rows - width // gates} features"
        )
    return jnp.split(weight, [features])


def lengths_of(
    who: str, name: str, given: ArrayLike | None, batch: int, steps: int
) -> jax.Array | None:
    """Returns a length for each row as integers; numbers of any kind are cut to whole ones."""
    if given is None:
        return None
    lengths = jnp.asarray(given)
    if lengths.ndim == 0:
        lengths = jnp.broadcast_to(lengths, (batch,))
    lengths = lengths.astype(jnp.int32)
    check_lengths(lengths, (batch,), steps, what=f"jrnn.nd4j.{who}: {name}")
    return lengths


def lstm_state(y_last: Any, c_last: Any) -> Any:
    """Returns the initial state, 0 (which the loop widens) for what is not given."""
    given: list[Any] = [0.0 if one is None else jnp.asarray(one) for one in (y_last, c_last)]
    return LSTMState(*given)


def time_major(x: jax.Array, data_format: Any) -> jax.Array:
    """Returns ``x`` as [T, N, S], from the axes that the member of an enum names."""
    return x.transpose(_PLACES[data_format.name])


def in_format(ys: jax.Array, data_format: Any) -> jax.Array:
    """Returns ``ys`` [T, N, S] with the axes that the member of an enum names."""
    if ys.ndim == 4:  # [T, 2, N, S], the one layout of both directions side by side
        return ys
    return ys.transpose([_PLACES[data_format.name].index(axis) for axis in range(3)])
