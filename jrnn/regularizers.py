"""Penalties on weights and outputs: `regularizer(x) -> scalar`, to be added to a loss.

Each function here returns a regularizer for its factors, under Keras's names: `l2(0.1)(kernel)`.
Regularizers are hashable, equal by value and picklable.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import Array

from jrnn.names import made

Regularizer = Callable[[Array], Array]
"""A function from a weight of any shape to a scalar, the penalty."""

_EPSILON = 1e-7  # below this length, Keras does not stretch a vector to length 1


@dataclasses.dataclass(frozen=True)
class L1L2:
    """`l1 sum(|x|) + l2 sum(x^2)`, for `x` of any shape.

    Attributes:
        l1: a factor, not negative.
        l2: another.

    Raises:
        ValueError: a factor is negative or no finite number.

    Source: `keras.regularizers.L1L2`.
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name in ("l1", "l2"):
            object.__setattr__(self, name, _factor(name, getattr(self, name)))

    def __call__(self, x: Array) -> Array:
        penalty = jnp.zeros((), x.dtype)
        if self.l1:
            penalty += self.l1 * jnp.sum(jnp.abs(x))
        if self.l2:
            penalty += self.l2 * jnp.sum(jnp.square(x))
        return penalty


@dataclasses.dataclass(frozen=True)
class Orthogonal:
    """`factor` times the mean of `|u . v|` over all pairs of rows (or columns) of a matrix.

    The rows count with length 1; so 0 says that they are orthogonal, `factor` that all point the
    same way.

    Attributes:
        factor: not negative.
        mode: "rows" or "columns".

    Raises:
        ValueError: a factor or mode that is none; called on what is no matrix, or on one with
            fewer than two rows (columns).

    Source: `keras.regularizers.OrthogonalRegularizer`.
    """

    factor: float = 0.01
    mode: str = "rows"

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _factor("factor", self.factor))
        if self.mode not in ("rows", "columns"):
            raise ValueError(f"orthogonal has the modes 'rows' and 'columns', got {self.mode!r}")

    def __call__(self, x: Array) -> Array:
        if x.ndim != 2:
            raise ValueError(f"orthogonal takes a matrix, got an array of shape {x.shape}")
        rows = x if self.mode == "rows" else x.T
        size = rows.shape[0]
        if size < 2:
            raise ValueError(f"orthogonal compares {self.mode}, got {size} in shape {x.shape}")
        squares = jnp.sum(jnp.square(rows), axis=1, keepdims=True)
        rows = rows * jnp.minimum(jax.lax.rsqrt(squares), 1 / _EPSILON)
        products = (rows @ rows.T) * (1 - jnp.eye(size, dtype=x.dtype))
        return self.factor * 0.5 * jnp.sum(jnp.abs(products)) / (size * (size - 1) / 2)


@dataclasses.dataclass(frozen=True)
class OverBatch:
    """`regularizer(y) / B` for outputs `y` [B, ...]: what a batch of any size weighs the same.

    Attributes:
        regularizer: the penalty on the whole batch.

    Source: `activity_regularizer` of tf.keras and of Keras 3 from 3.14 on.
    """

    regularizer: Regularizer

    def __call__(self, y: Array) -> Array:
        return self.regularizer(y) / max(y.shape[0], 1) if y.ndim else self.regularizer(y)


def l1(l1: float = 0.01) -> L1L2:
    """Returns the regularizer `l1 sum(|x|)`."""
    return L1L2(l1=l1)


def l2(l2: float = 0.01) -> L1L2:
    """Returns the regularizer `l2 sum(x^2)`."""
    return L1L2(l2=l2)


def l1_l2(l1: float = 0.0, l2: float = 0.0) -> L1L2:
    """Returns the regularizer `l1 sum(|x|) + l2 sum(x^2)`; as in Keras 3, both default to 0."""
    return L1L2(l1, l2)


def orthogonal(factor: float = 0.01, mode: str = "rows") -> Orthogonal:
    """Returns the regularizer that asks rows or columns of a matrix to be orthogonal."""
    return Orthogonal(factor, mode)


def get(regularizer: str | Regularizer, **options: float | str) -> Regularizer:
    """Returns the regularizer of a name: `get("l2", l2=0.1)` equals `l2(0.1)`.

    Args:
        regularizer: a name in `REGULARIZERS`, or a function of an array, returned as it is.
        **options: arguments of the named function.

    Returns:
        A hashable function of an array.

    Raises:
        ValueError: unknown name; an option the regularizer has not, or a value it cannot take.
    """
    return made("regularizer", REGULARIZERS, regularizer, options)


def _factor(name: str, value: float) -> float:
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}, but a finite number of at least 0 is needed")
    return float(value)


REGULARIZERS: Mapping[str, Callable[..., Regularizer]] = MappingProxyType(
    {"l1": l1, "l2": l2, "l1_l2": l1_l2, "orthogonal": orthogonal}
)
"""The functions that make a regularizer by name, as `get` looks them up; read-only."""
