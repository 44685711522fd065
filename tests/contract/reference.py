"""What every column of the contract grid compares with: the plain computation and its gradient."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.cases import assert_close
from tests.contract.subjects import B, Subject, arguments

GROUPS = (
    "Transformations",
    "Derivatives",
    "Dtypes",
    "Shapes",
    "Padding",
    "Checks",
    "Eight devices",
)
# By group, then by title: functions that try a subject, whose docstrings the page has.
COLUMNS: dict[str, dict[str, Callable[[Subject], None]]] = {group: {} for group in GROUPS}


def column(group: str, title: str) -> Callable:
    """Registers a function that tries a subject."""

    def register(function):
        COLUMNS[group][title] = function
        return function

    return register


class Reference(NamedTuple):
    """Arguments, and what the plain computation makes of them."""

    args: tuple[Any, Any, Any]  # params, state, x
    outputs: Any
    gradient: tuple[Any, Any, Any]


def loss_of(function: Callable) -> Callable:
    """A number that depends on every output, and the outputs."""

    def loss(*args):
        outputs = function(*args)
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(outputs)), outputs

    return loss


def differentiated(function: Callable) -> Callable:
    """``(outputs, gradient)`` of a function's three arguments."""
    together = jax.value_and_grad(loss_of(function), (0, 1, 2), has_aux=True)

    def run(*args):
        (_, outputs), gradient = together(*args)
        return outputs, gradient

    return run


@functools.cache
def plain(subject: Subject, rows: int = 0) -> Callable:
    """``differentiated`` of the plain computation, compiled; ``rows``: so many at a time.

    That makes a difference in what is drawn at random alone.
    """

    def each(params, state, x):
        parts = [
            subject.plain(params, *jax.tree.map(lambda leaf: leaf[k : k + rows], (state, x)))  # noqa: B023
            for k in range(0, x.shape[0], rows)
        ]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    return jax.jit(differentiated(each if rows else subject.plain))


@functools.cache
def compiled(subject: Subject) -> Callable:
    """``differentiated`` of the subject, compiled."""
    return jax.jit(differentiated(subject.call))


@functools.cache
def reference(subject: Subject, rows: int = 0, batch: int = B) -> Reference:
    """The arguments with seed 0, and the plain computation's outputs and gradient."""
    args = arguments(subject, (batch,))
    return Reference(args, *plain(subject, rows if subject.key else 0)(*args))


def directions(tree: Any, seed: int = 5) -> Any:
    """A random direction for every array."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), tree)


def inner(one: Any, other: Any) -> jax.Array:
    """The sum of the products of all numbers of two trees."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return sum((jnp.sum(a * b) for a, b in pairs), jnp.zeros(()))


def of_type(tree: Any, dtype: Any) -> Any:
    """The arrays in another dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def check(run: Callable, subject: Subject, rows: int = 0, tolerance: float = 1e-12) -> None:
    """Outputs and gradient of a function of the three arguments are those of the reference."""
    known = reference(subject, rows)
    outputs, gradient = run(*known.args)
    assert_close(outputs, known.outputs, tolerance)
    assert_close(gradient, known.gradient, tolerance)


def error_of(function: Callable[[Subject], None], subject: Subject) -> str:
    """The error of trying a column, or an empty text."""
    try:
        function(subject)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
