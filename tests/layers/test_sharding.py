"""The zero state follows the data's sharding; symbolic sizes export."""

import jax
import jax.numpy as jnp
from jax import export

import jrnn
from tests.devices import run_on_devices

EXPLICIT = """
import jax, jax.numpy as jnp, numpy as np, jrnn
from jax.sharding import AxisType, NamedSharding, PartitionSpec
mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))
x = jax.random.normal(jax.random.key(1), (8, 5, 3))
for cell in (jrnn.LSTMCell(projection=40), jrnn.GRUCell(), jrnn.SimpleRNNCell(), jrnn.SRUCell()):
    params = cell.init(jax.random.key(0), 3, 6)
    wanted = jrnn.rnn(cell, params, x)[1]
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("d")))
        got = jrnn.rnn(cell, params, sharded)[1]
    assert got.sharding.spec[0] == "d", got.sharding
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
print("done")
"""


def test_explicit_sharding():
    run_on_devices(4, EXPLICIT)


def test_symbolic_batch_and_time_export():
    batch, steps = export.symbolic_shape("b, t")
    params = jrnn.LSTMCell().init(jax.random.key(0), 3, 8)
    exported = export.export(jax.jit(lambda p, x: jrnn.lstm(p, x)[1]))(
        params, jax.ShapeDtypeStruct((batch, steps, 3), jnp.float32)
    )
    x = jax.random.normal(jax.random.key(1), (2, 7, 3))
    assert jnp.allclose(exported.call(params, x), jrnn.lstm(params, x)[1], atol=1e-6)
