"""Stacked cells in one loop: as layers on top of one another; the order of their states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import GRUCell, LSTMCell, SimpleRNNCell, StackedCell
from jrnn.model.recurrent import OneCell, Recurrent
from jrnn.model.stacked import StackedRecurrent
from tests.keras_entries import numbers

F, T, B = 3, 5, 4
X = numbers(B, T, F, seed=9)
# A row that counts throughout, and rows masked at the start, in the middle and at the end.
MASK = np.ones((B, T), bool)
MASK[1, :2] = MASK[2, 2:4] = MASK[3, 3:] = False
KINDS = (LSTMCell(), GRUCell(), SimpleRNNCell())


def stack(units=(5, 4, 2), cells=KINDS, **options) -> StackedRecurrent:
    parts = tuple(
        OneCell(name=f"c{k}", kind=type(cell).__name__, cell=cell, units=size)
        for k, (cell, size) in enumerate(zip(cells, units, strict=True))
    )
    return StackedRecurrent(
        name="s", kind="RNN", cell=StackedCell(cells), units=units[-1], cells=parts, **options
    )


def params_of(layer: StackedRecurrent, seed: int = 0):
    units = [cell.units for cell in layer.cells]
    drawn = layer.cell.init(jax.random.key(seed), F, units)
    leaves, structure = jax.tree.flatten(drawn)
    random = [numbers(*leaf.shape, seed=k + seed) for k, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, random)


def run(layer, params, *states, mask=None, state=None):
    mask = None if mask is None else jnp.asarray(mask)
    return layer.call(params, [X, *states], [mask], state)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_equals_layers_on_top_of_one_another(masked, go_backwards, zero_output, sequences):
    layer = stack(
        go_backwards=go_backwards, return_sequences=sequences, zero_output_for_mask=zero_output
    )
    params, mask = params_of(layer), MASK if masked else None
    xs, counts = (X[:, ::-1], MASK[:, ::-1]) if go_backwards else (X, MASK)
    counts = jnp.asarray(counts) if masked else None
    for k, cell in enumerate(layer.cells):
        highest = k == len(layer.cells) - 1
        one = Recurrent(
            name="l",
            kind=cell.kind,
            cell=cell.cell,
            units=cell.units,
            return_sequences=sequences or not highest,
            zero_output_for_mask=zero_output and highest,
        )
        xs = one.call(params[k], [xs], [counts]).outputs[0]
    result = run(layer, params, mask=mask)
    close(result.outputs[0], xs)
    assert (result.masks[0] is None) == (not (masked and sequences))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_states_out_are_states_in(reverse, masked):
    """Two halves, the states handed over as Keras orders them, are the whole."""
    layer = stack(return_sequences=True, return_state=True, reverse_states=reverse)
    params, counts = params_of(layer), jnp.asarray(MASK) if masked else None
    y, *states = layer.call(params, [X], [counts]).outputs
    sizes = [state.shape[-1] for state in states]
    assert sizes == ([2, 4, 5, 5] if reverse else [5, 5, 4, 2])
    highest = states[0 if reverse else -1]
    close(highest, y[:, -1])

    halves = slice(0, 2), slice(2, T)
    first_mask, last_mask = (None if counts is None else counts[:, half] for half in halves)
    first, *between = layer.call(params, [X[:, :2]], [first_mask]).outputs
    last, *final = layer.call(params, [X[:, 2:], *between], [last_mask]).outputs
    close(first, y[:, :2])
    if not masked:  # what masked steps repeat at the start is not known to the second half
        close(last, y[:, 2:])
    for one, other in zip(final, states, strict=True):
        close(one, other)


def test_masked_steps_before_all_others_put_out_the_highest_state():
    for reverse in (False, True):
        layer = stack(return_sequences=True, masked_start="state", reverse_states=reverse)
        states = [numbers(B, size, seed=size) for size in (5, 5, 4, 2)]
        states[1] = numbers(B, 5, seed=11)
        given = [states[3], states[2], *states[:2]] if reverse else states
        y = run(layer, params_of(layer), *given, mask=MASK).outputs[0]
        close(y[1, :2], np.broadcast_to(states[3][1], (2, 2)))
        zeros = stack(return_sequences=True, reverse_states=reverse)
        y = run(zeros, params_of(layer), *given, mask=MASK).outputs[0]
        close(y[1, :2], np.zeros((2, 2)))


def test_a_wrong_number_of_states():
    layer = stack()
    with pytest.raises(ValueError, match="got 2 initial states, but its cell has 4"):
        run(layer, params_of(layer), numbers(B, 5), numbers(B, 5))


def test_stateful():
    layer = stack(stateful=True, return_state=True)
    params = params_of(layer)
    first = run(layer, params)
    second = run(layer, params, state=first.state)
    expected = run(layer, params, *first.outputs[1:])
    for one, other in zip(second.outputs, expected.outputs, strict=True):
        close(one, other)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_keras_224_repeats_the_lowest_cell(go_backwards, sequences, given):
    """``where(mask, output, states[0])``, step by step; ``states[0]`` is the lowest cell's."""
    cells, units = (GRUCell(), LSTMCell()), (4, 4)
    options = {"return_sequences": sequences, "go_backwards": go_backwards}
    layer = stack(units, cells, masked_start="state", masked_repeats_lowest=True, **options)
    params = params_of(layer)
    states = [numbers(B, 4, seed=k) for k in range(3)] if given else []
    h, *rest = states or [np.zeros((B, 4), np.float32)] * 3
    state = layer._state(params, X, [h, *rest])
    ys = []
    for t in reversed(range(T)) if go_backwards else range(T):
        after, y = layer.cell(params, state, X[:, t])
        counts = MASK[:, t, None]
        ys.append(np.where(counts, y, state[0].hidden))
        state = jax.tree.map(
            lambda new, old, counts=counts: jnp.where(counts, new, old), after, state
        )
    found = run(layer, params, *states, mask=MASK).outputs[0]
    close(found, np.stack(ys, 1) if sequences else ys[-1])
    plain = stack(units, cells, masked_start="state", **options)
    close(run(layer, params, *states).outputs[0], run(plain, params, *states).outputs[0])
    differs = np.abs(found - run(plain, params, *states, mask=MASK).outputs[0]).max()
    assert differs > 0.01


def test_keras_224_needs_cells_of_one_size_under_a_mask():
    layer = stack(return_sequences=True, masked_start="state", masked_repeats_lowest=True)
    run(layer, params_of(layer))
    with pytest.raises(ValueError, match="the lowest has 5 units and the highest 2"):
        run(layer, params_of(layer), mask=MASK)
