"""What a step computes from its parameters alone leaves the loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import GRUCell, StackedCell
from jrnn.scan import scan_cell
from jrnn.scan.program import without_repetition
from tests.cases import assert_close
from tests.scan.test_guard import Cost, UserCell, equations, innermost_loops, problem

RNG = np.random.default_rng(70)
KERNEL, BIAS, X = RNG.normal(size=(4, 6)), RNG.normal(size=6), RNG.normal(size=(5, 4))


@dataclasses.dataclass(frozen=True)
class CarefulCell(UserCell):
    """A user's cell that works on its parameters in every step."""

    def project(self, params, xs):
        return xs @ jnp.flip(params["in"])

    def step(self, params, state, z):
        bound = {**params, "on": jnp.tanh(params["on"]).T[:, : z.shape[-1]]}
        return super().step(bound, state, z)


CELLS = [GRUCell(), GRUCell(reset_after=False), StackedCell([GRUCell(), GRUCell()]), CarefulCell()]


@pytest.mark.parametrize("way", ["hoisted", "in_loop"])
@pytest.mark.parametrize("cell", CELLS, ids=["gru", "gru-reset_before", "stacked", "user"])
def test_the_loop_takes_no_kernel_apart(cell, way):
    params, xs = problem(Cost(cell, 0, (), 0))
    jaxpr = jax.make_jaxpr(lambda *given: scan_cell(cell, *given, implementation=way))(params, xs)
    ((loop,), _) = innermost_loops(jaxpr.jaxpr)
    body = loop.params["jaxpr"].jaxpr
    weights = {
        var for var in body.invars if var.aval.ndim == 2 and xs.shape[1] not in var.aval.shape
    }
    assert weights
    for equation in equations(body):
        if weights & {var for var in equation.invars if type(var) is type(body.invars[0])}:
            name = equation.primitive.name
            assert name in ("dot_general", "custom_jvp_call", "broadcast_in_dim", "add"), equation


def affine(fixed, x):
    """Uses its parameters turned, twice over, and widened."""
    kernel = fixed["kernel"].T
    return {"y": x @ fixed["kernel"].T.T + fixed["bias"], "same": kernel, "other": x}


def split(function, fixed, *arguments):
    """The results in two parts, and the primitives of the second."""
    once, rest = without_repetition(function, fixed, *arguments)
    found = jax.make_jaxpr(lambda *given: rest(once, *given))(*arguments)
    return rest(once, *arguments), [equation.primitive.name for equation in found.jaxpr.eqns]


def test_both_parts_together_are_the_function():
    fixed = {"kernel": jnp.asarray(KERNEL), "bias": jnp.asarray(BIAS)}
    found, names = split(affine, fixed, jnp.asarray(X))
    assert_close(found, affine(fixed, jnp.asarray(X)), 1e-6)
    assert "transpose" not in names
    assert "dot_general" in names


def test_nothing_grows_outside():
    wide = jnp.ones((1000, 6))
    _, names = split(lambda bias, x: x + jnp.broadcast_to(bias, x.shape), jnp.asarray(BIAS), wide)
    assert "broadcast_in_dim" in names


def test_equal_work_is_done_once():
    once, _ = without_repetition(
        lambda kernel, x: (x @ kernel.T.T, x @ kernel.T.T), jnp.asarray(KERNEL), jnp.asarray(X)
    )
    assert len(once) == 1


def test_a_function_without_such_work_stays_as_it_is():
    fixed = jnp.asarray(KERNEL)

    def product(kernel, x):
        return x @ kernel

    assert without_repetition(product, fixed, jnp.asarray(X)) == (fixed, product)


def test_derivative_rules_survive():
    """A straight-through step: its rule says 1 where JAX's own derivative is 0."""

    @jax.custom_jvp
    def rounded(x):
        return jnp.round(x)

    rounded.defjvp(lambda primals, tangents: (rounded(*primals), tangents[0]))

    def total(x):
        once, rest = without_repetition(lambda w, x: rounded(x @ w.T.T), jnp.asarray(KERNEL), x)
        return rest(once, x).sum()

    expected = jnp.broadcast_to(jnp.asarray(KERNEL).sum(axis=1), X.shape)
    assert_close(jax.grad(total)(jnp.asarray(X)), expected, 1e-6)


def test_programs_that_read_alike_are_not_equal():
    """Both round, and print the same: the derivative of one is 1, that of the other 0."""

    def rounded(slope):
        @jax.custom_jvp
        def function(x):
            return jnp.round(x)

        function.defjvp(lambda primals, tangents: (function(*primals), slope * tangents[0]))
        return function

    one, none = rounded(1.0), rounded(0.0)

    def total(kernel):
        def function(kernel, x):
            return x @ one(kernel) + 2 * (x @ none(kernel))

        once, rest = without_repetition(function, kernel, jnp.asarray(X))
        return rest(once, jnp.asarray(X)).sum()

    expected = jnp.broadcast_to(X.sum(axis=0)[:, None], KERNEL.shape)
    assert_close(jax.grad(total)(jnp.asarray(KERNEL)), expected, 1e-6)
