"""The Linen modules beside Flax's own, on converted weights, and beside jrnn's functions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jrnn
from jrnn.flax_wrappers import linen as wrapped
from tests.cases import assert_close, assert_equal

B, T, F, U = 3, 5, 2, 4
LENGTHS = np.array([5, 2, 4])
KEY = jax.random.key(0)
CELLS = ("SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell")
every_cell = pytest.mark.parametrize("name", CELLS)


def inputs(seed=1, shape=(B, T, F)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def randomized(variables, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), variables)


def own_params(name, theirs):
    """Flax's parameters, a kernel for each gate, as jrnn's."""

    def side(letter, gates, field):
        return jnp.concatenate([theirs[letter + gate][field] for gate in gates], axis=-1)

    if name == "SimpleCell":
        return {
            "kernel": theirs["i"]["kernel"],
            "recurrent_kernel": theirs["h"]["kernel"],
            "bias": theirs["i"]["bias"],
        }
    gates = "zrn" if name == "GRUCell" else "ifgo"
    kernels = {"kernel": side("i", gates, "kernel"), "recurrent_kernel": side("h", gates, "kernel")}
    if name != "GRUCell":
        return kernels | {"bias": side("h", gates, "bias")}
    inner = jnp.concatenate([jnp.zeros(2 * U), theirs["hn"]["bias"]])
    return kernels | {"bias": jnp.stack([side("i", gates, "bias"), inner])}


def pair(name, **options):
    """Flax's layer and jrnn's with the same parameters: `(module, variables)` each."""
    theirs = nn.RNN(getattr(nn, name)(U), **options)
    variables = randomized(theirs.init(KEY, inputs()))
    ours = wrapped.RNN(getattr(wrapped, name)(U), **options)
    params = own_params(name, variables["params"]["cell"])
    return (theirs, variables), (ours, {"params": {"cell": params}})


@every_cell
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reverse": True},
        {"reverse": True, "keep_order": True},
        {"time_major": True, "unroll": 2},
    ],
    ids=str,
)
def test_a_sequence_is_flaxs(name, options):
    (theirs, variables), (ours, own) = pair(name, **options)
    x = inputs(shape=(T, B, F) if "time_major" in options else (B, T, F))
    zero = theirs.cell.initialize_carry(KEY, (B, F))
    assert_equal(ours.cell.initialize_carry(KEY, (B, F)), zero)
    call = {"initial_carry": randomized(zero, 3), "return_carry": True}
    expected = theirs.apply(variables, x, **call)
    actual = ours.apply(own, x, **call)
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert_close(actual, expected, 1e-6)
    assert jax.tree.map(jnp.shape, ours.init(KEY, x)) == jax.tree.map(jnp.shape, own)


@every_cell
@pytest.mark.parametrize("reverse", [{}, {"reverse": True}, {"reverse": True, "keep_order": True}])
def test_lengths_as_flax_has_them(name, reverse):
    (theirs, variables), (ours, own) = pair(name, **reverse)
    carry, ys = theirs.apply(variables, inputs(), seq_lengths=LENGTHS, return_carry=True)
    broken = inputs().at[1, 2:].set(jnp.nan)
    own_carry, own_ys = ours.apply(own, broken, seq_lengths=LENGTHS, return_carry=True)
    counts = np.arange(T) < LENGTHS[:, None]
    assert_close(own_ys[counts], ys[counts], 1e-6)
    assert_close(own_carry, carry, 1e-6)
    assert not own_ys[~counts].any()


@every_cell
def test_one_step_is_flaxs(name):
    (theirs, variables), (_, own) = pair(name)
    x = inputs()[:, 0]
    carry = randomized(theirs.cell.initialize_carry(KEY, x.shape), 4)
    expected = getattr(nn, name)(U).apply({"params": variables["params"]["cell"]}, carry, x)
    actual = getattr(wrapped, name)(U).apply({"params": own["params"]["cell"]}, carry, x)
    assert_close(actual, expected, 1e-6)


@every_cell
def test_module_is_the_function_to_the_bit(name):
    _, (ours, own) = pair(name)
    params = own["params"]["cell"]
    plain = ours.cell.plain
    kind = type(jax.eval_shape(lambda: plain.init(KEY, F, U)))
    state, expected = jrnn.rnn(plain, kind(**params), inputs(), lengths=LENGTHS)
    carry, ys = ours.apply(own, inputs(), seq_lengths=LENGTHS, return_carry=True)
    assert_equal(ys, expected)
    assert_equal(carry, (state.cell, state.hidden) if "LSTM" in name else state.hidden)


def test_both_directions_and_layers_on_one_another():
    lower = wrapped.RNN(wrapped.LSTMCell(U))
    upper = wrapped.Bidirectional(wrapped.RNN(wrapped.GRUCell(U)), wrapped.RNN(wrapped.GRUCell(U)))
    module = wrapped.StackedRNN([lower, upper], dropout=0.5, return_carry=True)
    variables = randomized(module.init(KEY, inputs()))
    first, second = (variables["params"][f"layers_{k}"] for k in range(2))
    _, between = jrnn.lstm(jrnn.LSTMParams(**first["cell"]), inputs())
    both = [jrnn.GRUParams(**second[f"{way}_rnn"]["cell"]) for way in ("forward", "backward")]
    _, expected = jrnn.bidirectional(jrnn.GRUCell(), jrnn.BidirectionalParams(*both), between)
    carries, ys = module.apply(variables, inputs(), deterministic=True)
    assert_close(ys, expected, 1e-6)
    assert jax.tree.map(jnp.shape, carries) == (((B, U), (B, U)), ((B, U), (B, U)))

    def train(seed):
        return module.apply(variables, inputs(), rngs={"dropout": jax.random.key(seed)})[1]

    assert_equal(train(1), train(1))
    assert (train(1) != train(2)).any()
    with pytest.raises(ValueError, match="2 layers"):
        module.apply(variables, inputs(), initial_carry=[None])


def test_any_cell_with_dropout():
    dropped = jrnn.DropoutCell(jrnn.SRUCell(), dropout=0.4)
    cell = jrnn.StackedCell([dropped, jrnn.LSTMCell(projection=3)])
    module = wrapped.RNN(wrapped.RNNCell(cell, [4, 6]))
    variables = module.init(KEY, inputs())
    params = variables["params"]["cell"]["cell"]
    still = module.apply(variables, inputs(), deterministic=True)
    assert_equal(still, jrnn.rnn(cell, params, inputs())[1])
    assert hash(module) == hash(wrapped.RNN(wrapped.RNNCell(cell, (4, 6))))
    ys = [module.apply(variables, inputs(), rngs={"dropout": jax.random.key(k)}) for k in (1, 1, 2)]
    assert_equal(ys[0], ys[1])
    assert (ys[0] != ys[2]).any()
    assert (ys[0] != still).any()


@dataclasses.dataclass(frozen=True)
class Counting(jrnn.Cell):
    """A cell of one's own, whose state is a count that starts at 3."""

    def init(self, key, features, units):
        return jax.random.normal(key, (features, units))

    def initial_state(self, params, z):
        return jnp.full(z.shape[:-1], 3)

    def project(self, params, xs):
        return xs @ params

    def step(self, params, state, z):
        return state + 1, z * state[..., None]


