"""Laws of cells over time, on random cells, shapes, masks and states, in values and gradients.

Hypothesis draws few examples of each at every run, and 200 with ``pytest -m ""``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jrnn
from tests.cases import assert_close
from tests.properties.problems import (
    CELLS,
    SETTINGS,
    Setting,
    by_hand,
    cells,
    compiled,
    differentiated,
    law,
    problem,
    random_like,
    run,
    seeds,
    settings,
    turned,
)

pytestmark = pytest.mark.usefixtures("x64")
CLOSE = 1e-11


def padded(cell, setting, params, xs, state, mask, lengths, resets):
    def call(params, xs, state):
        given = {"mask": mask, "lengths": lengths, "resets": resets}
        return run(cell, setting, params, xs, state, **given)

    return differentiated(call)(params, xs, state)


@law
@given(seeds, cells, settings)
def test_padded_is_unpadded(seed, cell, setting):
    """NaN where no step counts; each row for itself, of the steps that count alone, by hand."""
    drawn = problem(seed, cell, setting)
    wanted = differentiated(by_hand(cell, setting, drawn))(*drawn[:3])
    xs = drawn.xs.copy()
    xs[~drawn.counts()] = np.nan
    assert_close(compiled(padded, cell, setting)(*drawn._replace(xs=xs)), wanted, CLOSE)


def in_chunks(cell, setting, split, params, xs, state, mask, resets):
    """The whole, and two chunks with the state carried on."""
    setting = setting._replace(fresh=False)

    def whole(params, xs, state):
        return run(cell, setting, params, xs, state, mask=mask, resets=resets)

    def chunks(params, xs, state):
        parts, outputs = [slice(0, split), slice(split, None)], []
        for part in parts[::-1] if setting.reverse else parts:
            given = {"mask": mask[:, part], "resets": resets[:, part]}
            state, ys = run(cell, setting, params, xs[:, part], state, **given)
            outputs.append(ys)
        return state, jnp.concatenate(outputs[::-1] if setting.reverse else outputs, 1)

    return differentiated(whole)(params, xs, state), differentiated(chunks)(params, xs, state)


@law
@given(seeds, cells, settings, st.sampled_from([0, 1, 3]))
def test_chunks_are_the_whole(seed, cell, setting, split):
    drawn = problem(seed, cell, setting)
    params, xs, state, mask, _, resets = drawn
    split = min(split, setting.T)
    if setting.reverse and split < setting.T:
        resets[:, split] = False  # going backwards it is crossed between the chunks
    whole, chunks = compiled(in_chunks, cell, setting, split)(params, xs, state, mask, resets)
    assert_close(chunks, whole, CLOSE)


def both_ways(cell, setting, params, xs, state, lengths):
    """Backwards, and forwards over rows turned around as far as they go."""
    steps = jnp.arange(setting.T)
    ends = lengths[:, None]
    turn = jnp.where(steps < ends, ends - 1 - steps, steps)

    def turn_rows(array):
        index = turn.reshape(*turn.shape, *[1] * (array.ndim - 2))
        return jnp.take_along_axis(array, index, 1)

    def there(params, xs, state):
        backwards = setting._replace(reverse=not setting.reverse, resets=False)
        return run(cell, backwards, params, xs, state, lengths=lengths)

    def back(params, xs, state):
        same = setting._replace(resets=False)
        final, ys = run(cell, same, params, turn_rows(xs), state, lengths=lengths)
        return final, turn_rows(ys)

    return differentiated(there)(params, xs, state), differentiated(back)(params, xs, state)


@law
@given(seeds, cells, settings)
def test_reverse_is_flip_run_flip(seed, cell, setting):
    params, xs, state, _, lengths, _ = problem(seed, cell, setting)
    there, back = compiled(both_ways, cell, setting)(params, xs, state, lengths)
    assert_close(there, back, CLOSE)


STACKS = [("gru", "lstm-peephole"), ("lstm-projection", "sru"), ("simple_rnn", "gru", "lstm")]


def stacked(names, setting, params, xs, state, mask, lengths, resets):
    """A StackedCell, and its cells one layer after the other."""
    own = [CELLS[name] for name in names]
    masks = {"mask": mask, "lengths": lengths, "resets": resets}

    def together(params, xs, state):
        return run(jrnn.StackedCell(own), setting, params, xs, state, **masks)

    def apart(params, xs, state):
        finals = []
        for one, weights, before in zip(own, params, state, strict=True):
            final, xs = run(one, setting, weights, xs, before, **masks)
            finals.append(final)
        return tuple(finals), xs

    return differentiated(together)(params, xs, state), differentiated(apart)(params, xs, state)


@law
@given(seeds, st.sampled_from(STACKS), settings)
def test_stacked_is_layer_after_layer(seed, names, setting):
    drawn = problem(seed, jrnn.StackedCell([CELLS[name] for name in names]), setting)
    together, apart = compiled(stacked, names, setting)(*drawn)
    assert_close(together, apart, CLOSE)


MERGES = {
    "concat": lambda a, b: jnp.concatenate([a, b], -1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: lambda a, b: (a, b),
}
SHARED = Setting(17, 4, 3, 2)  # rows enough for an LSTM's two directions to be one loop


def two_runs(cell, setting, merge, params, xs, state, mask, lengths, resets):
    """``bidirectional``, and a run each way."""
    masks = {"mask": mask, "lengths": lengths, "resets": resets}

    def together(params, xs, state):
        given = {name: turned(masks[name], setting) for name in ("mask", "resets")}
        if not setting.resets:
            given.pop("resets")
        final, ys = jrnn.bidirectional(
            cell,
            params,
            turned(xs, setting),
            merge=merge,
            initial_state=None if setting.fresh else state,
            lengths=lengths,
            reverse=setting.reverse,
            time_major=setting.time_major,
            implementation=setting.implementation,
            **given,
        )
        return final, jax.tree.map(lambda y: turned(y, setting), ys)

    def apart(params, xs, state):
        back = setting._replace(reverse=not setting.reverse)
        first, ys = run(cell, setting, params[0], xs, state[0], **masks)
        second, others = run(cell, back, params[1], xs, state[1], **masks)
        return (first, second), MERGES[merge](ys, others)

    return differentiated(together)(params, xs, state), differentiated(apart)(params, xs, state)


@law
@given(seeds, cells, st.sampled_from([*SETTINGS, SHARED, SHARED]), st.sampled_from([*MERGES]))
def test_bidirectional_is_a_run_each_way(seed, cell, setting, merge):
    drawn = problem(seed, cell, setting)
    other = random_like(np.random.default_rng(seed + 1), (drawn.params, drawn.state))
    params = jrnn.BidirectionalParams(drawn.params, other[0])
    drawn = drawn._replace(params=params, state=(drawn.state, other[1]))
    together, apart = compiled(two_runs, cell, setting, merge)(*drawn)
    assert_close(together, apart, CLOSE)
