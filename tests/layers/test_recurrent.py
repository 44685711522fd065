"""The edge of `rnn`: layouts, dtypes, broadcasting, and what it says to what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import DropoutCell, GRUCell, LSTMCell, SimpleRNNCell, SRUCell, StackedCell, rnn
from jrnn.cells.lstm import LSTMState
from tests import oracle
from tests.cases import CELLS, B, F, T, U, assert_close, assert_equal, random_problem

pytestmark = pytest.mark.usefixtures("x64")
LSTM = CELLS["lstm-projection"]


def fails(*parts):
    """Expects a ValueError that says all the parts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(parts))


@pytest.fixture
def problem():
    return random_problem(50, LSTM)


@pytest.mark.parametrize("name", ["mask", "resets"])
@pytest.mark.parametrize("shape", [(B,), (T, B), (B, T, 1), (B, T + 1), (1, T)], ids=str)
def test_flags_of_another_shape(problem, name, shape):
    params, xs, _ = problem
    with fails("jrnn.rnn", f"{name} has shape \\{str(shape)[:-1]}", r"needs \(3, 5\)"):
        rnn(LSTM, params, xs, **{name: np.ones(shape, bool)})
    with fails("jrnn.rnn", f"{name} has shape", r"needs \(5, 3\)"):
        rnn(LSTM, params, np.swapaxes(xs, 0, 1), time_major=True, **{name: np.ones((B, T))})


@pytest.mark.parametrize(
    ("lengths", "got"),
    [
        (np.array([1.0, 2, 3]), r"float64 of shape \(3,\)"),
        (np.array([True, False, True]), r"bool of shape \(3,\)"),
        ([1, 2], r"int64 of shape \(2,\)"),
        (2, r"int64 of shape \(\)"),
        (np.ones((B, 1), int), r"int64 of shape \(3, 1\)"),
        (np.ones((B, T), bool), r"bool of shape \(3, 5\)"),
    ],
    ids=str,
)
def test_lengths_that_are_not_one_integer_a_row(problem, lengths, got):
    params, xs, _ = problem
    for given in (lengths, jnp.asarray(lengths)):
        with fails("jrnn.rnn", f"lengths is {got}", r"integers of shape \(3,\)"):
            rnn(LSTM, params, xs, lengths=given)
    with fails("jrnn.rnn", f"lengths is {got}"):
        jax.jit(lambda lengths: rnn(LSTM, params, xs, lengths=lengths))(np.array(lengths))


@pytest.mark.parametrize("lengths", [[1, 6, 2], [-1, 2, 3]])
@pytest.mark.parametrize("kind", [list, np.array, jnp.array])
def test_lengths_out_of_range(problem, lengths, kind):
    params, xs, _ = problem
    said = f"lengths range from {min(lengths)} to {max(lengths)}"
    with fails("jrnn.rnn", said, "xs has 5 steps", "clip"):
        rnn(LSTM, params, xs, lengths=kind(lengths))


def test_unknown_lengths_out_of_range_are_clipped(problem):
    params, xs, _ = problem
    run = jax.jit(lambda lengths: rnn(LSTM, params, xs, lengths=lengths))
    assert_close(run(np.array([9, -2, 3])), rnn(LSTM, params, xs, lengths=[T, 0, 3]), 1e-14)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_lengths_of_any_integer_dtype(problem, dtype):
    params, xs, _ = problem
    lengths = np.array([3, 0, 5], dtype)
    expected = oracle.rnn(LSTM, params, xs, lengths=lengths)
    assert_close(rnn(LSTM, params, xs, lengths=lengths), expected)


