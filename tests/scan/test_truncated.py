"""`truncated_bptt` beside its definition, and beside a recurrence differentiated by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from tests.cases import CELLS, B, F, U, assert_close, random_problem

pytestmark = pytest.mark.usefixtures("x64")
STEPS = 11


def mean_square(cell):
    def loss(params, state, part):
        xs, targets = part
        state, ys = jrnn.rnn(cell, params["cell"], xs, initial_state=state)
        return jnp.mean((ys @ params["readout"] - targets) ** 2), state

    return loss


def problem(cell, seed=0):
    params, xs, state = random_problem(seed, cell, steps=STEPS)
    rng = np.random.default_rng(seed + 1)
    start = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape[1:]), state)
    width = jax.tree.leaves(state)[0].shape[-1]
    params = {"cell": params, "readout": rng.normal(size=(width, 2)), "start": start}
    return params, state, (xs, rng.normal(size=(B, STEPS, 2)))


def by_hand(loss, chunk, params, state, batch):
    """The loop of the definition, with ``jax.grad`` of each chunk."""
    value, gradient = 0.0, jax.tree.map(np.zeros_like, params)
    for first in range(0, STEPS, chunk):
        part = jax.tree.map(lambda leaf: leaf[:, first : first + chunk], batch)  # noqa: B023
        share = part[0].shape[1] / STEPS
        (one, after), g = jax.value_and_grad(loss, has_aux=True)(params, state, part)
        state = jax.tree.map(np.asarray, after)
        value += share * one
        gradient = jax.tree.map(lambda a, b: a + share * b, gradient, g)  # noqa: B023
    return (value, state), gradient


@pytest.mark.parametrize("chunk", [1, 4, STEPS, 50])
@pytest.mark.parametrize("name", ["gru", pytest.param("stacked", marks=pytest.mark.slow)])
def test_it_is_its_definition(name, chunk):
    loss = mean_square(CELLS[name])
    params, state, batch = problem(CELLS[name])
    result = jax.jit(jrnn.truncated_bptt(loss, chunk=chunk))(params, state, batch)
    assert_close(result, by_hand(loss, chunk, params, state, batch))


@pytest.mark.parametrize("chunk", [2, 3, 11])
def test_a_recurrence_differentiated_by_hand(chunk):
    """``h = w h + x`` and the sum of all h: how h moves with w is forgotten at each border."""
    cell = jrnn.SimpleRNNCell(activation="linear", use_bias=False)
    rng = np.random.default_rng(3)
    xs, w, h = rng.normal(size=STEPS), 0.8, 1.3
    params = jrnn.SimpleRNNParams(np.ones((1, 1)), np.full((1, 1), w))
    start = jrnn.SimpleRNNState(np.full((1, 1), h))

    def loss(params, state, xs):
        state, ys = jrnn.rnn(cell, params, xs, initial_state=state)
        return ys.mean(), state

    total = slope = moved = 0.0
    for t, x in enumerate(xs):
        moved = h + w * (0 if t % chunk == 0 else moved)
        h = w * h + x
        total, slope = total + h, slope + moved
    (value, state), gradient = jrnn.truncated_bptt(loss, chunk=chunk)(
        params, start, xs.reshape(1, STEPS, 1)
    )
    assert_close(value, total / STEPS)
    assert_close(gradient.recurrent_kernel[0, 0], slope / STEPS)
    assert_close(state.hidden[0, 0], h)


def test_a_chunk_as_long_as_the_sequence_is_the_gradient():
    cell = CELLS["gru"]
    params, state, batch = problem(cell)
    result = jrnn.truncated_bptt(mean_square(cell), chunk=STEPS)(params, state, batch)
    whole = jax.value_and_grad(mean_square(cell), has_aux=True)(params, state, batch)
    assert_close(result, whole)


def test_rows_that_are_reset_start_from_what_is_learned():
    """And its gradient is that of these rows, through the first chunk alone."""
    cell = CELLS["lstm"]
    params, state, batch = problem(cell)
    reset = np.array([True, False, True])
    run = jax.jit(
        jrnn.truncated_bptt(mean_square(cell), chunk=4, initial_state=lambda p: p["start"])
    )

    def whole(params):
        def mixed(old, new):
            return jnp.where(reset[:, None], jnp.broadcast_to(new, old.shape), old)

        start = jax.tree.map(mixed, state, params["start"])
        total, carried = 0.0, start
        for first in range(0, STEPS, 4):
            part = jax.tree.map(lambda leaf: leaf[:, first : first + 4], batch)  # noqa: B023
            one, carried = mean_square(cell)(params, carried, part)
            carried = jax.lax.stop_gradient(carried)
            total += one * part[0].shape[1] / STEPS
        return total, carried

    result = run(params, state, batch, reset)
    assert_close(result, jax.value_and_grad(whole, has_aux=True)(params))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(result[1]["start"]))
    untouched = run(params, state, batch, np.zeros(B, bool))[1]["start"]
    assert_close(untouched, jax.tree.map(np.zeros_like, untouched))


def test_zeros_where_nothing_is_learned():
    cell = CELLS["lstm"]
    params, state, batch = problem(cell)
    run = jrnn.truncated_bptt(mean_square(cell), chunk=3)
    zeros = jax.tree.map(np.zeros_like, state)
    assert_close(run(params, state, batch, np.ones(B, bool)), run(params, zeros, batch))
    assert_close(run(params, None, batch), run(params, zeros, batch))


def test_a_state_goes_from_call_to_call():
    """Two calls of 4 steps are one of 8, in chunks of 4: the mean of both."""
    cell = CELLS["gru"]
    params, state, batch = problem(cell)
    run = jrnn.truncated_bptt(mean_square(cell), chunk=4)
    parts = [jax.tree.map(lambda leaf: leaf[:, k : k + 4], batch) for k in (0, 4)]  # noqa: B023
    (one, middle), first = run(params, state, parts[0])
    (other, last), second = run(params, middle, parts[1])
    both = jax.tree.map(lambda leaf: leaf[:, :8], batch)
    expected = ((one + other) / 2, last), jax.tree.map(lambda a, b: (a + b) / 2, first, second)
    assert_close(run(params, state, both), expected)


def test_time_first():
    cell = CELLS["gru"]
    params, state, batch = problem(cell)

    def loss(params, state, part):
        return mean_square(cell)(params, state, jax.tree.map(lambda x: x.swapaxes(0, 1), part))

    turned = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), batch)
    result = jrnn.truncated_bptt(loss, chunk=4, time_axis=0)(params, state, turned)
    assert_close(result, jrnn.truncated_bptt(mean_square(cell), chunk=4)(params, state, batch))


def test_a_reset_does_not_repeat_noise():
    cell = jrnn.DropoutCell(CELLS["gru"], dropout=0.5, per_step=True)
    params, _, (xs, _) = problem(CELLS["gru"])

    def loss(params, state, xs):
        state, ys = jrnn.rnn(cell, params, xs, initial_state=state, key=jax.random.key(5))
        return ys.mean(), state

    run = jrnn.truncated_bptt(loss, chunk=4)
    (_, first), _ = run(params["cell"], None, xs)
    (_, second), _ = run(params["cell"], first, xs, np.array([True, False, False]))
    np.testing.assert_array_equal(second.clock.steps, np.full(B, 2 * STEPS))


def test_what_does_not_fit():
    cell = CELLS["gru"]
    params, state, (xs, targets) = problem(cell)
    for chunk in (0, 2.0, True):
        with pytest.raises(ValueError, match=r"chunk is .* but a positive integer"):
            jrnn.truncated_bptt(mean_square(cell), chunk=chunk)
    run = jrnn.truncated_bptt(mean_square(cell), chunk=4)
    with pytest.raises(ValueError, match=r"\[10, 11\] steps"):
        run(params, state, (xs, targets[:, 1:]))
    with pytest.raises(ValueError, match=r"\[0\] steps"):
        run(params, state, (xs[:, :0], targets[:, :0]))
    with pytest.raises(ValueError, match="state is None"):
        run(params, None, (xs, targets), np.ones(B, bool))
    with pytest.raises(ValueError, match="time as axis 5"):
        jrnn.truncated_bptt(mean_square(cell), chunk=4, time_axis=5)(params, state, (xs, targets))
    with pytest.raises(ValueError, match="initial_state is a GRUState, but a function"):
        jrnn.truncated_bptt(mean_square(cell), chunk=4, initial_state=params["start"])
    bare = jrnn.truncated_bptt(mean_square(cell), chunk=4, initial_state=lambda p: jnp.zeros(U))
    with pytest.raises(ValueError, match=r"initial_state\(params\) is one array"):
        bare(params, state, (xs, targets), np.ones(B, bool))
    with pytest.raises(ValueError, match=r"reset has shape \(2,\)"):
        run(params, state, (xs, targets), np.ones(2, bool))


def proportional(params, state, part):
    """A loss that has no state of its own, and hands on the one it is given."""
    return jnp.mean(params["w"] * part), state


WEIGHT, PART = {"w": np.ones(())}, np.ones((2, 8))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda p, s, x: (p["w"] * x).sum(), r"returns float64\[\], but \(value, state\)"),
        (lambda p, s, x: None, r"returns None, but \(value, state\)"),
        (lambda p, s, x: (p["w"] * x, s), r"the value float64\[2,3\], but one floating-point"),
        (lambda p, s, x: ((p["w"] * x).sum().astype(int), s), r"the value int64\[\], but one"),
        (lambda p, s, x: ({"mse": p["w"] * x.sum()}, s), r"the value \{'mse': .*, but one"),
        (lambda p, s, x: (p["w"] * x.sum(), (s,)), r"takes the state \(None,\) .* one form"),
        (lambda p, s, x: (p["w"], x if s is None else s[:, 1:]), r"\[2,3\] .* float64\[2,2\], but"),
        (lambda p, s, x: (p["w"], jnp.ones(2, "f4" if s is None else "f8")), r"32\[2\] .* float64"),
    ],
)
def test_a_loss_that_does_not_fit(loss, message):
    with pytest.raises(ValueError, match=r"^jrnn\.truncated_bptt: loss .*" + message):
        jrnn.truncated_bptt(loss, chunk=3)(WEIGHT, None, PART)


def test_an_error_of_the_loss_stays_its_own():
    def loss(params, state, part):
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        jrnn.truncated_bptt(loss, chunk=3)(WEIGHT, None, PART)


def test_choices_and_params_that_do_not_fit():
    with pytest.raises(ValueError, match=r"loss is a int, but a function"):
        jrnn.truncated_bptt(3, chunk=3)  # type: ignore
    for axis in ("a", 1.0, True):
        with pytest.raises(ValueError, match=r"time_axis is .*, but an integer"):
            jrnn.truncated_bptt(proportional, chunk=3, time_axis=axis)
    run = jrnn.truncated_bptt(proportional, chunk=3)
    with pytest.raises(ValueError, match=r"params\['seen'\]\[0\] has dtype int64, but a floating"):
        run(WEIGHT | {"seen": [np.arange(3)]}, None, PART)


@pytest.mark.parametrize("start", [np.ones(3), np.ones((2, 1, 5)), np.ones((3, 5))])
def test_a_start_that_does_not_fit_the_rows(start):
    run = jrnn.truncated_bptt(proportional, chunk=3, initial_state=lambda p: start)
    with pytest.raises(ValueError, match=r"initial_state\(params\) has an array of shape"):
        run(WEIGHT, np.ones((2, 5)), PART, np.array([True, False]))


@pytest.mark.parametrize("state", [np.full((2, 5), 3.0), np.full(5, 3.0), 3.0])
def test_one_flag_resets_all_that_there_is(state):
    """Rows, and the one row of a state without a batch axis."""
    run = jrnn.truncated_bptt(proportional, chunk=3, initial_state=lambda p: 7.0)
    for reset, expected in ((True, 7.0), (np.array(False), 3.0)):
        (_, after), _ = run(WEIGHT, state, PART, reset)
        np.testing.assert_array_equal(after, np.full(np.shape(state), expected))


def test_a_state_of_weak_type_takes_the_dtype_of_the_next():
    def loss(params, state, part):
        return params["w"] * part.mean(), 0.0 if state is None else 0 * state + part[0, 0]

    (_, state), _ = jrnn.truncated_bptt(loss, chunk=3)(WEIGHT, None, PART.astype("float16"))
    assert state == 1
    assert state.dtype == jnp.float16


@pytest.mark.parametrize("chunk", [1, 7])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_chunks_of_16_bits_are_added_in_float32(dtype, chunk):
    """In 16 bits a sum stops where what is added is less than half of its last digit."""
    xs = jnp.asarray(np.random.default_rng(4).uniform(0.5, 1.5, size=(1, 2048)), dtype)
    params = {"w": jnp.ones((), dtype)}
    (value, _), gradient = jrnn.truncated_bptt(proportional, chunk=chunk)(params, None, xs)
    mean = np.asarray(xs, np.float64).mean()
    assert value.dtype == gradient["w"].dtype == dtype
    np.testing.assert_allclose(
        [float(value), float(gradient["w"])], mean, rtol=jnp.finfo(dtype).eps
    )


def test_memory_is_that_of_a_chunk():
    cell = jrnn.LSTMCell()
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), F, 8 * U))

    def loss(params, state, xs):
        state, ys = jrnn.rnn(cell, params, xs, initial_state=state, time_major=True)
        return ys.mean(), state

    def temporaries(function, *args):
        compiled = jax.jit(function).lower(*args).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    xs = jax.ShapeDtypeStruct((8192, B, F), jnp.float32)
    whole = temporaries(jax.grad(lambda params, xs: loss(params, None, xs)[0]), shapes, xs)
    run = jrnn.truncated_bptt(loss, chunk=32, time_axis=0)
    chunks = temporaries(lambda params, xs: run(params, None, xs), shapes, xs)
    assert chunks < whole / 20
