"""The loop's own gradient against that of a plain ``lax.scan``, however it runs."""

import dataclasses
import itertools
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jrnn.scan.cell
from jrnn.scan import scan_cell
from jrnn.scan.blocks import Plan
from tests.cases import CELLS, B, F, U, assert_close, every_other, random_params, random_state

pytestmark = pytest.mark.usefixtures("x64")
T = 11  # a prime: blocks leave a rest
DEFAULT = Plan(block=None, gradient_block=4)


def plain_scan(step, prepare, fixed, state, xs, plan):
    """What `loop` equals, with JAX's own gradient."""

    def whole_step(state, x):
        return step(fixed, state, prepare(fixed, x))

    return jax.lax.scan(whole_step, state, xs, reverse=plan.reverse)


def run(plan, cell, params, xs, state, **options):
    """Runs a cell by this plan; None for a plain scan."""

    def make_plan(_, reverse, *__, **___):
        return (plan or DEFAULT)._replace(reverse=reverse)

    loop = plain_scan if plan is None else jrnn.scan.cell.loop
    with mock.patch.multiple(jrnn.scan.cell, make_plan=make_plan, loop=loop):
        return scan_cell(cell, params, xs, initial_state=state, **options)


def loss_of(plan, cell, **options):
    """A loss of parameters, inputs and initial state in which every output counts."""

    def loss(*given):
        leaves = jax.tree.leaves(run(plan, cell, *given, **options))
        return sum(
            jnp.sin(leaf).sum() for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)
        )

    return loss


def problem(seed, cell, steps=T):
    rng = np.random.default_rng(seed)
    params = random_params(rng, cell)
    state = random_state(rng, cell, params)
    return jax.tree.map(jnp.asarray, (params, rng.normal(size=(steps, B, F)), state))


def compiled(function):
    """Compiled in a hurry: each test runs its program once."""
    fast = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function, compiler_options=fast)


def gradient(plan, cell, given, **options):
    """Value and gradients; zeros for integers, which have none."""
    loss = loss_of(plan, cell, **options)
    results = compiled(jax.value_and_grad(loss, (0, 1, 2), allow_int=True))(*given)
    none = jax.dtypes.float0
    return jax.tree.map(lambda g: np.zeros(g.shape) if g.dtype == none else g, results)


def assert_same_gradient(plan, cell, given, **options):
    """Value and gradients are those of the plain scan."""
    got, wanted = (gradient(way, cell, given, **options) for way in (plan, None))
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    assert_close(got, wanted, 1e-11)


PLANS = [
    Plan(block=block, gradient_block=gradient_block, save_products=saved, reverse=reverse)
    for block, gradient_block, saved, reverse in itertools.product(
        (1, 3, None), (1, 4, None), (False, True), (False, True)
    )
]
NUMBERED = enumerate(zip(PLANS, itertools.cycle(CELLS), strict=False))
SPREAD = [pair for k, pair in NUMBERED if k % 7 not in (2, 6)]  # each cell is there


@pytest.mark.parametrize("chosen", every_other({str(pair): pair for pair in SPREAD}))
def test_gradient_is_that_of_a_plain_scan(chosen):
    plan, name = chosen
    cell = CELLS[name]
    assert_same_gradient(plan, cell, problem(50, cell), reverse=plan.reverse)