def test_a_cell_of_ones_own_starts_as_it_says():
    module = wrapped.RNN(wrapped.RNNCell(Counting(), U), return_carry=True)
    variables = module.init(KEY, inputs())
    params = variables["params"]["cell"]["cell"]
    assert_equal(module.apply(variables, inputs()), jrnn.rnn(Counting(), params, inputs()))
    start = module.cell.initialize_carry(KEY, (B, F))
    assert_equal(start, jnp.full(B, 3))
    again = module.apply(variables, inputs(), initial_carry=start)
    assert_equal(again, module.apply(variables, inputs()))


@pytest.mark.parametrize(
    ("cell", "function"),
    [(wrapped.SRUCell(U), jrnn.sru), (wrapped.ConvLSTMCell(U, (3,)), jrnn.conv_lstm)],
    ids=["sru", "conv_lstm"],
)
def test_cells_that_flax_has_not_or_otherwise(cell, function):
    x = inputs(shape=(B, T, F) if function is jrnn.sru else (B, T, 6, F))
    module = wrapped.RNN(cell)
    variables = randomized(module.init(KEY, x))
    kind = type(jax.eval_shape(lambda: cell.plain.init(KEY, F, U)))
    params = kind(**variables["params"]["cell"])
    assert_equal(module.apply(variables, x), function(params, x, cell=cell.plain)[1])


