"""What a loop costs, counted: products, carries, what is kept, equations, copies.

Times depend on the machine; these counts do not. All but the last two tests only trace.
"""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import pytest

import jrnn.scan.cell
from jrnn import ConvGRUCell, ConvLSTMCell, GRUCell, LSTMCell, SimpleRNNCell, SRUCell, StackedCell
from jrnn.scan import scan_cell

T, B, F, U, P = 128, 256, 6, 5, 7  # no two alike; a gradient in many blocks, on any backend
IMAGE = (4, 3)


@dataclasses.dataclass(frozen=True)
class UserCell:
    """A cell with none of jrnn's code, whose output is not its state."""

    def init(self, key, features, units):
        del key
        return {"in": jnp.zeros((features, units)), "on": jnp.zeros((units, units))}

    def initial_state(self, params, z):
        return {"fast": jnp.zeros_like(z), "slow": jnp.zeros_like(z)}

    def project(self, params, xs):
        return xs @ params["in"]

    def step(self, params, state, z):
        fast = jax.nn.relu(z + state["fast"] @ params["on"])
        slow = 0.9 * state["slow"] + 0.1 * fast
        return {"fast": fast, "slow": slow}, jnp.sin(slow)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one step of a cell may cost."""

    cell: object
    products: int  # with recurrent kernels: forward, and again in the loop going back
    state: tuple[int, ...]  # features of the state's arrays
    kept: int  # features that the loop stacks for each step: states, and other outputs
    saved: int = 0  # the matmuls' results, kept as well where the weights are large
    projections: int = 1  # products with the input's kernel, where they are in the loop

    @property
    def image(self):
        """The axes between a row and its features."""
        return IMAGE[: getattr(self.cell, "rank", 0)]

    @property
    def carries(self):
        return [(B, *self.image, size) for size in self.state]


COSTS = {
    "simple_rnn": Cost(SimpleRNNCell(), 1, (U,), U, U),
    "gru": Cost(GRUCell(), 1, (U,), U, 6 * U, 3),
    "gru-reset_before": Cost(GRUCell(reset_after=False), 2, (U,), U, 5 * U, 3),
    "gru-other_gates": Cost(GRUCell("softsign", "hard_sigmoid"), 1, (U,), U, 6 * U, 3),
    "lstm": Cost(LSTMCell(), 1, (U, U), 2 * U, 4 * U),
    "lstm-peephole": Cost(LSTMCell(peephole=True), 1, (U, U), 2 * U, 4 * U),
    "lstm-projection": Cost(LSTMCell(projection=P), 2, (P, U), P + U, 4 * U + P),
    "sru": Cost(SRUCell(), 0, (U,), 2 * U, 4 * U, 4),
    "stacked": Cost(StackedCell([GRUCell(), LSTMCell()]), 3, (U, U, U), 3 * U, 6 * U + 4 * U, 3),
    "conv_lstm": Cost(ConvLSTMCell(rank=2, padding="same"), 1, (U, U), 2 * U),
    "conv_lstm-1d": Cost(ConvLSTMCell(rank=1, padding="same"), 1, (U, U), 2 * U),
    "conv_gru": Cost(ConvGRUCell(rank=2, padding="same"), 1, (U,), U),
    "user": Cost(UserCell(), 1, (U, U), 3 * U, U),
}
every_cell = pytest.mark.parametrize("name", COSTS)
every_way = pytest.mark.parametrize("way", ["hoisted", "chunked", "in_loop"])


def problem(cost, steps=T, rows=B):
    """The shapes of parameters and inputs, time first."""
    params = jax.eval_shape(lambda: cost.cell.init(jax.random.key(0), F, U))
    return params, jax.ShapeDtypeStruct((steps, rows, *cost.image, F), jnp.float32)


def forward(name, way, **options):
    return lambda params, xs: scan_cell(COSTS[name].cell, params, xs, implementation=way, **options)


def gradient(name, way, **options):
    run = forward(name, way, **options)

    def loss(params, xs):
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(run(params, xs)[1]))

    return jax.grad(loss, (0, 1))


@functools.cache
def program(make, name, way, steps=T, **options):
    return jax.make_jaxpr(make(name, way, **options))(*problem(COSTS[name], steps)).jaxpr


def inner_programs(equation):
    """The programs that an equation holds: loop bodies, branches, calls."""
    for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: v is None):
        inner = getattr(value, "jaxpr", value)
        if hasattr(inner, "eqns"):
            yield inner


def equations(jaxpr):
    """All equations of a program, those of inner programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in inner_programs(equation):
            yield from equations(inner)