RNG = np.random.default_rng(51)
MASK, RESETS = RNG.random((T, B)) < 0.7, RNG.random((T, B)) < 0.3
LENGTHS = np.array([T, 4, 0])
OPTIONS = {
    "lengths": {"lengths": LENGTHS, "return_all_states": True},
    "mask": {"mask": MASK, "masked_output": "repeat"},
    "resets": {"resets": RESETS, "return_all_states": True, "unroll": 2},
    "last": {"return_sequences": False},
    "last-masked": {"return_sequences": False, "mask": MASK, "resets": RESETS},
    "all": {"mask": MASK, "lengths": LENGTHS, "resets": RESETS, "masked_output": "repeat"},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_gradient_with_options(option):
    number = list(OPTIONS).index(option)
    name = ["gru", "lstm-projection", "gru-reset_before", "lstm-peephole"][number % 4]
    plan = PLANS[number * 7 % len(PLANS)]
    options = {"reverse": plan.reverse, **OPTIONS[option]}
    assert_same_gradient(plan, CELLS[name], problem(52, CELLS[name]), **options)


@dataclasses.dataclass(frozen=True)
class Made:
    """A cell made of a step function ``(params, state, z) -> (state, y)``."""

    function: Callable
    start: Callable = jnp.zeros_like  # z -> state

    def initial_state(self, params, z):
        del params
        return self.start(z)

    def project(self, params, xs):
        return xs @ params["in"]

    def step(self, params, state, z):
        return self.function(params, state, z)


def made(activation=jnp.tanh, kernel=lambda params, hidden: hidden @ params["on"]):
    def step(params, state, z):
        state = activation(z + kernel(params, state))
        return state, state

    return Made(step)


def counting(params, state, z):
    hidden, steps = state
    hidden = jnp.tanh(z + hidden @ params["on"] + 0.1 * steps[:, None])
    return (hidden, steps + 1), (hidden, steps)


def noisy(params, state, z):
    hidden, key = state
    key, now = jax.random.split(key)
    kept = jax.random.bernoulli(now, 0.7, hidden.shape)
    hidden = jnp.tanh(z + (hidden * kept) @ params["on"])
    return (hidden, key), hidden


def inner_scan(params, state, z):
    def again(hidden, _):
        return jnp.tanh(z + hidden @ params["on"]), None

    state, _ = jax.lax.scan(again, state, None, length=3)
    return state, state


def passing_on(params, state, z):
    """Arrays that stay, constants, the input itself, the state before."""
    hidden, stays, _ = state
    new = jnp.sin(z + hidden @ params["on"]) + stays
    return (new, stays, jnp.ones_like(stays)), (z, hidden, jnp.zeros_like(z), params["scale"])


@jax.custom_vjp
def straight_through(x):
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))


STEPS = {
    "counting": Made(counting, lambda z: (jnp.zeros_like(z), jnp.zeros(z.shape[:-1], int))),
    "noisy": Made(noisy, lambda z: (jnp.zeros_like(z), jax.random.key(0))),
    "noisy-raw_key": Made(noisy, lambda z: (jnp.zeros_like(z), jax.random.PRNGKey(0))),
    "jit": made(jax.jit(lambda x: jnp.tanh(jax.jit(jnp.sin)(x)))),
    "inner_scan": Made(inner_scan),
    "weight_norm": made(kernel=lambda p, h: h @ (p["on"] / jnp.linalg.norm(p["on"], axis=0))),
    "elementwise": made(kernel=lambda params, hidden: params["scale"] * hidden),
    "linear": made(lambda x: x),
    "relu": made(jax.nn.relu),
    "checkpoint": made(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))),
    "cond": made(lambda x: jax.lax.cond(x.sum() > 0, jnp.tanh, jnp.sin, x)),
    "straight_through": made(straight_through),
    "stop_gradient": made(kernel=lambda p, h: p["scale"] * jax.lax.stop_gradient(h)),
    "passing_on": Made(passing_on, lambda z: (jnp.zeros_like(z),) * 3),
    "table": made(kernel=lambda params, hidden: params["scale"] * hidden[:, params["order"]]),
    "no_state": Made(lambda params, _, z: ((), jnp.tanh(z * params["scale"])), lambda z: ()),
}


def made_problem(seed, cell):
    rng = np.random.default_rng(seed)
    params = {"in": rng.normal(size=(F, U)), "on": 0.5 * rng.normal(size=(U, U))}
    params |= {"scale": rng.normal(size=U), "order": np.array([2, 0, 3, 1])}
    given = jax.tree.map(jnp.asarray, (params, rng.normal(size=(T, B, F))))
    return *given, cell.start(jnp.asarray(rng.normal(size=(B, U))))


