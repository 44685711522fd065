"""Laws of the loop over time, on random data, masks, lengths and resets (Hypothesis)."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jrnn import bidirectional, rnn
from tests import oracle
from tests.cases import CELLS, B, F, T, assert_close, assert_equal, random_problem

pytestmark = pytest.mark.usefixtures("x64")

# Sizes stay as they are and the cells are few: what is drawn anew is data, which compiles nothing.
cells = st.sampled_from(["gru-reset_before", "lstm-all"]).map(CELLS.get)
seeds = st.integers(0, 2**32 - 1)
flags = arrays(bool, (B, T))
lengths = arrays(np.int32, B, elements=st.integers(0, T))
some = functools.partial(st.one_of, st.none())


def flip(ys):
    return jax.tree.map(lambda leaf: np.flip(leaf, 1), ys)


def at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@given(
    st.sampled_from(["gru", "lstm-all", "sru-square", "stacked"]).map(CELLS.get),
    seeds,
    st.booleans(),
    st.fixed_dictionaries(
        {
            "lengths": some(lengths),
            "mask": some(flags),
            "resets": some(flags),
            "reverse": st.booleans(),
            "unroll": st.sampled_from([1, 2, T]),
            "return_sequences": st.booleans(),
            "return_all_states": st.booleans(),
            "masked_output": st.sampled_from(["zero", "repeat"]),
        }
    ),
)
def test_is_the_loop_in_the_docstring(cell, seed, starts_anywhere, options):
    params, xs, state = random_problem(seed, cell)
    if starts_anywhere:
        y = cell(params, state, xs[:, 0])[1]
        output = np.random.default_rng(seed).normal(size=y.shape)
        options |= {"initial_state": state, "initial_output": output}
    assert_close(rnn(cell, params, xs, **options), oracle.rnn(cell, params, xs, **options))


@functools.partial(jax.jit, static_argnames=("cell", "reverse"))
def value_and_gradients(params, xs, state, cell, **options):
    """A sum of sines, in which a zero counts for nothing: value, outputs, gradients."""

    def loss(params, xs, state):
        outputs = rnn(cell, params, xs, initial_state=state, **options)
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(outputs)), outputs

    return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, xs, state)


@given(
    st.sampled_from([("gru-reset_before", False), ("lstm-peephole", True), ("sru", False)]),
    seeds,
    flags,
    lengths,
)
def test_padded_is_unpadded(cell_and_direction, seed, mask, lengths):
    """NaN at the masked steps reaches neither values nor gradients; row by row."""
    cell, reverse = CELLS[cell_and_direction[0]], cell_and_direction[1]
    params, xs, state = random_problem(seed, cell)
    counts = mask & (np.arange(T) < lengths[:, None])
    xs[~counts] = np.nan
    options = {"mask": mask, "lengths": lengths, "reverse": reverse}
    (_, (final, ys)), (of_params, of_xs, of_state) = value_and_gradients(
        params, xs, state, cell, **options
    )
    total = jax.tree.map(np.zeros_like, params)
    for b in range(B):
        row = xs[b][counts[b]]
        (_, alone), grads = value_and_gradients(params, row, at(state, b), cell, reverse=reverse)
        assert_close((at(final, b), ys[b][counts[b]]), alone)
        assert_close((of_xs[b][counts[b]], at(of_state, b)), grads[1:])
        total = jax.tree.map(np.add, total, grads[0])
    assert_close(of_params, total, 1e-11)
    assert_equal((ys[~counts], of_xs[~counts]), (0 * ys[~counts], np.zeros_like(xs[~counts])))


@given(cells, seeds, st.integers(0, T), st.booleans())
def test_two_parts_are_the_whole(cell, seed, middle, reverse):
    params, xs, state = random_problem(seed, cell)
    run = functools.partial(rnn, cell, params, reverse=reverse)
    whole = run(xs, initial_state=state)
    parts = [xs[:, middle:], xs[:, :middle]] if reverse else [xs[:, :middle], xs[:, middle:]]
    between, first = run(parts[0], initial_state=state)
    final, second = run(parts[1], initial_state=between)
    ys = [second, first] if reverse else [first, second]
    assert_close(whole, (final, np.concatenate(ys, 1)))


@given(cells, seeds, some(flags))
def test_reverse_is_flip_run_flip(cell, seed, mask):
    params, xs, state = random_problem(seed, cell)
    options = {"initial_state": state, "return_all_states": True}
    there = rnn(cell, params, xs, mask=mask, reverse=True, **options)
    back = rnn(cell, params, flip(xs), mask=None if mask is None else flip(mask), **options)
    assert_close(there, flip(back), 1e-14)


@given(cells, seeds, lengths)
def test_reverse_flips_the_valid_part_alone(cell, seed, lengths):
    params, xs, _ = random_problem(seed, cell)
    turned = xs.copy()
    for b, length in enumerate(lengths):
        turned[b, :length] = xs[b, :length][::-1]
    final, ys = rnn(cell, params, xs, lengths=lengths, reverse=True)
    other, flipped = rnn(cell, params, turned, lengths=lengths)
    assert_close(final, other, 1e-14)
    for b, length in enumerate(lengths):
        assert_close(ys[b, :length], flipped[b, :length][::-1], 1e-14)
        assert not ys[b, length:].any()


@given(cells, seeds, flags, st.booleans())
def test_resets_separate_sequences(cell, seed, resets, reverse):
    params, xs, state = random_problem(seed, cell)
    final, ys = rnn(cell, params, xs, initial_state=state, resets=resets, reverse=reverse)
    for b in range(B):
        starts = [0, *(t for t in range(1, T) if resets[b, t]), T]
        segments = list(itertools.pairwise(starts))
        entry = None if resets[b, 0] and not reverse else at(state, b)
        for start, stop in reversed(segments) if reverse else segments:
            segment = xs[b, start:stop]
            last, alone = rnn(cell, params, segment, initial_state=entry, reverse=reverse)
            assert_close(ys[b, start:stop], alone)
            entry = None
        assert_close(at(final, b), last)


@given(cells, seeds, flags, st.booleans())
def test_masked_step_stands_still(cell, seed, mask, reverse):
    params, xs, state = random_problem(seed, cell)
    options = {"initial_state": state, "mask": mask, "reverse": reverse}
    states, zeroed = rnn(cell, params, xs, return_all_states=True, **options)
    _, repeated = rnn(cell, params, xs, masked_output="repeat", **options)
    last_state, last_y = state, np.zeros_like(zeroed[:, 0])
    for t in reversed(range(T)) if reverse else range(T):
        off = ~mask[:, t]
        assert_equal(at(at(states, (slice(None), t)), off), at(last_state, off))
        assert_equal(repeated[off, t], last_y[off])
        assert not zeroed[off, t].any()
        assert_equal(repeated[~off, t], zeroed[~off, t])
        last_state, last_y = at(states, (slice(None), t)), repeated[:, t]


@given(cells, seeds, flags, st.sampled_from([2, T, T + 1]))
def test_unroll_changes_nothing(cell, seed, mask, unroll):
    params, xs, _ = random_problem(seed, cell)
    run = functools.partial(rnn, cell, params, xs, mask=mask, reverse=unroll == 2)
    assert_close(run(unroll=unroll), run(), 1e-14)


@given(cells, seeds, lengths, st.booleans())
def test_what_is_returned_is_a_part_of_everything(cell, seed, lengths, reverse):
    """All states, final state, all outputs and last output are of one run."""
    params, xs, state = random_problem(seed, cell)
    run = functools.partial(
        rnn, cell, params, xs, initial_state=state, lengths=lengths, reverse=reverse
    )
    final, ys = run()
    states, same_ys = run(return_all_states=True)
    last = 0 if reverse else T - 1
    assert_close((at(states, (slice(None), last)), same_ys), (final, ys), 1e-14)
    same_final, y = run(return_sequences=False)
    assert_close(same_final, final, 1e-14)
    for b, length in enumerate(lengths):
        expected = ys[b, 0 if reverse else length - 1] if length else np.zeros_like(y[b])
        assert_close(y[b], expected, 1e-14)
    prefix = rnn(cell, params, xs[:, :2], initial_state=state)[0]
    unmasked = rnn(cell, params, xs, initial_state=state, return_all_states=True)[0]
    assert_close(at(unmasked, (slice(None), 1)), prefix, 1e-14)


@given(cells, seeds, flags, flags, st.booleans())
def test_time_major_is_the_transpose(cell, seed, mask, resets, sequences):
    params, xs, state = random_problem(seed, cell)
    options = {"initial_state": state, "reverse": sequences, "return_sequences": sequences}
    states, ys = rnn(cell, params, xs, mask=mask, resets=resets, return_all_states=True, **options)
    options |= {"mask": mask.T, "resets": resets.T, "return_all_states": True}
    states_t, ys_t = rnn(cell, params, np.swapaxes(xs, 0, 1), time_major=True, **options)
    expected = jax.tree.map(lambda leaf: np.swapaxes(leaf, 0, 1), (states_t, ys_t))
    assert_equal((states, ys), expected if sequences else (expected[0], ys_t))


@given(seeds, lengths, some(flags))
def test_bidirectional_is_two_runs(seed, lengths, resets):
    cell, backward_cell = CELLS["gru"], CELLS["lstm-projection"]
    params, xs, state = random_problem(seed, cell)
    back_params, _, back_state = random_problem(seed, backward_cell)
    options = {"lengths": lengths, "resets": resets}
    forward = rnn(cell, params, xs, initial_state=state, **options)
    backward = rnn(
        backward_cell, back_params, xs, initial_state=back_state, reverse=True, **options
    )
    states, ys = bidirectional(
        cell,
        (params, back_params),
        xs,
        backward_cell=backward_cell,
        initial_state=(state, back_state),
        **options,
    )
    assert_equal(states, (forward[0], backward[0]))
    assert_equal(ys, np.concatenate([forward[1], backward[1]], -1))


@pytest.mark.parametrize(
    "name", ["simple_rnn", "gru", "gru-reset_before", "lstm-all", "sru", "stacked"]
)
@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps_and_no_rows(name, reverse):
    cell = CELLS[name]
    params, xs, state = random_problem(0, cell)
    output = 1 + np.zeros_like(rnn(cell, params, xs)[1][:, 0])
    options = {"initial_state": state, "initial_output": output, "reverse": reverse}
    final, ys = rnn(cell, params, xs[:, :0], **options)
    assert_equal((final, ys), (state, output[:, None][:, :0]))
    assert_equal(rnn(cell, params, xs[:, :0], return_sequences=False, **options), (state, output))
    fresh = jax.tree.map(np.zeros_like, state)
    assert_equal(rnn(cell, params, xs, lengths=[0] * B), (fresh, 0 * rnn(cell, params, xs)[1]))
    final, ys = rnn(cell, params, xs[:0], reverse=reverse)
    assert_equal((final, ys), (at(state, slice(0)), np.zeros((0, T, output.shape[-1]))))
    none = rnn(cell, params, np.zeros((0, 0, F)), lengths=np.zeros(0, int))
    assert_equal(none, (at(state, slice(0)), np.zeros((0, 0, output.shape[-1]))))
