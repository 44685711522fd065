"""NNX and Linen modules as one another: the same arrays, the same numbers to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jrnn
from jrnn.flax_wrappers import linen as wrapped
from jrnn.flax_wrappers import nnx as jnn
from tests.cases import assert_close, assert_equal
from tests.flax_wrappers.drawn import randomized

B, T, F, U = 3, 5, 2, 4
LENGTHS = np.array([5, 2, 4])
KEY = jax.random.key(0)
LOOP = {"reverse": True, "keep_order": True, "return_carry": True, "unroll": 2}


def inputs(shape=(B, T, F)):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


def any_cell(cell, units=U):
    return jnn.RNN(jnn.RNNCell(cell, F, units, rngs=nnx.Rngs(0)), **LOOP)


def both_ways(rngs):
    forward, backward = jnn.GRU(F, U, rngs=rngs, return_carry=True), jnn.LSTM(F, 3, rngs=rngs)
    return jnn.Bidirectional(forward, backward, return_carry=True)


def stacked(rngs):
    layers = [both_ways(rngs), jnn.LSTM(U + 3, U, rngs=rngs), jnn.SRU(U, U, rngs=rngs)]
    return jnn.StackedRNN(layers, dropout=0.3, rngs=rngs, return_carry=True)


MODELS = {
    "SimpleRNN": lambda rngs: jnn.SimpleRNN(F, U, rngs=rngs, **LOOP),
    "GRU": lambda rngs: jnn.GRU(F, U, rngs=rngs, use_bias=False, **LOOP),
    "LSTM": lambda rngs: jnn.LSTM(F, U, rngs=rngs, peephole=True, projection=3, **LOOP),
    "SRU": lambda rngs: jnn.SRU(F, U, rngs=rngs, activation_fn=nnx.relu, **LOOP),
    "half": lambda rngs: jnn.LSTM(
        F, U, rngs=rngs, dtype=jnp.bfloat16, param_dtype=jnp.float16, **LOOP
    ),
    "ConvLSTM": lambda rngs: jnn.ConvLSTM(F, U, (3, 2), rngs=rngs, return_carry=True),
    "ConvGRU": lambda rngs: any_cell(jrnn.ConvGRUCell(padding="same")),
    "StackedCell": lambda rngs: any_cell(
        jrnn.StackedCell([jrnn.SRUCell(), jrnn.DropoutCell(jrnn.LSTMCell(projection=3), 0.2)]),
        (4, 6),
    ),
    "Bidirectional": both_ways,
    "StackedRNN": stacked,
}
every_model = pytest.mark.parametrize("name", MODELS)


def made(name):
    model = randomized(MODELS[name](nnx.Rngs(0)))
    model.eval()
    return model, inputs((B, T, 6, 5, F) if "Conv" in name else (B, T, F))


@every_model
def test_nnx_to_linen_and_back(name):
    model, x = made(name)
    module, variables = wrapped.from_nnx(model)
    expected = model(x, seq_lengths=LENGTHS)
    assert_equal(module.apply(variables, x, seq_lengths=LENGTHS), expected)
    fresh = jax.tree.map(jnp.shape, module.init(KEY, x))
    assert fresh == jax.tree.map(jnp.shape, variables)
    again = wrapped.to_nnx(module, variables, rngs=nnx.Rngs(0))
    again.eval()
    assert_equal(again(x, seq_lengths=LENGTHS), expected)
    assert_equal(nnx.state(again, nnx.Param), nnx.state(model, nnx.Param))
    assert_equal(wrapped.from_nnx(again)[1], variables)


@pytest.mark.parametrize(
    "module",
    [
        wrapped.GRU(U, reset_after=False, time_major=True),
        wrapped.StackedRNN([wrapped.SimpleRNN(U), wrapped.SRU(3)], dropout=0.5),
        wrapped.RNN(wrapped.OptimizedLSTMCell(U, carry_init=None, dtype=jnp.bfloat16)),
    ],
)
def test_linen_to_nnx(module):
    variables = module.init(KEY, inputs())
    model = wrapped.to_nnx(module, variables, rngs=nnx.Rngs(0))
    model.eval()
    options = {"deterministic": True}
    assert_equal(model(inputs()), module.apply(variables, inputs(), **options))


def test_one_step_and_sizes():
    cell = randomized(jnn.GRUCell(F, U, rngs=nnx.Rngs(0)))
    module, variables = wrapped.from_nnx(cell)
    carry = jnp.ones((B, U))
    assert_equal(module.apply(variables, carry, inputs()[:, 0]), cell(carry, inputs()[:, 0]))
    again = wrapped.to_nnx(module, variables)
    assert (again.in_features, again.hidden_features) == (F, U)


def test_first_carries():
    ones = nnx.initializers.ones_init()
    model = randomized(jnn.LSTM(F, U, rngs=nnx.Rngs(0), carry_init=ones))
    module, variables = wrapped.from_nnx(model)
    assert_equal(module.apply(variables, inputs()), model(inputs()))
    again = wrapped.to_nnx(module, variables)
    assert_equal(again(inputs()), model(inputs()))
    start = (jnp.ones((B, U)), jnp.ones((B, U)))
    assert_equal(again(inputs()), again(inputs(), initial_carry=start))


def test_dropout_draws_after_conversion():
    model = MODELS["StackedRNN"](nnx.Rngs(0))
    module, variables = wrapped.from_nnx(model)
    assert module.dropout == 0.3
    draws = [module.apply(variables, inputs(), rngs={"dropout": jax.random.key(k)}) for k in (1, 2)]
    assert (draws[0][1] != draws[1][1]).any()
    again = wrapped.to_nnx(module, variables, rngs=nnx.Rngs(1))
    assert (again(inputs())[1] != again(inputs())[1]).any()


def test_what_is_shared_stays_shared():
    run = jnn.GRU(F, U, rngs=nnx.Rngs(0))
    model = randomized(jnn.Bidirectional(run, run))
    module, variables = wrapped.from_nnx(model)
    assert set(variables["params"]) == {"forward_rnn"}
    assert_equal(module.apply(variables, inputs()), model(inputs()))
    again = wrapped.to_nnx(module, variables)
    assert again.forward_rnn is again.backward_rnn
    assert_equal(again(inputs()), model(inputs()))


def test_a_cell_shared_by_two_layers():
    cell = jnn.LSTMCell(F, U, rngs=nnx.Rngs(0))
    model = randomized(jnn.Bidirectional(jnn.RNN(cell), jnn.RNN(cell)))
    module, variables = wrapped.from_nnx(model)
    assert jax.tree.map(jnp.shape, module.init(KEY, inputs())) == jax.tree.map(jnp.shape, variables)
    assert_equal(module.apply(variables, inputs()), model(inputs()))
    again = wrapped.to_nnx(module, variables)
    assert again.forward_rnn.cell is again.backward_rnn.cell
    flax_module, params = wrapped.to_flax(
        wrapped.Bidirectional(*[wrapped.RNN(shared) for shared in [wrapped.LSTMCell(U)] * 2]),
        variables["params"],
    )
    assert_close(flax_module.apply({"params": params}, inputs()), model(inputs()), 1e-6)
    back, own = wrapped.from_flax(flax_module, params)
    assert_equal(own, variables["params"])
    assert_equal(back.apply({"params": own}, inputs()), model(inputs()))
    theirs = jnn.to_flax(model)
    assert theirs.forward_rnn.cell is theirs.backward_rnn.cell
    ours = jnn.from_flax(theirs)
    assert ours.forward_rnn.cell is ours.backward_rnn.cell
    assert_equal(ours(inputs()), model(inputs()))


def test_names_of_axes():
    init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
    module = wrapped.RNN(wrapped.LSTMCell(U, kernel_init=init))
    variables = module.init(KEY, inputs())
    with nnx.use_eager_sharding(False):
        model = wrapped.to_nnx(module, variables)
    assert model.cell.params.kernel.get_metadata()["out_sharding"] == (None, "model")
    assert "out_sharding" not in model.cell.params.bias.get_metadata()
    again, boxed = wrapped.from_nnx(model)
    assert boxed["params"]["cell"]["kernel"].names == (None, "model")
    assert_equal(boxed, variables)
    assert_equal(again.apply(boxed, inputs()), model(inputs()))


def test_keras_models(path):
    x = inputs((6, 5, 3))
    model = jnn.from_keras(path)
    module, variables = wrapped.from_nnx(model)
    theirs, expected = wrapped.from_keras(path)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    assert_equal(variables, expected)
    assert_equal(module.apply(variables, x), model(x))
    again = wrapped.to_nnx(theirs, expected, rngs=nnx.Rngs(3))
    assert_equal(nnx.state(again, nnx.Param), nnx.state(model, nnx.Param))
    assert_equal(again(x), model(x))
    again.train()
    same = jnn.from_keras(path, rngs=nnx.Rngs(3))
    same.train()
    assert_equal(again(x), same(x))


@pytest.mark.parametrize(
    ("convert", "says"),
    [
        (lambda: wrapped.from_nnx(nnx.Linear(F, U, rngs=nnx.Rngs(0))), "got a Linear.*nnx.bridge"),
        (lambda: wrapped.to_nnx(nn.Dense(U), {"params": {}}), "got a Dense.*nnx.bridge"),
        (lambda: wrapped.to_nnx(wrapped.GRU(U), {}), "there is no 'params'"),
        (lambda: wrapped.to_nnx(wrapped.GRU(U), {"params": {"x": 1}}), r"GRUCell are \[\], but"),
        (
            lambda: wrapped.from_nnx(jnn.RNNCell(jrnn.GRUCell(), params=jrnn.GRUParams(1.0, 2.0))),
            "hidden_features, too",
        ),
    ],
)
def test_what_cannot_be_converted(convert, says):
    with pytest.raises(ValueError, match=says):
        convert()