@pytest.mark.parametrize("name", STEPS)
def test_any_step(name):
    number = list(STEPS).index(name)
    plan = PLANS[5 * number % len(PLANS)]
    assert_same_gradient(plan, STEPS[name], made_problem(53, STEPS[name]), reverse=plan.reverse)


def test_custom_vjp_of_the_input():
    cell = Made(lambda params, state, z: made().step(params, state, straight_through(z)))
    assert_same_gradient(DEFAULT, cell, made_problem(54, cell))


def test_bfloat16():
    """As close to the float64 gradient as the plain scan's, and in the same dtypes."""
    cell = CELLS["lstm"]
    given = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), problem(55, cell))
    exact = gradient(None, cell, jax.tree.map(lambda leaf: leaf.astype(float), given))
    got, wanted = (gradient(plan, cell, given) for plan in (DEFAULT, None))

    def error(tree):
        pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(exact), strict=True)
        return sum(jnp.abs(a.astype(float) - b).sum() for a, b in pairs)

    assert {leaf.dtype for leaf in jax.tree.leaves((got, wanted))} == {jnp.dtype(jnp.bfloat16)}
    assert error(got) < 1.5 * error(wanted)


some_plans = pytest.mark.parametrize("plan", [DEFAULT, PLANS[15]], ids=str)
GRU = CELLS["gru-reset_before"]


@some_plans
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps(plan, steps):
    assert_same_gradient(plan, GRU, problem(56, GRU, steps), reverse=plan.reverse)


def scaled(gradient, which):
    """The gradient at two multiples of one argument, under vmap."""

    def of_both(*given):
        def at(factor):
            chosen = jax.tree.map(lambda leaf: factor * leaf, given[which])
            return gradient(*given[:which], chosen, *given[which + 1 :])

        return jax.vmap(at)(jnp.array([0.5, 1.5]))

    return of_both


TRANSFORMED = {
    "params": lambda loss: jax.grad(loss, 0),
    "xs": lambda loss: jax.grad(loss, 1),
    "state": lambda loss: jax.grad(loss, 2),
    "bias": lambda loss: (
        lambda p, xs, s: jax.grad(lambda bias: loss(p._replace(bias=bias), xs, s))(p.bias)
    ),
    "vmap_params": lambda loss: scaled(jax.grad(loss, (0, 1, 2)), 0),
    "vmap_xs": lambda loss: scaled(jax.grad(loss, (0, 1, 2)), 1),
    "vmap_state": lambda loss: scaled(jax.grad(loss, (0, 1, 2)), 2),
    "checkpoint": lambda loss: jax.grad(jax.checkpoint(loss), (0, 1, 2)),
    "jacfwd": lambda loss: jax.jacfwd(loss, (1, 2)),
    "hessian": lambda loss: jax.hessian(loss, 1),
    "jvp": lambda loss: lambda *given: jax.jvp(loss, given, given),
    "jvp_xs": lambda loss: lambda p, xs, s: jax.jvp(lambda xs: loss(p, xs, s), (xs,), (xs,)),
    "linearize": lambda loss: lambda *given: jax.linearize(loss, *given)[1](*given),
}


@some_plans
@pytest.mark.parametrize("name", every_other(dict(zip(TRANSFORMED, TRANSFORMED, strict=True))))
def test_transformed(plan, name):
    given = problem(57, GRU, steps=7)
    got, wanted = (
        compiled(TRANSFORMED[name](loss_of(way, GRU, mask=MASK[:7])))(*given)
        for way in (plan, None)
    )
    assert_close(got, wanted, 1e-11)


@pytest.mark.slow
def test_second_derivatives():
    loss = jax.jit(loss_of(DEFAULT, GRU))
    check_grads(loss, problem(61, GRU, steps=5), 2, ["fwd", "rev"], rtol=1e-4)