@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_flags_of_any_dtype(problem, dtype):
    params, xs, _ = problem
    mask = np.arange(B * T).reshape(B, T) % 3 != 0
    resets = np.arange(B * T).reshape(B, T) % 4 == 2
    expected = oracle.rnn(LSTM, params, xs, mask=mask, resets=resets)
    given = {"mask": mask.astype(dtype), "resets": resets.astype(dtype)}
    assert_close(rnn(LSTM, params, xs, **given), expected)
    assert_close(rnn(LSTM, params, xs, **{k: v.tolist() for k, v in given.items()}), expected)


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("name", ["initial_state", "initial_output"])
def test_initial_of_another_shape(problem, name, return_sequences):
    """An initial output is checked also where nothing repeats it."""
    params, xs, state = problem
    for shape in [(B, 5), (B + 1, 6), (1, B, 6), (6, B)]:
        given = np.ones(shape)
        if name == "initial_state":
            given = state._replace(hidden=given)
        with fails("jrnn", f"{name} has shape \\{str(shape)[:-1]}", r"needs \(3, 6\)"):
            rnn(LSTM, params, xs, return_sequences=return_sequences, **{name: given})


def test_initial_state_of_another_structure(problem):
    params, xs, state = problem
    for given in (tuple(state), list(state), state.hidden, {"hidden": state.hidden}):
        with fails("jrnn", "initial_state is", "needs", "LSTMState"):
            rnn(LSTM, params, xs, initial_state=given)
    with fails("jrnn", r"initial_state is one array of shape \(3, 6\)", "needs", "LSTMState"):
        rnn(LSTM, params, xs, initial_state=state.hidden)


def test_initial_state_broadcasts_and_is_cast(problem):
    params, xs, state = problem
    row = jax.tree.map(lambda leaf: leaf[0], state)
    expanded = jax.tree.map(lambda leaf: np.tile(leaf, (B, 1)), row)
    expected = oracle.rnn(LSTM, params, xs, initial_state=expanded)
    assert_close(rnn(LSTM, params, xs, initial_state=row), expected)
    ones = rnn(LSTM, params, xs, initial_state=LSTMState(1, 2))
    filled = LSTMState(np.ones((B, 6)), np.full((B, U), 2.0))
    assert_close(ones, oracle.rnn(LSTM, params, xs, initial_state=filled))
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), (params, xs))
    assert_equal(
        rnn(LSTM, *single, initial_state=state),
        rnn(LSTM, *single, initial_state=jax.tree.map(np.float32, state)),
    )


@pytest.mark.parametrize("unroll", [0, -1, 2.0, True, None])
def test_unroll(problem, unroll):
    params, xs, _ = problem
    with fails("jrnn.rnn", f"unroll is {unroll}", "positive integer"):
        rnn(LSTM, params, xs, unroll=unroll)


@pytest.mark.parametrize("masked_output", ["zeros", None, True])
def test_masked_output(problem, masked_output):
    params, xs, _ = problem
    with fails("jrnn.rnn", f"masked_output is {masked_output!r}", "'zero' or 'repeat'"):
        rnn(LSTM, params, xs, masked_output=masked_output)


@pytest.mark.parametrize("name", ["reverse", "time_major", "return_sequences", "return_all_states"])
@pytest.mark.parametrize("value", ["False", 1, None, np.array(True), jnp.array(False)], ids=repr)
def test_switches_are_true_or_false(problem, name, value):
    """A string would be taken for True, and the value of a traced array cannot be known."""
    params, xs, _ = problem
    with fails("jrnn.rnn", f"{name} is a {type(value).__name__}", "True or False"):
        rnn(LSTM, params, xs, **{name: value})


@pytest.mark.parametrize("cell", [LSTMCell, None, "lstm", 1], ids=str)
def test_what_is_no_cell(problem, cell):
    params, xs, _ = problem
    with fails("jrnn.rnn: cell is", "methods of jrnn.Cell", r"LSTMCell\(\)"):
        rnn(cell, params, xs)
    for holder in (lambda cell: StackedCell([GRUCell(), cell]), DropoutCell):
        with fails("Cell: cell is", "methods of jrnn.Cell"):
            holder(cell)