def test_dtypes_names_of_axes_and_first_carry():
    init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    cell = wrapped.LSTMCell(
        U, kernel_init=init, dtype=jnp.bfloat16, carry_init=nn.initializers.normal()
    )
    module = wrapped.RNN(cell)
    variables = module.init(KEY, inputs())
    kernel = variables["params"]["cell"]["kernel"]
    assert kernel.names == (None, "model")
    assert kernel.value.dtype == jnp.float32
    ys = module.apply(variables, inputs())
    assert ys.dtype == jnp.bfloat16
    other = module.apply(variables, inputs(), init_key=jax.random.key(5))
    assert (ys != other).any()


def test_gradient_vmap_and_table():
    module = wrapped.RNN(wrapped.GRUCell(U))
    variables = randomized(module.init(KEY, inputs()))
    params = jrnn.GRUParams(**variables["params"]["cell"])
    gradients = jax.grad(lambda v: (module.apply(v, inputs()) ** 2).sum())(variables)
    expected = jax.grad(lambda p: (jrnn.gru(p, inputs())[1] ** 2).sum())(params)
    assert_close(jrnn.GRUParams(**gradients["params"]["cell"]), expected, 1e-6)
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), variables)
    both = jax.vmap(module.apply, in_axes=(0, None))(stacked, inputs())
    assert_close(both[0], module.apply(variables, inputs()), 1e-6)
    table = module.tabulate(KEY, inputs(), console_kwargs={"width": 150, "force_terminal": False})
    assert "GRUCell (weights)" in table
    assert "recurrent_kernel: float32[4,12]" in table


@every_cell
def test_conversion_from_flax_and_back(name):
    (theirs, variables), (_, own) = pair(name, reverse=True)
    ours, params = wrapped.from_flax(theirs, variables["params"])
    assert_equal(params, own["params"])
    expected = theirs.apply(variables, inputs())
    assert_close(ours.apply({"params": params}, inputs()), expected, 1e-6)
    back, params_back = wrapped.to_flax(ours, params)
    assert_equal(params_back, variables["params"])
    assert_close(back.apply({"params": params_back}, inputs()), expected, 1e-6)


@every_cell
def test_axis_names_are_kept_in_conversion(name):
    def boxed(names):
        return nn.with_partitioning(nn.initializers.normal(), names)

    cell = getattr(nn, name)(
        U,
        kernel_init=boxed((None, "model")),
        recurrent_kernel_init=boxed(("data", "model")),
        bias_init=boxed(("model",)),
    )
    theirs = nn.RNN(cell)
    params = theirs.init(KEY, inputs())["params"]
    ours, own = wrapped.from_flax(theirs, params)
    bias = (None, "model") if name == "GRUCell" else ("model",)
    assert {field: box.names for field, box in own["cell"].items()} == {
        "kernel": (None, "model"),
        "recurrent_kernel": ("data", "model"),
        "bias": bias,
    }
    expected = theirs.apply({"params": params}, inputs())
    assert_close(ours.apply({"params": own}, inputs()), expected, 1e-6)
    back, again = wrapped.to_flax(ours, own)
    assert jax.tree.structure(again) == jax.tree.structure(dict(params))
    assert_equal(again, params)
    assert_close(back.apply({"params": again}, inputs()), expected, 1e-6)


def test_conversion_of_both_directions_and_recurrent_biases():
    module = wrapped.Bidirectional(
        wrapped.RNN(wrapped.GRUCell(U, gate_fn="hard_sigmoid")),
        wrapped.RNN(wrapped.LSTMCell(U, use_bias=False)),
        merge_fn=jnp.add,
        return_carry=True,
    )
    params = randomized(module.init(KEY, inputs()))["params"]
    theirs, own = wrapped.to_flax(module, params)
    expected = module.apply({"params": params}, inputs())
    assert_close(theirs.apply({"params": own}, inputs()), expected, 1e-6)
    again, back = wrapped.from_flax(theirs, own)
    assert_close(again.apply({"params": back}, inputs()), expected, 1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("window", "padding"),
    [((3,), "SAME"), ((2, 3), "same"), ((3, 3), 1), ((2, 3), [(0, 1), (1, 1)]), ((1, 1), "VALID")],
    ids=str,
)
def test_conversion_of_a_conv_lstm(window, padding, use_bias):
    films = inputs(shape=(B, T, 6, 5, F) if len(window) == 2 else (B, T, 6, F))
    cell = nn.ConvLSTMCell(U, window, padding=padding, use_bias=use_bias)
    theirs = nn.RNN(cell, return_carry=True, reverse=True)
    variables = jax.tree.map(lambda a: a / 2, randomized(theirs.init(KEY, films)))
    ours, params = wrapped.from_flax(theirs, variables["params"])
    start = randomized(cell.initialize_carry(KEY, (B, *films.shape[2:])), 3)
    expected = theirs.apply(variables, films, initial_carry=start)
    assert_close(ours.apply({"params": params}, films, initial_carry=start), expected, 1e-6)
    back, params_back = wrapped.to_flax(ours, params)
    assert_close(back.apply({"params": params_back}, films, initial_carry=start), expected, 1e-6)
    as_nnx = wrapped.to_nnx(ours, {"params": params})
    again, params_again = wrapped.to_flax(*wrapped.from_nnx(as_nnx)[:1], params)
    assert_equal(params_again, params_back)
    assert_close(again.apply({"params": params_again}, films, initial_carry=start), expected, 1e-6)


