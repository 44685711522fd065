"""The rows of the contract grid: what is tried, and the same computed step by step without a loop.

Every subject takes ``(params, state, x)`` and returns arrays whose first axis is the batch; an op
with another layout is turned around here. ``plain`` is the same by calls of the cell in a Python
loop over the steps, which the loop of ``jrnn.scan`` has no part in.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jrnn
from jrnn.cells import noise

B, T, F, U = 2, 3, 3, 4


class Subject(NamedTuple):
    """A row of the grid."""

    call: Callable[[Any, Any, Any], Any]
    plain: Callable[[Any, Any, Any], Any]
    shapes: tuple[Any, Any, Any]  # of params, of one row's state, and of one row of x
    time_axis: int | None = None  # of x, from the end; None where there is no time
    next_state: Callable[[Any], Any] | None = None  # the state after the steps, out of the outputs
    key: bool = False  # whether it draws random numbers
    fresh: Callable[[Any, Any], Any] | None = None  # of params and x: with no state given
    padded: Callable[[Any, Any, Any, Any], Any] | None = None  # with lengths, its last argument


def s(*shape):
    return jax.ShapeDtypeStruct(shape, float)


def turned(x, source, target):
    """``jnp.moveaxis`` of a NumPy or JAX array, which stays what it is; from the end."""
    axes = list(range(x.ndim))
    if x.ndim < max(-source, -target):  # too few axes: the op says so itself
        return x
    axes.insert(target % x.ndim, axes.pop(source))
    return x.transpose(axes)


def over_time(step: Callable, state: Any, xs: Any, axis: int = -2, reverse: bool = False):
    """``(state, ys)`` of ``step(state, x) -> (state, y)``, called for every step of ``xs``."""
    ys, axis = {}, axis % xs.ndim
    for t in sorted(range(xs.shape[axis]), reverse=reverse):
        state, ys[t] = step(state, xs[(slice(None),) * axis + (t,)])
    return state, jax.tree.map(lambda *y: jnp.stack(y, axis), *(ys[t] for t in sorted(ys)))


SMOOTH = 0.1  # an epsilon of norms; with a small one differences are no good derivatives
CELLS = {
    "SimpleRNNCell": jrnn.SimpleRNNCell(),
    "GRUCell": jrnn.GRUCell(),
    "GRUCell, reset before": jrnn.GRUCell(reset_after=False),
    "LSTMCell": jrnn.LSTMCell(),
    "LSTMCell, peephole": jrnn.LSTMCell(peephole=True),
    "LSTMCell, projection": jrnn.LSTMCell(projection=2),
    "SRUCell": jrnn.SRUCell(),
    "ConvLSTMCell": jrnn.ConvLSTMCell(rank=1, kernel_size=2, padding="same"),
    "ConvGRUCell": jrnn.ConvGRUCell(rank=1, kernel_size=2, padding="same"),
    "StackedCell": jrnn.StackedCell([jrnn.GRUCell(), jrnn.LSTMCell()]),
    "DropoutCell": jrnn.DropoutCell(jrnn.LSTMCell(), 0.4, 0.3),
    "DropoutCell, per step": jrnn.DropoutCell(
        jrnn.GRUCell(), 0.4, 0.3, output_dropout=0.2, per_step=True
    ),
    "ZoneoutCell": jrnn.ZoneoutCell(jrnn.LSTMCell(), 0.4, 0.3),
    "DropConnectCell": jrnn.DropConnectCell(jrnn.LSTMCell(), 0.4),
    "LayerNormCell, GRU": jrnn.LayerNormCell(jrnn.GRUCell(), epsilon=SMOOTH),
    "LayerNormCell, LSTM": jrnn.LayerNormCell(jrnn.LSTMCell(), "contrib", SMOOTH),
    "NormCell": jrnn.NormCell(jrnn.LSTMCell(), epsilon=SMOOTH),
    "ResidualCell": jrnn.ResidualCell(jrnn.GRUCell(), "concat"),
    "ProjectionCell": jrnn.ProjectionCell(jrnn.GRUCell(), 2, activation="tanh"),
    "cells in cells": jrnn.StackedCell(
        [
            jrnn.ResidualCell(
                jrnn.ZoneoutCell(jrnn.DropConnectCell(jrnn.LSTMCell(), 0.3), 0.4), "concat"
            ),
            jrnn.DropoutCell(
                jrnn.NormCell(
                    jrnn.LayerNormCell(jrnn.LSTMCell(), "addons", SMOOTH), "output", SMOOTH
                ),
                0.3,
                per_step=True,
            ),
        ]
    ),
}
KEY = 7


def shapes_of(cell, features, units):
    """The shapes of a cell's parameters, and of its state and input for one row."""
    x = s(*[5] * (getattr(cell, "feature_ndim", 1) - 1), features)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), features, units))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), (params, x))

    def fresh(params, x):
        return cell.initial_state(params, cell.project(params, x))

    return params, jax.eval_shape(fresh, *zeros), x


