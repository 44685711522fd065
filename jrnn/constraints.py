"""Projections of weights: `constraint(w) -> w` of the same shape, for after an optimiser's step.

Each function here returns a constraint for its bounds, under Keras's names: `max_norm(2)(kernel)`.
Constraints are hashable, equal by value and picklable. The norm of a weight is its Euclidean
length along `axis`: with 0, the default, each column of a kernel [F, U] has one.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from jax import Array

from jrnn.names import made

Constraint = Callable[[Array], Array]
"""A function from a weight to one of the same shape that keeps to the constraint."""

Axis = int | tuple[int, ...]
"""The axes along which a norm is taken."""

_EPSILON = 1e-7  # what Keras adds to a norm before it divides by it


@dataclasses.dataclass(frozen=True)
class NormBetween:
    """`w n' / (1e-7 + n)`, n the norm and `n' = rate clip(n, low, high) + (1 - rate) n`.

    Attributes:
        low: the least norm.
        high: the greatest.
        rate: how much of the way to them a call goes; 1 is all of it.
        axis: along which the norm is taken.

    Raises:
        ValueError: a bound or the rate is no finite number.

    Source: `keras.constraints.MaxNorm` and `MinMaxNorm`.
    """

    low: float
    high: float
    rate: float = 1.0
    axis: Axis = 0

    def __post_init__(self) -> None:
        for name in ("low", "high", "rate"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not abs(value) < math.inf:
                raise ValueError(f"a norm's {name} is {value!r}, but a finite number is needed")

    def __call__(self, w: Array) -> Array:
        norm = _norm(w, self.axis)
        wanted = self.rate * jnp.clip(norm, self.low, self.high) + (1 - self.rate) * norm
        return w * (wanted / (_EPSILON + norm))


@dataclasses.dataclass(frozen=True)
class UnitNorm:
    """`w / (1e-7 + n)`, n the norm along `axis`."""

    axis: Axis = 0

    def __call__(self, w: Array) -> Array:
        return w / (_EPSILON + _norm(w, self.axis))


@dataclasses.dataclass(frozen=True)
class NonNegative:
    """`max(w, 0)`."""

    def __call__(self, w: Array) -> Array:
        return jnp.maximum(w, 0)


@dataclasses.dataclass(frozen=True)
class Radial:
    """The same number all along each square ring of a kernel [K, K, C, U].

    The number of a ring is taken from the diagonal, as tf.keras does it: for K odd, the middle is
    `w[m - 1, m - 1]` and the k-th ring around it `w[m + k - 1, m + k - 1]`, m = K // 2; for K
    even, they are `w[m - 1, m - 1]` and `w[m + k, m + k]`.

    Raises:
        ValueError: called on what is no kernel of a square window, at least 2 wide.

    Source: `tf.keras.constraints.RadialConstraint` of Keras 2.
    """

    def __call__(self, w: Array) -> Array:
        if w.ndim != 4 or w.shape[0] != w.shape[1] or w.shape[0] < 2:
            raise ValueError(f"radial takes a kernel [K, K, C, U] with K > 1, got shape {w.shape}")
        size, middle = w.shape[0], w.shape[0] // 2
        far = np.abs(np.arange(size) - (size - 1) / 2)
        ring = np.floor(np.maximum(far[:, None], far)).astype(int)
        source = np.where(ring == 0, middle - 1, middle + ring - size % 2)
        return w[source, source]


def max_norm(max_value: float = 2, axis: int | Sequence[int] = 0) -> NormBetween:
    """Returns the constraint to a norm of at most `max_value`."""
    return NormBetween(0.0, max_value, axis=_axis(axis))


def min_max_norm(
    min_value: float = 0.0,
    max_value: float = 1.0,
    rate: float = 1.0,
    axis: int | Sequence[int] = 0,
) -> NormBetween:
    """Returns the constraint to a norm from `min_value` to `max_value`, by `rate` of the way."""
    return NormBetween(min_value, max_value, rate, _axis(axis))


def unit_norm(axis: int | Sequence[int] = 0) -> UnitNorm:
    """Returns the constraint to a norm of 1."""
    return UnitNorm(_axis(axis))


def non_neg() -> NonNegative:
    """Returns the constraint to numbers that are not negative."""
    return NonNegative()


def radial() -> Radial:
    """Returns the constraint to kernels [K, K, C, U] that are the same all along each ring."""
    return Radial()


def get(constraint: str | Constraint, **options: float | Sequence[int]) -> Constraint:
    """Returns the constraint of a name: `get("max_norm", axis=1)` equals `max_norm(axis=1)`.

    Args:
        constraint: a name in `CONSTRAINTS`, or a function of an array, returned as it is.
        **options: arguments of the named function.

    Returns:
        A hashable function of an array.

    Raises:
        ValueError: unknown name; an option the constraint has not.
    """
    return made("constraint", CONSTRAINTS, constraint, options)


def _axis(axis: int | Sequence[int]) -> Axis:
    axes: tuple = tuple(axis) if isinstance(axis, list | tuple) else (axis,)
    if not axes or not all(type(one) is int for one in axes):
        raise ValueError(f"axis is {axis!r}, but an integer or several are needed")
    return axes[0] if len(axes) == 1 else axes


def _norm(w: Array, axis: Axis) -> Array:
    """Returns the norm along the axes, which stay; where it is 0, so is its derivative."""
    squares = jnp.sum(jnp.square(w), axis=axis, keepdims=True)
    return jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))


CONSTRAINTS: Mapping[str, Callable[..., Constraint]] = MappingProxyType(
    {
        "max_norm": max_norm,
        "min_max_norm": min_max_norm,
        "non_neg": non_neg,
        "radial": radial,
        "unit_norm": unit_norm,
    }
)
"""The functions that make a constraint by name, as `get` looks them up; read-only."""