def test_a_conv_lstm_starts_as_flaxs():
    films = inputs(shape=(B, T, 6, 5, F))
    theirs, ours = nn.ConvLSTMCell(40, (3, 3)), wrapped.ConvLSTMCell(40, (3, 3))
    own = nn.RNN(theirs).init(KEY, films)["params"]["cell"]
    _, expected = wrapped.from_flax(theirs, own)
    params = wrapped.RNN(ours).init(KEY, films)["params"]["cell"]
    assert_equal(params["bias"], expected["bias"])
    for name in ("kernel", "recurrent_kernel"):
        np.testing.assert_allclose(params[name].std(), expected[name].std(), rtol=0.05)


@pytest.mark.parametrize(
    ("convert", "module", "says"),
    [
        (wrapped.from_flax, nn.SimpleCell(U, residual=True), "residual=True"),
        (wrapped.from_flax, nn.MGUCell(U), "got a MGUCell"),
        (wrapped.from_flax, nn.Dense(U), "got a Dense.*OptimizedLSTMCell"),
        (wrapped.from_flax, nn.GRUCell(U), "GRUCell lack 'hn'; give variables"),
        (wrapped.from_flax, nn.ConvLSTMCell(U, (3, 3), padding="VALID"), "padding='VALID'"),
        (wrapped.from_flax, nn.ConvLSTMCell(U, (3, 3), padding="CIRCULAR"), "padding='CIRCULAR'"),
        (wrapped.from_flax, nn.ConvLSTMCell(U, (3,), padding=[(2, 0)]), r"padding=\[\(2, 0\)\]"),
        (wrapped.from_flax, nn.ConvLSTMCell(U, (3, 3), strides=(2, 1)), r"strides=\(2, 1\)"),
        (wrapped.to_flax, wrapped.ConvLSTMCell(U, (3, 3), strides=2), "strides and dilation of 1"),
        (wrapped.to_flax, wrapped.ConvLSTMCell(U, (3, 3), padding="valid"), "padding='same'"),
        (wrapped.to_flax, wrapped.ConvLSTMCell(U, (3, 3), gate_fn="elu"), "has tanh, sigmoid"),
        (wrapped.to_flax, wrapped.LSTMCell(U, peephole=True), "no peepholes"),
        (wrapped.to_flax, wrapped.GRUCell(U, reset_after=False), "before it"),
        (wrapped.to_flax, wrapped.SRUCell(U), "got a SRUCell.*LSTMCell"),
    ],
)
def test_what_has_no_counterpart(convert, module, says):
    with pytest.raises(ValueError, match=says):
        convert(module, {})


@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM", "SRU"])
def test_layers_by_name(name):
    options = {"reverse": True, "keep_order": True, "activation_fn": "relu", "name": "own"}
    module = getattr(wrapped, name)(U, **options)
    assert (module.name, module.reverse, module.cell.plain.activation) == ("own", True, "relu")
    variables = randomized(module.init(KEY, inputs()))
    cell = module.cell.plain
    kind = type(jax.eval_shape(lambda: cell.init(KEY, F, U)))
    params = kind(**variables["params"]["cell"])
    assert_equal(
        module.apply(variables, inputs()), jrnn.rnn(cell, params, inputs(), reverse=True)[1]
    )


def test_conv_lstm_by_name():
    module = wrapped.ConvLSTM(U, (3, 2), return_carry=True)
    films = inputs(shape=(B, T, 6, 5, F))
    variables = randomized(module.init(KEY, films))
    params = jrnn.ConvLSTMParams(**variables["params"]["cell"])
    state, ys = jrnn.conv_lstm(params, films, cell=module.cell.plain)
    assert_equal(module.apply(variables, films), ((state.cell, state.hidden), ys))
