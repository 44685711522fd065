"""NNX's transforms over the modules, training, dropout and sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jrnn
from jrnn.flax_wrappers import nnx as wrapped
from tests.cases import assert_close, assert_equal
from tests.devices import run_on_devices

B, T, F, U = 3, 5, 2, 4


def inputs(seed=1, shape=(B, T, F)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def make(rngs):
    """Two layers, the upper one in both directions."""
    lower = wrapped.RNN(wrapped.LSTMCell(F, U, rngs=rngs))
    upper = [wrapped.RNN(wrapped.GRUCell(U, U, rngs=rngs)) for _ in range(2)]
    return wrapped.StackedRNN([lower, wrapped.Bidirectional(*upper)])


def by_hand(module, x):
    lower, upper = module.layers
    _, ys = jrnn.lstm(lower.cell.weights(), x)
    weights = [one.cell.weights() for one in (upper.forward_rnn, upper.backward_rnn)]
    return jrnn.bidirectional(jrnn.GRUCell(), jrnn.BidirectionalParams(*weights), ys)[1]


def test_layers_on_one_another():
    module = make(nnx.Rngs(0))
    assert_close(module(inputs()), by_hand(module, inputs()), 1e-6)
    assert_close(nnx.jit(lambda m, x: m(x))(module, inputs()), module(inputs()), 1e-6)
    with pytest.raises(ValueError, match="2 layers"):
        module(inputs(), initial_carry=[None])
    with pytest.raises(ValueError, match="at least one"):
        wrapped.StackedRNN([])


def test_carries_go_on():
    module = wrapped.StackedRNN(
        [wrapped.RNN(wrapped.LSTMCell(F, U, rngs=nnx.Rngs(0))) for _ in range(1)],
        return_carry=True,
    )
    carries, ys = module(inputs()[:, :2])
    carries, rest = module(inputs()[:, 2:], initial_carry=carries)
    whole_carries, whole = module(inputs())
    assert_close((carries, jnp.concatenate([ys, rest], 1)), (whole_carries, whole), 1e-6)


def test_gradient_is_that_of_the_function():
    module = make(nnx.Rngs(0))
    gradients = nnx.grad(lambda m, x: (m(x) ** 2).sum())(module, inputs())
    graphdef, params = nnx.split(module, nnx.Param)

    def loss(params):
        return (by_hand(nnx.merge(graphdef, params), inputs()) ** 2).sum()

    assert_close(jax.tree.leaves(gradients), jax.tree.leaves(jax.grad(loss)(params)), 1e-5)


def test_vmap_over_modules_and_scan_over_layers():
    @nnx.vmap(in_axes=0, out_axes=0)
    def several(key):
        return wrapped.RNN(wrapped.SimpleCell(U, U, rngs=nnx.Rngs(key)))

    modules = several(jax.random.split(jax.random.key(0), 3))
    x = inputs(shape=(B, T, U))
    ys = nnx.vmap(lambda m, x: m(x), in_axes=(0, None))(modules, x)
    graphdef, state = nnx.split(modules)
    alone = [nnx.merge(graphdef, jax.tree.map(lambda a: a[k], state)) for k in range(3)]  # noqa: B023
    assert_close(ys, jnp.stack([one(x) for one in alone]), 1e-6)

    last = nnx.scan(lambda x, m: m(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, modules)
    expected = x
    for one in alone:
        expected = one(expected)
    assert_close(last, expected, 1e-6)


def test_remat():
    module = wrapped.RNN(wrapped.LSTMCell(F, U, rngs=nnx.Rngs(0)))
    plain = nnx.grad(lambda m: (m(inputs()) ** 2).sum())(module)
    again = nnx.grad(lambda m: (nnx.remat(lambda m: m(inputs()))(m) ** 2).sum())(module)
    assert_close(jax.tree.leaves(again), jax.tree.leaves(plain), 1e-6)


def test_training_lowers_the_loss():
    module = make(nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.adam(0.05), wrt=nnx.Param)
    target = jnp.sin(jnp.cumsum(inputs(), 1)).sum(-1)

    @nnx.jit
    def step(module, optimizer):
        def loss(module):
            return ((module(inputs()).mean(-1) - target) ** 2).mean()

        value, gradients = nnx.value_and_grad(loss)(module)
        optimizer.update(module, gradients)
        return value

    losses = [float(step(module, optimizer)) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


def test_dropout_between_layers():
    def layers():
        return [wrapped.RNN(wrapped.SimpleCell(U, U, rngs=nnx.Rngs(k))) for k in range(2)]

    module = wrapped.StackedRNN(layers(), dropout=0.5, rngs=nnx.Rngs(7))
    x = inputs(shape=(B, T, U))
    one, other = module(x), module(x)
    assert (one != other).any()
    module.eval()
    assert_equal(module(x), wrapped.StackedRNN(layers())(x))
    module.train()
    lower, upper = layers()
    kept = nnx.Dropout(0.5, rngs=nnx.Rngs(7))(lower(x))
    assert_close(one, upper(kept), 1e-6)


def test_dropout_cell():
    cell = jrnn.DropoutCell(jrnn.LSTMCell(), dropout=0.4, recurrent_dropout=0.3)
    module = wrapped.RNN(wrapped.RNNCell(cell, F, U, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(3))
    key = nnx.Rngs(3).dropout.fork()()
    weights = module.cell.weights()
    assert_equal(module(inputs()), jrnn.rnn(cell, weights, inputs(), key=key)[1])
    assert (module(inputs()) != module(inputs())).any()
    assert_equal(module(inputs(), rngs=nnx.Rngs(3)), module(inputs(), rngs=nnx.Rngs(3)))
    module.eval()
    assert_equal(module(inputs()), jrnn.rnn(cell, weights, inputs())[1])
    without = wrapped.RNN(module.cell)
    with pytest.raises(ValueError, match=r"no rngs.*eval\(\)"):
        without(inputs())


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from jax.sharding import PartitionSpec as P
from jrnn.flax_wrappers import nnx as wrapped
mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
x = jax.random.normal(jax.random.key(1), (4, 5, 3))
names = {"kernel_metadata": {"out_sharding": (None, "model")},
         "recurrent_kernel_metadata": {"out_sharding": (None, "model")},
         "bias_metadata": {"out_sharding": ("model",)}}
with jax.set_mesh(mesh):
    module = nnx.jit(lambda: wrapped.RNN(wrapped.LSTMCell(3, 8, **names, rngs=nnx.Rngs(0))))()
    kernel = module.cell.params.kernel
    assert kernel.get_metadata()["out_sharding"] == (None, "model"), kernel.get_metadata()
    assert kernel[...].sharding.spec == P(None, "model"), kernel[...].sharding
    got = nnx.jit(lambda m, x: m(x))(module, jax.device_put(x, P("data")))
plain = wrapped.RNN(wrapped.LSTMCell(3, 8, rngs=nnx.Rngs(0)))
np.testing.assert_allclose(got, plain(x), rtol=1e-6, atol=1e-6)
print("done")
"""


def test_sharding_metadata():
    run_on_devices(8, SHARDED)


def test_metadata_for_what_is_not_there():
    with pytest.raises(ValueError, match=r"metadata is for.*nothing"):
        wrapped.RNNCell(jrnn.GRUCell(), F, U, metadata={"nothing": {"a": 1}}, rngs=nnx.Rngs(0))
