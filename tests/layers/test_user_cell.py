"""Cells that are not jrnn's: four methods, no base class."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import GRUCell, StackedCell, bidirectional, rnn
from tests.cases import B, F, T, assert_close

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(40)
LENGTHS = np.array([3, 0, 5])
RESETS = np.arange(B * T).reshape(B, T) % 4 == 2
XS = RNG.normal(size=(B, T, F))


@dataclasses.dataclass(frozen=True)
class LeakyCell:
    """`h' = decay * h + x @ kernel`; puts out `-h'`."""

    decay: float = 0.7

    def init(self, key, features, units, dtype=jnp.float32):
        return {"kernel": jax.random.normal(key, (features, units), dtype)}

    def initial_state(self, params, z):
        return jnp.zeros_like(z)

    def project(self, params, xs):
        return xs @ params["kernel"]

    def step(self, params, state, z):
        state = self.decay * state + z
        return state, -state


class TreeState(NamedTuple):
    total: dict
    steps: jax.Array


@dataclasses.dataclass(frozen=True)
class TreeCell:
    """Takes {"a" [F], "b" ([F], [])}, puts out (their running sums, steps so far)."""

    def init(self, key, features, units):
        return {"scale": jnp.full((features,), 2.0)}

    def initial_state(self, params, z):
        return TreeState({"sum": jnp.zeros_like(z["sum"])}, jnp.zeros_like(z["sum"][..., 0]))

    def project(self, params, xs):
        b, weight = xs["b"]
        return {"sum": params["scale"] * (xs["a"] + weight[..., None] * b)}

    def step(self, params, state, z):
        state = TreeState({"sum": state.total["sum"] + z["sum"]}, state.steps + 1)
        return state, (state.total["sum"], state.steps)


def leaky_loop(kernel, order, resets=None, lengths=(T,) * B):
    """[B, T, U] of the leaky cell in NumPy, for steps taken in this order."""
    ys = np.zeros((B, T, kernel.shape[1]))
    for b in range(B):
        hidden = np.zeros(kernel.shape[1])
        for t in order:
            entered = t if order[0] == 0 else t + 1
            if resets is not None and entered < T and resets[b, entered]:
                hidden = np.zeros(kernel.shape[1])
            if t < lengths[b]:
                hidden = 0.7 * hidden + XS[b, t] @ kernel
                ys[b, t] = -hidden
    return ys


def test_plain_cell_in_both_directions():
    kernels = RNG.normal(size=(2, F, 4))
    params = tuple({"kernel": kernel} for kernel in kernels)
    options = {"lengths": LENGTHS, "resets": RESETS}
    forward = leaky_loop(kernels[0], range(T), **options)
    backward = leaky_loop(kernels[1], range(T)[::-1], **options)
    assert_close(rnn(LeakyCell(), params[0], XS, **options)[1], forward)
    (_, ys) = bidirectional(LeakyCell(), params, XS, merge="concat", **options)
    assert_close(ys, np.concatenate([forward, backward], -1))
    (_, ys) = bidirectional(LeakyCell(), params, XS, merge=lambda a, b: a - b, **options)
    assert_close(ys, forward - backward)


@pytest.mark.parametrize("initial", [None, 3.0, np.arange(4.0)], ids=str)
def test_plain_cell_final_state(initial):
    kernel = RNG.normal(size=(F, 4))
    state, y = rnn(
        *(LeakyCell(0.5), {"kernel": kernel}, XS),
        initial_state=initial,
        return_sequences=False,
    )
    powers = 0.5 ** np.arange(T)[::-1]
    start = 0.5**T * (0 if initial is None else initial)
    assert_close((state, -y), (2 * (start + np.einsum("t,btf,fu->bu", powers, XS, kernel),)))


@pytest.mark.parametrize("time_major", [False, True])
def test_pytree_input_state_and_output(time_major):
    a, b, weight = RNG.normal(size=(B, T, F)), RNG.normal(size=(B, T, F)), RNG.normal(size=(B, T))
    contributions = 2.0 * (a + weight[..., None] * b)
    valid = np.arange(T) < LENGTHS[:, None]
    a[~valid] = np.nan
    contributions[~valid] = 0

    def place(array):
        return np.swapaxes(array, 0, 1) if time_major else array

    xs = {"a": place(a), "b": (place(b), place(weight))}
    params = {"scale": np.full(F, 2.0)}
    options = {"time_major": time_major, "lengths": LENGTHS}
    sums, counts = np.cumsum(contributions, 1), np.cumsum(valid, 1).astype(float)
    expected = place(sums * valid[..., None]), place(counts * valid)
    state, ys = rnn(TreeCell(), params, xs, **options)
    assert isinstance(state, TreeState)
    assert_close((state, ys), ({"sum": sums[:, -1]}, counts[:, -1], *expected))
    states, ys = rnn(TreeCell(), params, xs, return_all_states=True, **options)
    assert_close((states, ys), ({"sum": place(sums)}, place(counts), *expected))
    assert_close(
        rnn(TreeCell(), params, xs, return_sequences=False, masked_output="repeat", **options)[1],
        (sums[:, -1], counts[:, -1]),
    )
    _, (merged, count) = bidirectional(TreeCell(), (params, params), xs, merge="sum", **options)
    total = sums[:, -1:] + contributions
    assert_close(merged, place(total * valid[..., None]))
    assert_close(count, place((LENGTHS[:, None] + 1.0) * valid))


@dataclasses.dataclass(frozen=True)
class ClockCell(LeakyCell):
    """A leaky cell whose state also holds one clock for all rows."""

    def initial_state(self, params, z):
        return jnp.zeros_like(z), jnp.zeros((), z.dtype)

    def step(self, params, state, z):
        hidden, y = super().step(params, state[0], z)
        return (hidden, state[1] + 1), y


def test_state_without_the_batch_axis():
    params = {"kernel": RNG.normal(size=(F, 4))}
    (hidden, clock), ys = rnn(ClockCell(), params, XS)
    assert_close((hidden, ys), rnn(LeakyCell(), params, XS))
    assert clock == T
    (states, clocks), _ = rnn(ClockCell(), params, XS, return_all_states=True)
    assert_close(states, -ys)
    np.testing.assert_array_equal(clocks, np.arange(1, T + 1))
    with pytest.raises(ValueError, match=r"mask or reset of shape \(3,\).*shape \(\) without"):
        rnn(ClockCell(), params, XS, lengths=LENGTHS)


def test_in_a_stack():
    stack = StackedCell([LeakyCell(), GRUCell(), LeakyCell(0.1)])
    params = stack.init(jax.random.key(0), F, [3, 4, 6], "float64")
    ys = XS
    for cell, own in zip(stack.cells, params, strict=True):
        _, ys = rnn(cell, own, ys)
    assert ys.shape == (B, T, 6)
    assert_close(rnn(stack, params, XS)[1], ys)


def test_a_stack_of_cells_that_draw_no_dtype():
    """`Cell.init` promises features and units alone."""

    @dataclasses.dataclass(frozen=True)
    class Plain(LeakyCell):
        def init(self, key, features, units):
            return super().init(key, features, units)

    params = StackedCell([Plain(), Plain()]).init(jax.random.key(0), F, [3, 4])
    assert [own["kernel"].shape for own in params] == [(F, 3), (3, 4)]


@dataclasses.dataclass(frozen=True)
class Stateless(LeakyCell):
    """`tanh(x @ kernel)`: nothing is carried."""

    def initial_state(self, params, z):
        return ()

    def step(self, params, state, z):
        return (), jnp.tanh(z)


@dataclasses.dataclass(frozen=True)
class Clock(LeakyCell):
    """`t * (x @ kernel)`, with t the number of the step: the state has no batch axis."""

    def initial_state(self, params, z):
        return jnp.zeros((), jnp.int32)

    def step(self, params, state, z):
        return state + 1, state * z


@dataclasses.dataclass(frozen=True)
class Numbers(LeakyCell):
    """A cell of plain numbers, without a feature axis."""

    feature_ndim = 0

    def project(self, params, xs):
        return xs * params["kernel"]


@pytest.mark.parametrize("implementation", ["auto", "hoisted", "chunked", "in_loop"])
def test_states_and_inputs_of_any_shape(implementation):
    kernel = RNG.normal(size=(F, 3))

    def total(cell, kernel, xs):
        return rnn(cell, {"kernel": kernel}, xs, implementation=implementation)[1].sum()

    z = XS @ kernel
    slope = jax.grad(total, argnums=1)
    assert_close(slope(Stateless(), kernel, XS), np.einsum("btf,btg->fg", XS, 1 - np.tanh(z) ** 2))
    steps = np.arange(T)[:, None]
    assert_close(slope(Clock(), kernel, XS), np.tile((XS * steps).sum((0, 1))[:, None], 3))
    one, decay = XS[0, :, 0], LeakyCell().decay
    wanted = -sum(decay ** (t - k) * one[k] for t in range(T) for k in range(t + 1))
    assert_close(slope(Numbers(), np.float64(2), one), wanted)
