"""`memory_plan` beside XLA's own count of the temporaries of a compiled gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn

CELLS = {
    "SimpleRNNCell": jrnn.SimpleRNNCell(),
    "GRUCell": jrnn.GRUCell(),
    "GRUCell, reset before": jrnn.GRUCell(reset_after=False),
    "LSTMCell": jrnn.LSTMCell(),
    "LSTMCell, all": jrnn.LSTMCell(peephole=True, projection=24),
    "SRUCell": jrnn.SRUCell(),
    "StackedCell": jrnn.StackedCell([jrnn.LSTMCell(), jrnn.GRUCell()]),
}
SIZES = [
    *((8, 128, 128, 4096), (16, 48, 96, 2048), (1, 32, 256, 8192), (64, 64, 32, 1024)),
    (8, 48, 32, 2039),  # a prime number of steps
]
LAST = {"time_major": True, "return_sequences": False}
OPTIONS = [LAST, {}, {"lengths": True}]
ALL = [
    (cell, sizes, options, checkpoint)
    for cell, sizes, options in itertools.product(CELLS, SIZES, OPTIONS)
    for checkpoint in (None, "sqrt", 50)
    # What docs/memory.md leaves out: a row whose steps 50 does not divide; a prime without it.
    if (sizes[0], checkpoint) != (1, 50) and (sizes[3], checkpoint) != (2039, None)
]
SOME = set(range(0, len(ALL), 37))  # prime to all: some of each


def both(cell, sizes, options, checkpoint):
    """The plan, and XLA's count for the gradient by all parameters."""
    rows, features, units, steps = sizes
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), features, units))
    shape = (steps, rows, features) if options.get("time_major") else (rows, steps, features)
    xs = jax.ShapeDtypeStruct(shape, jnp.float32)
    options = dict(options, checkpoint=checkpoint)
    if "lengths" in options:
        options["lengths"] = np.full(rows, steps - 3)

    def loss(params, xs):
        return (jrnn.rnn(cell, params, xs, **options)[1] ** 2).mean()

    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    plan = jrnn.memory_plan(cell, params, xs, **options)
    return plan, compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    ("name", "sizes", "options", "checkpoint"),
    [
        pytest.param(*one, marks=() if k in SOME else pytest.mark.slow, id=str(k))
        for k, one in enumerate(ALL)
    ],
)
def test_total_is_what_xla_counts(name, sizes, options, checkpoint):
    plan, counted = both(CELLS[name], sizes, options, checkpoint)
    assert 0.8 * counted < plan.total < 1.2 * counted


def test_what_is_kept():
    """Of 64 steps: all states, or every eighth."""
    params = jrnn.LSTMCell().init(jax.random.key(0), 5, 7)
    xs = np.zeros((64, 3, 5), np.float32)
    state = 2 * 3 * 7 * 4

    def kept(**options):
        return jrnn.memory_plan(jrnn.LSTMCell(), params, xs, time_major=True, **options).kept

    assert kept() == 64 * state
    assert kept(checkpoint=8) == 8 * state
    assert kept(checkpoint="sqrt") == 16 * state
    assert kept(mask=np.ones((64, 3), bool)) == 64 * state + xs.nbytes


def test_outputs():
    params = jrnn.GRUCell().init(jax.random.key(0), 5, 7)
    xs = np.zeros((3, 64, 5), np.float32)
    assert jrnn.memory_plan(jrnn.GRUCell(), params, xs).outputs == 64 * 3 * 7 * 4
    assert jrnn.memory_plan(jrnn.GRUCell(), params, xs, return_sequences=False).outputs == 0


def test_shapes_will_do():
    cell = jrnn.GRUCell()
    arrays = (
        cell.init(jax.random.key(0), 5, 7),
        np.zeros((3, 64, 5), np.float32),
        {
            "mask": np.ones((3, 64), bool),
            "lengths": np.array([3, 0, 64]),
            "initial_state": jrnn.GRUState(np.ones((3, 7), np.float32)),
        },
    )
    params, xs, options = jax.eval_shape(lambda: arrays)
    wanted = jrnn.memory_plan(cell, *arrays[:2], checkpoint=8, **arrays[2])
    assert jrnn.memory_plan(cell, params, xs, checkpoint=8, **options) == wanted
    with pytest.raises(ValueError, match="mask has shape"):
        jrnn.memory_plan(cell, params, xs, mask=jax.ShapeDtypeStruct((3, 63), bool))


def test_it_refuses_what_the_layer_refuses():
    params = jrnn.GRUCell().init(jax.random.key(0), 5, 7)
    with pytest.raises(ValueError, match="checkpoint"):
        jrnn.memory_plan(jrnn.GRUCell(), params, np.zeros((3, 4, 5)), checkpoint=0)
    with pytest.raises(ValueError, match="cell is"):
        jrnn.memory_plan(jrnn.GRUCell, params, np.zeros((3, 4, 5)))  # pyright: ignore