def row_by_row(function: Callable, ndim: int) -> Callable:
    """The function of one row, whose x has ``ndim`` axes, called for every row."""

    def rows(params, state, x):
        if x.ndim == ndim:
            return function(params, state, x)
        each = [
            rows(params, jax.tree.map(lambda leaf: leaf[k], state), x[k])  # noqa: B023
            for k in range(x.shape[0])
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    return rows


def drawn(cell, params, x):
    """The parameters with what the cell draws for one step's input ``x``, if it draws."""
    return noise.drawn(cell, jax.random.key(KEY), params, jnp.asarray(x))


def counting(function, shapes):
    """The function, with the state's counters as floating-point numbers in and out.

    As such they can be differentiated, and cast with the rest.
    """

    def is_count(leaf):
        return jnp.issubdtype(leaf.dtype, jnp.integer)

    def run(params, state, x, *options):
        given = jax.tree.leaves((state, x))[0].dtype

        def whole(leaf, shape):
            return jnp.round(leaf).astype(shape.dtype) if is_count(shape) else leaf

        if state is not None:
            state = jax.tree.map(whole, state, shapes)
        outputs = function(params, state, x, *options)
        return jax.tree.map(lambda leaf: leaf.astype(given) if is_count(leaf) else leaf, outputs)

    return run if any(map(is_count, jax.tree.leaves(shapes))) else function


def one_step(cell, features, units):
    """A cell called once; a row at a time if it draws nothing."""
    shapes = shapes_of(cell, features, units)

    def plain(params, state, x):
        params = drawn(cell, params, x)
        return cell.step(params, state, cell.project(params, x))

    def call(params, state, x):
        return cell(drawn(cell, params, x), state, x)

    random = noise.draws(cell)
    return Subject(
        counting(call, shapes[1]),
        counting(plain, shapes[1]) if random else row_by_row(plain, len(shapes[2].shape)),
        shapes,
        next_state=lambda outputs: outputs[0],
        key=random,
    )


def unrolled(cell, axis=-2, reverse=False):
    """``plain`` of a layer: the cell called for every step."""

    def plain(params, state, xs):
        params = drawn(cell, params, jnp.take(xs, 0, axis))
        return over_time(lambda state, x: cell(params, state, x), state, xs, axis, reverse)

    return plain


def layer(cell, features, units):
    """A cell through ``jrnn.rnn``."""
    params, state, x = shapes_of(cell, features, units)
    random = noise.draws(cell)
    axis = -1 - len(x.shape)

    def call(params, state, xs, lengths=None):
        key = jax.random.key(KEY) if random else None
        return jrnn.rnn(cell, params, xs, initial_state=state, key=key, lengths=lengths)

    counted = counting(call, state)
    return Subject(
        counted,
        counting(unrolled(cell, axis), state),
        (params, state, s(T, *x.shape)),
        axis,
        lambda outputs: outputs[0],
        random,
        lambda params, xs: counted(params, None, xs),
        counted,
    )


def both_directions(cell, features, units):
    params, state, x = shapes_of(cell, features, units)

    def call(params, state, xs, lengths=None):
        return jrnn.bidirectional(cell, params, xs, initial_state=state, lengths=lengths)

    def plain(params, state, xs):
        forward, ys = unrolled(cell)(params[0], state[0], xs)
        backward, others = unrolled(cell, reverse=True)(params[1], state[1], xs)
        return jrnn.BidirectionalState(forward, backward), jnp.concatenate([ys, others], -1)

    pair = jrnn.BidirectionalParams(params, params)
    shapes = pair, (state, state), s(T, *x.shape)
    options = {"fresh": lambda params, xs: call(params, None, xs), "padded": call}
    return Subject(call, plain, shapes, -2, **options)


def nnx_rnn(features, units):
    """``jrnn.flax_wrappers.nnx.RNN`` over a GRU cell module."""
    from flax import nnx

    from jrnn.flax_wrappers import nnx as wrapped

    cell = jrnn.GRUCell()
    params, state, x = shapes_of(cell, features, units)

    def call(params, state, xs, lengths=None):  # split and merged, as nnx's transforms do it
        module = nnx.merge(
            *nnx.split(wrapped.RNN(wrapped.RNNCell(cell, params=params), return_carry=True))
        )
        carry, ys = module(xs, initial_carry=state, seq_lengths=lengths)
        return jrnn.GRUState(carry), ys

    shapes = params, state, s(T, *x.shape)
    options = {"fresh": lambda params, xs: call(params, None, xs), "padded": call}
    return Subject(call, unrolled(cell), shapes, -2, lambda outputs: outputs[0], **options)


def linen_rnn(features, units):
    """``jrnn.flax_wrappers.linen.RNN`` over a GRU cell module."""
    from jrnn.flax_wrappers import linen

    cell = jrnn.GRUCell()
    params, state, x = shapes_of(cell, features, units)
    module = linen.RNN(linen.RNNCell(cell, units), return_carry=True)
    apply = jax.jit(module.apply)  # as it is, Linen's traces every initializer at each call

    def call(params, state, xs, lengths=None):
        variables = {"params": {"cell": params._asdict()}}
        carry, ys = apply(variables, xs, initial_carry=state, seq_lengths=lengths)
        return jrnn.GRUState(carry), ys

    shapes = params, state, s(T, *x.shape)
    options = {"fresh": lambda params, xs: call(params, None, xs), "padded": call}
    return Subject(call, unrolled(cell), shapes, -2, lambda outputs: outputs[0], **options)


@functools.cache
def subjects(features=F, units=U) -> dict[str, Subject]:
    """Every row of the grid by its name, in order."""
    from tests.contract.nd4j_subjects import nd4j_subjects

    rows = {f"{name}, one step": one_step(cell, features, units) for name, cell in CELLS.items()}
    rows |= {f"rnn, {name}": layer(cell, features, units) for name, cell in CELLS.items()}
    for name in ("GRUCell", "LSTMCell"):
        rows[f"bidirectional, {name}"] = both_directions(CELLS[name], features, units)
    rows["nnx.RNN"] = nnx_rnn(features, units)
    rows["linen.RNN"] = linen_rnn(features, units)
    return rows | nd4j_subjects(features, units)


def arguments(subject: Subject, batch=(B,), seed=0, steps=None):
    """Random float64 ``(params, state, x)``, halved, lest gates saturate; counters are whole."""
    rng = np.random.default_rng(seed)

    def of(shape):
        return 0.5 * rng.normal(size=shape)

    def of_state(leaf):
        shape = (*batch, *leaf.shape)
        counts = jnp.issubdtype(leaf.dtype, jnp.integer)
        return rng.integers(0, 9, shape).astype(float) if counts else of(shape)

    params, state, x = subject.shapes
    sizes = list(x.shape)
    if steps is not None:
        sizes[subject.time_axis] = steps
    return (
        jax.tree.map(lambda leaf: of(leaf.shape), params),
        jax.tree.map(of_state, state),
        of((*batch, *sizes)),
    )
