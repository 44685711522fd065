"""What callers hand to the ops, checked and brought to one layout."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
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
    return _floating(who, x)


def one_step(who: str, x: ArrayLike) -> jax.Array:
    """Returns ``x`` [..., I] as an array of floating-point numbers."""
    x = jnp.asarray(x)
    if x.ndim == 0:
        raise ValueError(f"jrnn.nd4j.{who}: x is a single number, but [B, I] is needed")
    return _floating(who, x)


def _floating(who: str, x: jax.Array) -> jax.Array:
    """What is not floating becomes float32, as upstream."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(f"jrnn.nd4j.{who}: x has dtype {x.dtype}, but real numbers are needed")
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def checked(who: str, weights: Any, expected: type) -> Any:
    """Returns the weights as JAX arrays; raises ``ValueError`` unless they are of the type."""
    check_type(f"jrnn.nd4j.{who}", weights, expected, "weights")
    weights = jax.tree.map(jnp.asarray, weights)
    for leaf in jax.tree.leaves(weights):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise ValueError(
                f"jrnn.nd4j.{who}: weights hold an array of dtype {leaf.dtype}, but real numbers "
                "are needed"
            )
    return weights


def check_config(who: str, config: Any, expected: type) -> None:
    """Raises ``ValueError`` unless the configuration is of the type."""
    if not isinstance(config, expected):
        raise ValueError(
            f"jrnn.nd4j.{who}: config is a {type(config).__name__}, but {expected.__name__} is "
            "needed"
        )


def expect(who: str, shape: tuple[int, ...], **arrays: Any) -> None:
    """Raises ``ValueError`` unless every array that is given has the shape."""
    for name, array in arrays.items():
        got = shape if array is None else jnp.asarray(array).shape
        if got != shape:
            raise ValueError(
                f"jrnn.nd4j.{who}: {name} has shape {got}, but x and the weights need {shape}"
            )


def needed(who: str, name: str, array: Any, shape: tuple[int, ...]) -> jax.Array:
    """Returns an array that cannot be left out; raises ``ValueError`` for None or another shape."""
    if array is None:
        raise ValueError(f"jrnn.nd4j.{who}: {name} is None, but an array is needed")
    expect(who, shape, **{name: array})
    return jnp.asarray(array)


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
    what = f"jrnn.nd4j.{who}: {name}"
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given))
    on_device = traced or isinstance(given, jax.Array)
    lengths: Any = jnp.asarray(given) if on_device else np.asarray(given)
    if jnp.issubdtype(lengths.dtype, jnp.floating):
        if not on_device and not np.isfinite(lengths).all():
            raise ValueError(f"{what} is {given}, but finite numbers are needed")
        lengths = lengths.astype(int)
    elif lengths.dtype == bool or lengths.size == 0:
        lengths = lengths.astype(int)
    check_lengths(lengths, (batch,) if lengths.ndim else (), steps, what=what)
    lengths = jnp.asarray(lengths, jnp.int32)  # NumPy's are checked before they are cut to 32 bits
    return lengths if lengths.ndim else jnp.broadcast_to(lengths, (batch,))


def lstm_state(y_last: Any, c_last: Any) -> Any:
    """Returns the initial state, 0 (which the loop widens) for what is not given."""
    given: list[Any] = [0.0 if one is None else jnp.asarray(one) for one in (y_last, c_last)]
    return LSTMState(*given)


def sizes(x: jax.Array, data_format: Any) -> tuple[int, ...]:
    """Returns the numbers of steps, rows and features of ``x``."""
    return tuple(x.shape[place] for place in _PLACES[data_format.name])


def time_major(x: jax.Array, data_format: Any) -> jax.Array:
    """Returns ``x`` as [T, N, S], from the axes that the member of an enum names."""
    return x.transpose(_PLACES[data_format.name])


def in_format(ys: jax.Array, data_format: Any) -> jax.Array:
    """Returns ``ys`` [T, N, S] with the axes that the member of an enum names."""
    if ys.ndim == 4:  # [T, 2, N, S], the one layout of both directions side by side
        return ys
    return ys.transpose([_PLACES[data_format.name].index(axis) for axis in range(3)])
