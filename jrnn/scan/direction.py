"""A cell over time as one loop: initial state, masks, lengths, resets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from jrnn.cells.base import (
    Cell,
    Params,
    State,
    check_structure,
    to_rank,
)
from jrnn.cells.meshes import whole
from jrnn.cells.noise import Clock


class Direction(NamedTuple):
    """A cell over time as what ``loop`` takes, and one step's projection."""

    body: Callable[[Any, Any, Any], tuple[Any, Any]]
    prepare: Callable[[Any, Any], Any]
    fixed: Any
    carry: Any
    inputs: Any
    z: Any


def direction(
    cell: Cell,
    params: Params,
    xs: Any,
    initial_state: State | None,
    initial_output: Any,
    *,
    reverse: bool,
    return_sequences: bool,
    return_all_states: bool,
    lengths: jax.Array | None = None,
    mask: jax.Array | None = None,
    resets: jax.Array | None = None,
    masked_output: str = "zero",
) -> Direction:
    """Returns the loop that ``scan_cell`` describes, for inputs in the order of time."""
    xs, mask, resets = jax.tree.map(lambda leaf: whole(leaf, 0), (xs, mask, resets))
    valid = _valid_steps(jax.tree.leaves(xs)[0].shape[0], lengths, mask)
    if valid is not None:
        xs = _where(valid, xs, jax.tree.map(jnp.zeros_like, xs))
    z0 = cell.project(params, first_step(xs))
    fresh = cell.initial_state(params, z0)
    state = fresh if initial_state is None else _like("initial_state", initial_state, fresh)
    state = _split_as_after(cell, params, state, z0)

    keep_output = not return_sequences or (valid is not None and masked_output == "repeat")
    zeros = None
    if keep_output or valid is not None or initial_output is not None:
        zeros = jax.tree.map(jnp.zeros_like, cell.step(params, fresh, z0)[1])
    output = zeros if initial_output is None else _like("initial_output", initial_output, zeros)
    output = output if keep_output else None

    def prepare(fixed, step):
        return (cell.project(fixed[0], step[0]), *step[1:])

    def body(fixed, carry, step):
        params, fresh, zeros = fixed
        state, last_output = carry
        z, is_valid, is_crossing = step
        if is_crossing is not None:
            state = _restarted(is_crossing, fresh, state)
        next_state, y = cell.step(params, state, z)
        if is_valid is not None:
            next_state = _where(is_valid, next_state, state)
            y = _where(is_valid, y, last_output if keep_output else zeros)
        kept = next_state if return_all_states else None, y if return_sequences else None
        return (next_state, y if keep_output else None), kept

    inputs = (xs, valid, _crossings(resets, reverse))
    return Direction(body, prepare, (params, fresh, zeros), (state, output), inputs, z0)


def _valid_steps(steps: int, lengths, mask) -> jax.Array | None:
    """Returns which steps count [T, ...], or None where all do."""
    valid = None if mask is None else jnp.asarray(mask).astype(bool)
    if lengths is not None:
        lengths = jnp.asarray(lengths).astype(int)  # as arange's, also where promotion is strict
        within = jnp.arange(steps).reshape(-1, *[1] * lengths.ndim) < lengths[None]
        valid = within if valid is None else valid & within
    return valid


def _crossings(resets, reverse: bool) -> jax.Array | None:
    """Returns where the loop, on arriving at a step, enters another sequence [T, ...]."""
    if resets is None:
        return None
    resets = jnp.asarray(resets).astype(bool)
    if not reverse:
        return resets
    return jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])


def first_step(xs: Any) -> Any:
    """Returns the input of one step, also where there are no steps."""

    def first(x):
        return whole(x, 0)[0] if x.shape[0] else jnp.zeros_like(x, shape=x.shape[1:])

    return jax.tree.map(first, xs)


def _split_as_after(cell: Cell, params: Params, state: State, z: Any) -> State:
    """Returns the state split over a mesh of explicit axes as a step leaves it."""
    if AxisType.Explicit not in jax.sharding.get_abstract_mesh().axis_types:
        return state

    def split(leaf, after):
        spec = after.sharding.spec
        return leaf if jax.typeof(leaf).sharding.spec == spec else jax.sharding.reshard(leaf, spec)

    return jax.tree.map(split, state, jax.eval_shape(cell.step, params, state, z)[0])


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    """Selects whole rows of two pytrees; the condition has the leaves' leading axes."""

    def select(a, b):
        if a.ndim < condition.ndim:
            raise ValueError(
                f"jrnn.scan: a mask or reset of shape {condition.shape} selects rows, but the "
                f"cell has a state, input or output of shape {a.shape} without those axes"
            )
        shape = condition.shape + (1,) * (a.ndim - condition.ndim)
        return jnp.where(condition.reshape(shape), a, b)

    return jax.tree.map(select, new, old)


def _restarted(is_crossing: jax.Array, fresh: Any, state: Any) -> Any:
    """Returns the fresh state at a border; clocks run on, so that no noise comes twice."""

    def select(new, old):
        return old if isinstance(old, Clock) else _where(is_crossing, new, old)

    return jax.tree.map(select, fresh, state, is_leaf=lambda node: isinstance(node, Clock))


def _like(name: str, given: Any, reference: Any) -> Any:
    """Returns ``given`` with the structure, shapes, dtypes and sharding of ``reference``."""
    check_structure(f"jrnn.scan: {name}", given, reference)

    def fit(value, target):
        if jnp.issubdtype(target.dtype, jax.dtypes.extended):  # PRNG keys
            return value
        shape = jnp.shape(value)
        missing = target.ndim - len(shape)
        ends = zip(shape, target.shape[max(missing, 0) :], strict=False)
        if missing < 0 or any(got not in (1, needed) for got, needed in ends):
            raise ValueError(
                f"jrnn.scan: {name} has shape {shape}, but the cell needs {target.shape}"
            )
        # Adding zeros made from the input broadcasts, and carries sharding and varying axes over.
        return to_rank(jnp.asarray(value).astype(target.dtype), target) + jnp.zeros_like(target)

    return jax.tree.map(fit, given, reference)