@pytest.mark.parametrize("name", ["kernel", "recurrent_kernel", "projection"])
def test_parameters_that_are_no_arrays(problem, name):
    params, xs, _ = problem
    with fails("LSTMCell", f"{name} is a list", "an array"):
        rnn(LSTM, params._replace(**{name: getattr(params, name).tolist()}), xs)
    with fails("LSTMCell", f"{name} is"):
        rnn(LSTM, params._replace(**{name: None}), xs)


def test_input_without_a_time_axis(problem):
    params, _, _ = problem
    with fails("jrnn.rnn", r"xs has shape \(2,\)", r"\[..., T, F\]"):
        rnn(LSTM, params, np.ones(F))
    with fails("jrnn.rnn", "xs holds no array"):
        rnn(LSTM, params, ())


def test_lists_are_no_arrays(problem):
    """JAX takes a list for a pytree, so a list of arrays must not pass for an axis."""
    params, xs, _ = problem
    with fails("jrnn.rnn", "xs"):
        rnn(LSTM, params, xs.tolist())
    for steps in (2, T):
        with fails("LSTMCell", "x is a list", "one array"):
            rnn(LSTM, params, [xs[:, :steps], xs[:, :steps]])


def test_leaves_of_unlike_length(problem):
    params, xs, _ = problem
    with fails("jrnn.rnn", r"\(3, 5, 2\) and \(3, 4, 2\)", r"leading axes \(3, 5\)"):
        rnn(LSTM, params, (xs, xs[:, :4]))


@pytest.mark.parametrize(
    ("dtype", "said"), [("int32", "dtype int32"), ("bool", "bool"), ("complex64", "complex64")]
)
def test_input_that_is_not_floating(problem, dtype, said):
    params, xs, _ = problem
    for options in ({}, {"lengths": [1, 2, 3]}):
        with fails("LSTMCell", said, "floating-point"):
            rnn(LSTM, params, xs.astype(dtype), **options)


@pytest.mark.parametrize(
    "cell", [SimpleRNNCell(), GRUCell(), LSTM, SRUCell(), CELLS["stacked"]], ids=str
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtype_of_the_input_and_params_is_kept(cell, dtype):
    params, xs, _ = random_problem(51, cell)
    params, low = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, xs))
    options = {"mask": np.ones((B, T)), "resets": np.zeros((B, T)), "masked_output": "repeat"}
    state, ys = rnn(cell, params, low, **options)
    assert {leaf.dtype for leaf in jax.tree.leaves((state, ys))} == {jnp.dtype(dtype)}
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, low))
    tolerance = 30 * float(jnp.finfo(dtype).eps)
    assert_close(jax.tree.map(np.float64, (state, ys)), oracle.rnn(cell, *exact), tolerance)


def test_wide_params_widen_a_narrow_input(problem):
    params, xs, _ = problem
    low = jnp.asarray(xs, "bfloat16")
    state, ys = rnn(LSTM, params, low)
    assert {leaf.dtype for leaf in jax.tree.leaves((state, ys))} == {jnp.dtype("float64")}
    assert_close((state, ys), oracle.rnn(LSTM, params, np.asarray(low, np.float64)))


@pytest.mark.parametrize("batch", [(), (2, B)], ids=str)
def test_time_stands_before_the_features_or_first(batch):
    cell = StackedCell([GRUCell(), LSTM])
    params, xs, _ = random_problem(52, cell, batch=batch)
    states, ys = rnn(cell, params, xs, return_all_states=True)
    for at in np.ndindex(*batch):
        expected = oracle.rnn(cell, params, xs[at][None], return_all_states=True)
        got = jax.tree.map(lambda leaf: leaf[at][None], (states, ys))  # noqa: B023
        assert_close(got, expected)
    first = np.moveaxis(xs, -2, 0)
    moved = rnn(cell, params, first, time_major=True, return_all_states=True)
    assert_equal((states, ys), jax.tree.map(lambda leaf: np.moveaxis(leaf, 0, -2), moved))