def is_loop(equation):
    return equation.primitive.name in ("scan", "while")


def innermost_loops(jaxpr):
    """The loops over single steps, forward and backward; one that only cuts out steps is none."""
    computing = []
    for equation in filter(is_loop, equations(jaxpr)):
        inner = [found for body in inner_programs(equation) for found in equations(body)]
        names = {found.primitive.name for found in inner}
        if not any(map(is_loop, inner)) and names - {"slice", "squeeze"}:
            computing.append(equation)
    return [[loop for loop in computing if loop.params["reverse"] is way] for way in (False, True)]


def products(loop):
    """Shapes of the results of the matmuls and convolutions in a loop's body."""
    found = equations(loop.params["jaxpr"].jaxpr)
    names = ("dot_general", "conv_general_dilated")
    return [e.outvars[0].aval.shape for e in found if e.primitive.name in names]


def carry_count(loop):
    """How many arrays a loop carries: those that come out with no axis for time before them."""
    ends = zip(loop.outvars, loop.params["jaxpr"].jaxpr.outvars, strict=True)
    return sum(outer.aval.ndim == inner.aval.ndim for outer, inner in ends)


def carries(loop):
    """Shapes of what a loop carries from step to step."""
    return [var.aval.shape for var in loop.outvars[: carry_count(loop)]]


def stacked(loop):
    """How many features a loop stacks at each step."""
    distinct = dict.fromkeys(loop.params["jaxpr"].jaxpr.outvars[carry_count(loop) :])
    return sum(var.aval.shape[-1] for var in distinct)


def weight_shapes(name):
    shapes = {leaf.shape for leaf in jax.tree.leaves(problem(COSTS[name])[0])}
    return shapes | {shape[::-1] for shape in shapes}


@every_way
@every_cell
def test_a_step_forward(name, way):
    cost = COSTS[name]
    (loop,), none = innermost_loops(program(forward, name, way))
    assert not none
    assert len(products(loop)) == cost.products + cost.projections * (way == "in_loop")
    assert carries(loop) == cost.carries


@every_way
@every_cell
def test_a_step_of_the_gradient(name, way):
    """Back: products with recurrent kernels alone, and no weight's gradient rides along."""
    cost = COSTS[name]
    (there,), (back,) = innermost_loops(program(gradient, name, way))
    assert len(products(there)) == cost.products + cost.projections * (way == "in_loop")
    assert len(products(back)) == cost.products
    assert carries(there) == carries(back) == cost.carries
    assert not weight_shapes(name) & {*products(back), *carries(back)}


@every_way
@every_cell
def test_states_alone_are_kept_for_the_gradient(name, way):
    cost = COSTS[name]
    (there,), _ = innermost_loops(program(gradient, name, way))
    assert stacked(there) == cost.kept
    run = forward(name, way)
    residuals = jax.eval_shape(
        lambda *given: jax.tree.leaves(jax.vjp(run, *given)[1]), *problem(cost)
    )
    sequence = T * B * math.prod(cost.image)  # of one feature
    of_all_steps = sum(leaf.size for leaf in residuals if leaf.size >= sequence * min(F, U))
    assert of_all_steps == sequence * (sum(cost.state) + F)


