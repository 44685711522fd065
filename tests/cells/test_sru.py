"""What is an SRU's alone: the highway, and no product with the state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrnn import DropoutCell, SRUCell, SRUParams, SRUState, rnn, sru
from tests import oracle
from tests.cases import assert_close, random_params
from tests.scan.test_guard import innermost_loops, products

B, T, F = 3, 5, 4
KEY = jax.random.key(3)
SIZES = [(4, 4), (4, 3), (2, 5)]
every_size = pytest.mark.parametrize(("features", "units"), SIZES)


def random_problem(seed, cell, features, units):
    rng = np.random.default_rng(seed)
    params = random_params(rng, cell, features, units)
    state = SRUState(rng.normal(size=(B, units)))
    return params, rng.normal(size=(B, T, features)), state


def fails(*parts):
    """Expects a ValueError that says all the parts, in this order."""
    return pytest.raises(ValueError, match="(?s)" + ".*".join(parts))


def by_hand(params, xs, state, masks=(1, 1, 1, 1)):
    """Outputs with tanh, from the equations: product k is one of `xs * masks[k]`."""
    units = state.cell.shape[-1]
    blocks = [params.kernel[:, k * units : (k + 1) * units] for k in range(3)]
    blocks += [] if params.highway_kernel is None else [params.highway_kernel]
    c, ys = state.cell, []
    for t in range(xs.shape[1]):
        found = [(xs[:, t] * mask) @ part for mask, part in zip(masks, blocks, strict=False)]
        f = 1 / (1 + jnp.exp(-found[1] - params.bias[:units]))
        r = 1 / (1 + jnp.exp(-found[2] - params.bias[units:]))
        c = f * c + (1 - f) * found[0]
        ys.append(r * jnp.tanh(c) + (1 - r) * (found[3] if len(found) == 4 else xs[:, t]))
    return jnp.stack(ys, 1)


@pytest.mark.usefixtures("x64")
@every_size
def test_highway_is_projected_where_sizes_differ(features, units):
    params, xs, state = random_problem(0, SRUCell(), features, units)
    assert (params.highway_kernel is None) == (features == units)
    _, ys = sru(params, xs, initial_state=state)
    assert_close(ys, by_hand(params, xs, state))


@pytest.mark.usefixtures("x64")
def test_highway_may_be_projected_for_as_many_units():
    """A projection where none is needed: with the identity it is none."""
    params, xs, state = random_problem(1, SRUCell(), F, F)
    four = params._replace(highway_kernel=np.eye(F))
    run = jax.jit(lambda params: sru(params, xs, initial_state=state))
    assert_close(run(four), run(params))
    other = params._replace(highway_kernel=2 * np.eye(F))
    assert abs(run(other)[1] - run(params)[1]).max() > 0.1


@pytest.mark.usefixtures("x64")
def test_without_bias_the_gates_see_the_products_alone():
    cell = SRUCell("linear", use_bias=False)
    params, xs, _ = random_problem(2, cell, F, F)
    assert params.bias is None
    assert_close(sru(params, xs, cell=cell), oracle.rnn(cell, params, xs))
    zero = SRUParams(params.kernel, np.zeros(2 * F))
    assert_close(sru(params, xs, cell=cell), sru(zero, xs, cell=SRUCell("linear")))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("of_params", "of_x", "of_y"),
    [
        ("float32", "float32", "float32"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("bfloat16", "float32", "float32"),
        ("float32", "bfloat16", "float32"),
        ("float64", "float16", "float64"),
    ],
)
def test_dtypes_where_the_input_is_the_highway(of_params, of_x, of_y):
    params, xs, _ = random_problem(3, SRUCell(), F, F)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, of_params), params)
    xs = jnp.asarray(xs, of_x)
    state, ys = sru(params, xs)
    assert (state.cell.dtype, ys.dtype) == (of_y, of_y)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, xs))
    tolerance = 30 * float(jnp.finfo(of_y).eps)
    assert_close(jax.tree.map(np.float64, (state, ys)), oracle.rnn(SRUCell(), *exact), tolerance)
    gradients = jax.grad(lambda *given: sru(*given)[1].sum().astype("float32"), (0, 1))(params, xs)
    assert jax.tree.map(lambda leaf: leaf.dtype, gradients) == jax.tree.map(
        lambda leaf: leaf.dtype, (params, xs)
    )


def test_parameters_drawn():
    features, units = 60, 40
    params = SRUCell().init(KEY, features, units)
    for kernel, width in ((params.kernel, 3 * units), (params.highway_kernel, units)):
        assert kernel.shape == (features, width)
        limit = np.sqrt(6 / (features + width))
        assert 0.98 * limit < abs(kernel).max() <= limit
    assert not params.bias.any()
    square = SRUCell(bias_initializer="ones").init(KEY, units, units, "bfloat16")
    assert [leaf.shape for leaf in square[:2]] == [(units, 3 * units), (2 * units,)]
    assert square.highway_kernel is None
    assert {leaf.dtype for leaf in square[:2]} == {jnp.dtype("bfloat16")}
    assert (square.bias == 1).all()
    normal = SRUCell(kernel_initializer="normal", bias_initializer="normal")
    one, other = normal.init(KEY, 4, 2), normal.init(jax.random.key(4), 4, 2)
    assert len({float(leaf.ravel()[0]) for leaf in (*one, *other)}) == 6


@pytest.mark.usefixtures("x64")
@every_size
@pytest.mark.parametrize("per_gate", [False, True])
def test_dropout_of_the_input(features, units, per_gate):
    """Each product sees its own mask; the highway without a product sees the whole input."""
    params, xs, state = random_problem(4, SRUCell(), features, units)
    cell = DropoutCell(SRUCell(), dropout=0.4, per_gate=per_gate)
    drawn = cell.draw(KEY, params, xs[:, 0])
    assert len(drawn.kept_inputs) == (4 if per_gate else 1)
    masks = [np.asarray(kept) / 0.6 for kept in drawn.kept_inputs] * (1 if per_gate else 4)

    def run(params, xs):
        return rnn(cell, drawn._replace(params=params), xs, initial_state=state)[1]

    expected = by_hand(params, xs, state, masks)
    assert_close(run(params, xs), expected)
    assert abs(expected - by_hand(params, xs, state)).max() > 0.1
    check_grads(run, (params, xs), 1, ("fwd", "rev"), 1e-6, 1e-6, eps=1e-5)


@pytest.mark.usefixtures("x64")
def test_dropout_of_the_state_itself():
    """There is no product to mask, but the state as a whole can be dropped."""
    params, xs, state = random_problem(5, SRUCell(), F, F)
    cell = DropoutCell(SRUCell(), recurrent_dropout=0.5, drops_state=True)
    drawn = cell.draw(KEY, params, xs[:, 0])
    kept = np.asarray(drawn.kept_states[0]) / 0.5
    now, ys = state, []
    for t in range(T):
        now, y = SRUCell()(params, SRUState(now.cell * kept), xs[:, t])
        ys.append(y)
    assert_close(rnn(cell, drawn, xs, initial_state=state), (now, np.stack(ys, 1)))
    with fails("SRUCell", "recurrent dropout", "drops_state=True"):
        SRUCell().step(params, state, SRUCell().project(params, xs[:, 0]), dropout=[kept])


@pytest.mark.usefixtures("x64")
@every_size
def test_gradient(features, units):
    params, xs, state = random_problem(6, SRUCell(), features, units)
    weights = np.random.default_rng(7).normal(size=(B, T, units))

    def gradients(run):
        loss = jax.grad(lambda *given: (weights * run(*given)).sum(), (0, 1, 2))
        return jax.jit(loss)(params, xs, state)

    def ours(params, xs, state):
        return sru(params, xs, initial_state=state)[1]

    assert_close(gradients(ours), gradients(by_hand))
    check_grads(ours, (params, xs, state), 1, ("fwd", "rev"), 1e-6, 1e-6, eps=1e-5)


@pytest.mark.parametrize("shape", [(4, 13), (4, 14), (4,), (4, 4, 12)], ids=str)
def test_kernel_of_another_shape(shape):
    with fails("SRUCell: kernel is shape", str(shape)[1:-1], "needs shape"):
        sru(SRUParams(jnp.ones(shape), jnp.ones(6)), jnp.ones((B, T, shape[0])))


@pytest.mark.parametrize(
    ("kernel", "bias", "needed"),
    [((4, 12), 7, 8), ((4, 6), 8, 4), ((3, 9), 4, 6)],
)
def test_bias_of_another_size(kernel, bias, needed):
    with fails("SRUCell: bias is shape", rf"\({bias},\)", rf"needs shape \({needed},\)"):
        sru(SRUParams(jnp.ones(kernel), jnp.ones(bias)), jnp.ones((B, T, kernel[0])))


def test_highway_kernel_missing_or_of_another_shape():
    params, xs = SRUParams(jnp.ones((4, 9)), jnp.ones(6)), jnp.ones((B, T, 4))
    with fails("SRUCell: highway_kernel is None", r"\(4, 3\)"):
        sru(params, xs)
    with fails("SRUCell: highway_kernel is shape", r"\(3, 4\)", r"\(4, 3\)"):
        sru(params._replace(highway_kernel=jnp.ones((3, 4))), xs)


@pytest.mark.parametrize(("features", "units"), [(2, 4), (4, 4)])
@pytest.mark.parametrize("wrap", [lambda cell: cell, DropoutCell], ids=["plain", "dropout"])
def test_no_product_stands_in_the_loop(features, units, wrap, monkeypatch):
    """A step has none of its own, so that projecting each input by itself never pays."""
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    params = SRUCell().init(KEY, features, units)
    for steps, rows in ((20, 4), (400, 4096)):  # all at once, and in blocks
        xs = jax.ShapeDtypeStruct((rows, steps, features), jnp.float32)
        jaxpr = jax.make_jaxpr(lambda xs: rnn(wrap(SRUCell()), params, xs))(xs).jaxpr
        (loop,), none = innermost_loops(jaxpr)
        assert not none
        assert products(loop) == []
        assert (loop.params["length"] == steps) == (steps == 20)
