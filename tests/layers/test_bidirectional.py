"""Both directions: merges, pairs of states, and what is said to what does not fit."""

import jax
import numpy as np
import pytest

from jrnn import BidirectionalParams, BidirectionalState, GRUCell, bidirectional, rnn
from tests import oracle
from tests.cases import CELLS, B, F, T, U, assert_close, assert_equal, every_other, random_problem

pytestmark = pytest.mark.usefixtures("x64")
LSTM = CELLS["lstm-peephole"]
MERGES = ["concat", "sum", "mul", "ave", None]
OPTIONS = {
    "plain": {},
    "lengths": {"lengths": np.array([3, 0, T])},
    "mask-repeat": {
        "mask": np.arange(B * T).reshape(B, T) % 3 != 1,
        "masked_output": "repeat",
    },
    "resets": {"resets": np.arange(B * T).reshape(B, T) % 4 == 2},
    "last": {"return_sequences": False, "lengths": np.array([3, 0, T])},
    "all_states": {"return_all_states": True},
}


@pytest.fixture(autouse=True, params=["one_loop", "two_loops"])
def loops(request, monkeypatch):
    """Every test runs with both directions in one loop, and in two."""
    one = request.param == "one_loop"
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    monkeypatch.setattr("jrnn.scan.plan._SHARED_ROWS", 1 if one else 1000)
    return 1 if one else 2


@pytest.fixture
def problem():
    """Parameters, input and states of two directions."""
    forward, xs, state = random_problem(60, LSTM)
    backward, _, other = random_problem(61, LSTM)
    return BidirectionalParams(forward, backward), xs, BidirectionalState(state, other)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_is_two_loops_merged(problem, merge, options):
    params, xs, _ = problem
    expected = oracle.bidirectional(LSTM, params, xs, merge=merge, **options)
    assert_close(bidirectional(LSTM, params, xs, merge=merge, **options), expected)


def gradient(params, xs, states, options):
    def loss(*given):
        state, ys = bidirectional(LSTM, given[0], given[1], initial_state=given[2], **options)
        return sum((leaf**2).sum() for leaf in jax.tree.leaves((state, ys)))

    return jax.grad(loss, (0, 1, 2))(params, xs, states)


@pytest.mark.parametrize("options", every_other(OPTIONS))
def test_gradients_are_those_of_two_loops(problem, options, monkeypatch):
    params, xs, states = problem
    found = gradient(params, xs, states, options)
    monkeypatch.setattr("jrnn.scan.plan._SHARED_ROWS", 1000)
    assert_close(found, gradient(params, xs, states, options), 1e-12)


def test_how_many_loops_there_are(problem, loops):
    program = str(jax.make_jaxpr(lambda *given: bidirectional(LSTM, *given))(*problem[:2]))
    assert program.count(" scan[") == loops


def test_concat_is_the_default_and_functions_merge(problem):
    params, xs, _ = problem
    forward, backward = bidirectional(LSTM, params, xs, merge=None)[1]
    assert_equal(bidirectional(LSTM, params, xs)[1], np.concatenate([forward, backward], -1))
    state, ys = bidirectional(LSTM, params, xs, merge=lambda a, b: a - 2 * b)
    assert isinstance(state, BidirectionalState)
    assert_close(ys, forward - 2 * backward, 1e-15)


@pytest.mark.parametrize("as_pair", [lambda pair: pair, tuple, list])
def test_each_direction_starts_from_its_own(problem, as_pair):
    params, xs, states = problem
    outputs = tuple(np.random.default_rng(0).normal(size=(2, B, 4)))
    mask = np.zeros((B, T), bool)
    mask[:, 2] = True
    options = {"mask": mask, "masked_output": "repeat"}
    both = bidirectional(
        LSTM,
        as_pair(params),
        xs,
        merge=None,
        initial_state=as_pair(states),
        initial_output=as_pair(outputs),
        **options,
    )
    alone = [
        oracle.rnn(LSTM, *one, initial_state=state, initial_output=y, reverse=reverse, **options)
        for *one, state, y, reverse in (
            (params.forward, xs, states.forward, outputs[0], False),
            (params.backward, xs, states.backward, outputs[1], True),
        )
    ]
    assert_close(both, ([alone[0][0], alone[1][0]], [alone[0][1], alone[1][1]]))
    one = bidirectional(LSTM, params, xs, initial_state=(None, states.backward))[0]
    assert_equal(one.forward, rnn(LSTM, params.forward, xs)[0])


def test_reverse_exchanges_the_directions(problem):
    params, xs, _ = problem
    flipped = bidirectional(LSTM, params, xs[:, ::-1], reverse=True, merge=None)
    state, ys = bidirectional(LSTM, params, xs, merge=None)
    assert_close(flipped, (state, jax.tree.map(lambda leaf: leaf[:, ::-1], ys)), 1e-14)


def test_time_major(problem):
    params, xs, _ = problem
    state, ys = bidirectional(LSTM, params, xs)
    other, moved = bidirectional(LSTM, params, np.swapaxes(xs, 0, 1), time_major=True)
    assert_equal((state, ys), (other, np.swapaxes(moved, 0, 1)))


@pytest.mark.parametrize("merge", ["Concat", "max", 3, ["sum"]], ids=str)
def test_unknown_merge(problem, merge):
    params, xs, _ = problem
    said = f"jrnn.bidirectional: merge is .*{merge if isinstance(merge, str) else ''}.*'concat'"
    with pytest.raises(ValueError, match=said):
        bidirectional(LSTM, params, xs, merge=merge)


@pytest.mark.parametrize("merge", ["sum", "mul", "ave"])
def test_outputs_of_two_sizes_only_concatenate(problem, merge):
    params, xs, _ = problem
    wide = LSTM.init(jax.random.key(0), F, U + 3)
    params = params._replace(backward=wide)
    said = rf"merge is '{merge}', but .* \({B}, {T}, {U}\) and \({B}, {T}, {U + 3}\).*'concat'"
    with pytest.raises(ValueError, match=said):
        bidirectional(LSTM, params, xs, merge=merge)
    assert bidirectional(LSTM, params, xs)[1].shape == (B, T, 2 * U + 3)


@pytest.mark.parametrize("name", ["params", "initial_state", "initial_output"])
@pytest.mark.parametrize("pair", [(1,), (1, 2, 3), {"a": 1, "b": 2}, np.ones(2)], ids=str)
def test_what_is_not_a_pair(problem, name, pair):
    params, xs, _ = problem
    given = {"params": params, name: pair}
    said = rf"jrnn.bidirectional: {name} is a {type(pair).__name__}.*pair \(forward, backward\)"
    with pytest.raises(ValueError, match=said):
        bidirectional(LSTM, xs=xs, **given)


def test_one_state_is_not_taken_for_a_pair(problem):
    """An LSTMState is a tuple of two as well."""
    params, xs, states = problem
    with pytest.raises(ValueError, match=r"initial_state is .*needs .*LSTMState"):
        bidirectional(LSTM, params, xs, initial_state=states.forward)


def test_params_of_another_cell(problem):
    params, xs, _ = problem
    with pytest.raises(
        ValueError, match="GRUCell: params is a LSTMParams, but GRUParams is needed"
    ):
        bidirectional(LSTM, params, xs, backward_cell=GRUCell())