@every_cell
def test_large_weights_keep_products(name, monkeypatch):
    """Where computing products again is dear, their results are kept, and nothing else is."""
    monkeypatch.setattr("jrnn.scan.plan._PRODUCT_WEIGHTS", 1)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    cost = COSTS[name]
    run = gradient(name, "in_loop")
    (there,), (back,) = innermost_loops(jax.make_jaxpr(run)(*problem(cost)).jaxpr)
    assert stacked(there) == cost.kept + cost.saved
    assert len(products(back)) == cost.products


@pytest.mark.parametrize("make", [forward, gradient])
@pytest.mark.parametrize("reverse", [False, True])
@every_cell
def test_time_stays_first_and_is_never_flipped(name, reverse, make):
    for way in ("hoisted", "chunked", "in_loop"):
        for equation in equations(program(make, name, way, reverse=reverse)):
            turned = equation.primitive.name in ("rev", "transpose")
            assert not turned or equation.invars[0].aval.size < B * min(F, U), equation


@pytest.mark.parametrize("make", [forward, gradient])
@every_way
@every_cell
def test_the_program_is_as_long_for_any_number_of_steps(name, way, make):
    programs = [program(make, name, way, steps=steps) for steps in (1024, 8192)]
    short, long = (len(list(equations(jaxpr))) for jaxpr in programs)
    assert short == long


@every_cell
def test_the_guard_sees_a_plain_scan(name, monkeypatch):
    """JAX's own gradient of the same loop fails every count above: so each can fail."""

    def plain(step, prepare, fixed, state, xs, plan):
        def whole_step(state, x):
            return step(fixed, state, prepare(fixed, x))

        return jax.lax.scan(whole_step, state, xs, reverse=plan.reverse)

    monkeypatch.setattr(jrnn.scan.cell, "loop", plain)
    cost = COSTS[name]
    run = gradient(name, "hoisted")
    (there,), (back,) = innermost_loops(jax.make_jaxpr(run)(*problem(cost)).jaxpr)
    assert len(products(there)) > cost.products
    assert len(products(back)) > cost.products
    assert len(carries(back)) > len(cost.state)
    assert weight_shapes(name) & {*products(back), *carries(back)}
    assert stacked(there) > cost.kept


def compiled(make, name, steps):
    """A run over few rows and many steps, where each step's update must be small."""
    run = jax.jit(make(name, "hoisted"))
    return run.lower(*problem(COSTS[name], steps, rows=2)).compile()


def loop_lines(text):
    """The instructions in bodies of loops, and in what these call."""
    blocks = dict(re.findall(r"^(?:ENTRY )?%?([\w.-]+) \([^\n]*\{\n(.*?)^\}", text, re.M | re.S))
    waiting = re.findall(r"body=%?([\w.-]+)", text)
    assert waiting
    lines, seen = [], set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            lines += blocks[name].splitlines()
            waiting += re.findall(r"(?:calls|to_apply|body)=%?([\w.-]+)", blocks[name])
    return lines


@pytest.mark.parametrize("name", ["simple_rnn", "gru-reset_before", "lstm", "user"])
def test_a_step_moves_no_whole_sequence(name):
    """An update in place writes one step; a copy or select of all steps makes the loop T x T."""
    steps = 2048
    lines = loop_lines(compiled(forward, name, steps).as_text())
    assert any("dynamic-update-slice" in line for line in lines)
    for line in lines:
        found = re.match(r"\s*(?:ROOT )?\S+ = \(?\w+\[([\d,]*)\]\S* ([\w-]+)\(", line)
        if found and math.prod(int(size) for size in found[1].split(",") if size) >= steps:
            assert found[2] not in ("copy", "select", "concatenate", "pad", "transpose"), line


@pytest.mark.parametrize("make", [forward, gradient])
@pytest.mark.parametrize("name", ["gru", "lstm", "stacked"])
def test_memory_grows_with_the_steps(name, make):
    sizes = [compiled(make, name, k).memory_analysis().temp_size_in_bytes for k in (2048, 4096)]
    assert sizes[0] > 0
    assert sizes[1] <= 2.2 * sizes[0]
