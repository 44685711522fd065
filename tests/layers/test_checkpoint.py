"""`checkpoint=`: the same numbers, out of less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jrnn
from tests import oracle
from tests.cases import CELLS, PLAIN, B, F, U, assert_close, random_problem

pytestmark = pytest.mark.usefixtures("x64")
STEPS = 9
OPTIONS = {
    "plain": {},
    "reverse": {"reverse": True},
    "last": {"return_sequences": False},
    "all states": {"return_all_states": True},
    "repeat": {"lengths": np.array([0, STEPS, 3]), "masked_output": "repeat"},
    "resets": {"resets": np.arange(B * STEPS).reshape(B, STEPS) % 3 == 2},
}

QUICK = ("reverse", "repeat", "resets")


def loss(cell, options, checkpoint, params, xs, state):
    out = jrnn.rnn(cell, params, xs, initial_state=state, checkpoint=checkpoint, **options)
    return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(out)), out


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, options in OPTIONS.items()
    ],
)
@pytest.mark.parametrize(
    "cell",
    [CELLS["lstm"], pytest.param(CELLS["stacked"], marks=pytest.mark.slow)],
    ids=["lstm", "stacked"],
)
def test_values_and_gradients_are_those_without(cell, options):
    args = random_problem(1, cell, steps=STEPS)

    def run(checkpoint):
        gradient = jax.value_and_grad(
            functools.partial(loss, cell, options, checkpoint), (0, 1, 2), has_aux=True
        )
        return jax.jit(gradient)(*args)

    plain = run(None)
    for checkpoint in (2, 3):  # with a rest, and of one size
        assert_close(run(checkpoint), plain)


def test_it_is_the_loop_of_the_equations():
    cell = CELLS["gru-reset_before"]
    params, xs, state = random_problem(2, cell, steps=STEPS)
    for checkpoint in ("sqrt", 4, 100):
        result = jrnn.rnn(cell, params, xs, initial_state=state, checkpoint=checkpoint)
        assert_close(result, oracle.rnn(cell, params, xs, initial_state=state))


@pytest.mark.parametrize(
    "cell",
    [PLAIN[0], *(pytest.param(cell, marks=pytest.mark.slow) for cell in PLAIN[1:])],
    ids=lambda cell: type(cell).__name__,
)
def test_derivatives_of_both_kinds(cell):
    params, xs, state = random_problem(3, cell, batch=(), steps=STEPS)

    def run(*args):
        return loss(cell, {}, 3, *args)[0]

    check_grads(jax.jit(run), (params, xs, state), 2, ("fwd", "rev"), 1e-5, 1e-5, eps=1e-5)


@pytest.mark.parametrize("steps", [0, 1])
def test_hardly_any_steps(steps):
    params, xs, state = random_problem(4, CELLS["lstm"], steps=steps)
    for checkpoint in ("sqrt", 1):
        one, other = (
            jrnn.rnn(CELLS["lstm"], params, xs, initial_state=state, checkpoint=given)
            for given in (checkpoint, None)
        )
        assert_close(one, other)


def test_every_layer_takes_it():
    rng = np.random.default_rng(5)
    params = random_problem(6, CELLS["lstm"])[0]
    both = jrnn.BidirectionalParams(params, params)
    for rows in (B, 16):  # from 16 on both directions share a loop
        batch = rng.normal(size=(rows, STEPS, F))
        assert_close(
            jrnn.bidirectional(CELLS["lstm"], both, batch, checkpoint=2),
            jrnn.bidirectional(CELLS["lstm"], both, batch),
        )
    cell = jrnn.ConvLSTMCell(rank=1, kernel_size=2, padding="same")
    weights = cell.init(jax.random.key(0), F, U)
    images = rng.normal(size=(B, STEPS, 4, F))
    with_it = jrnn.conv_lstm(weights, images, cell=cell, checkpoint="sqrt")
    assert_close(with_it, jrnn.conv_lstm(weights, images, cell=cell))


def test_dropout_drops_the_same_on_the_way_back():
    cell = jrnn.DropoutCell(jrnn.LSTMCell(), 0.4, 0.3)
    params, xs, _ = random_problem(7, CELLS["lstm"], steps=STEPS)

    def gradient(checkpoint):
        def total(params):
            return jrnn.rnn(cell, params, xs, key=jax.random.key(1), checkpoint=checkpoint)[1].sum()

        return jax.grad(total)(params)

    assert_close(gradient("sqrt"), gradient(None))


@pytest.mark.parametrize("given", ["root", 0, -1, 2.0, True, "3"])
def test_what_it_is_not(given):
    params, xs, _ = random_problem(8, CELLS["lstm"])
    with pytest.raises(ValueError, match=r"checkpoint is .* but None, 'sqrt' or a positive"):
        jrnn.rnn(CELLS["lstm"], params, xs, checkpoint=given)


def test_an_unknown_number_of_steps():
    params, xs, _ = random_problem(9, CELLS["lstm"])
    (steps,) = jax.export.symbolic_shape("t")
    given = jax.ShapeDtypeStruct((B, steps, F), xs.dtype)
    with pytest.raises(ValueError, match="checkpoint is 2, but the number of steps is not known"):
        jax.eval_shape(lambda xs: jrnn.rnn(CELLS["lstm"], params, xs, checkpoint=2), given)


def test_memory_grows_with_the_root():
    """XLA's own count of the gradient's temporaries, at T and 16 T."""
    cell = jrnn.LSTMCell()
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 16, 32))

    def temporaries(steps, checkpoint):
        def total(params, xs):
            ys = jrnn.lstm(
                params, xs, time_major=True, return_sequences=False, checkpoint=checkpoint
            )[1]
            return ys.sum()

        xs = jax.ShapeDtypeStruct((steps, 8, 16), jnp.float32)
        compiled = jax.jit(jax.grad(total)).lower(params, xs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(16384, None) > 10 * temporaries(16384, "sqrt")
    assert temporaries(16384, "sqrt") < 6 * temporaries(1024, "sqrt")
