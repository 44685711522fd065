"""However a sequence is cut, a cell's stream answers as the whole does."""

import dataclasses
import functools
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jrnn
from jrnn import Stream, stream
from tests.devices import run_on_devices

STEPS, FEATURES, UNITS = 3, 3, 4
LSTM, GRU = jrnn.LSTMCell(), jrnn.GRUCell(reset_after=False)
DROPOUT = jrnn.DropoutCell(LSTM, dropout=0.4, recurrent_dropout=0.3, per_gate=True)
IMAGE = (5, 4)  # pixels
CELLS = {
    "simple_rnn": jrnn.SimpleRNNCell(),
    "lstm": jrnn.LSTMCell(peephole=True, projection=3),
    "gru": GRU,
    "sru": jrnn.SRUCell(),
    "stack": jrnn.StackedCell([LSTM, GRU, jrnn.SimpleRNNCell()]),
    "dropout": DROPOUT,
    "stack with dropout": jrnn.StackedCell(
        [jrnn.DropoutCell(jrnn.SimpleRNNCell(), 0.4, 0.3), jrnn.DropoutCell(GRU, dropout=0.5)]
    ),
    "conv_lstm": jrnn.ConvLSTMCell(rank=2, kernel_size=3, padding="same"),
    "conv_lstm dropout": jrnn.DropoutCell(
        jrnn.ConvLSTMCell(rank=2, kernel_size=3, padding="same"), recurrent_dropout=0.4
    ),
    "conv_gru": jrnn.ConvGRUCell(rank=1, kernel_size=3, padding="same"),
}


FEWER = {"stack with dropout", "conv_lstm dropout"}  # which hold most of the others
EACH = [name if name in FEWER else pytest.param(name, marks=pytest.mark.slow) for name in CELLS]


@pytest.fixture(scope="module", autouse=True)
def compile_quickly():
    """Leaves out XLA's optimizations, unlike the folder's other tests: a cut is a program."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@functools.cache
def drawn(name: str, batch: tuple[int, ...] = (2,)):
    """Parameters without a zero in them, and a sequence."""
    cell = CELLS[name]
    pixels = IMAGE[: getattr(cell, "feature_ndim", 1) - 1]
    params = cell.init(jax.random.key(0), FEATURES, UNITS)
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(1)
    filled = [jnp.asarray(0.5 * rng.standard_normal(one.shape), jnp.float32) for one in leaves]
    xs = rng.standard_normal((*batch, STEPS, *pixels, FEATURES)).astype(np.float32)
    return jax.tree.unflatten(structure, filled), xs


def same(ours, wanted):
    """Equal but for the order in which XLA adds: a chunk's product has another shape."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), ours, wanted)


def cut(name: str, xs, cuts, mask, params):
    """The answers to pieces between the cuts, and the last state."""
    one, state = stream(CELLS[name]), None
    answers = []
    edges = [0, *sorted(cuts), STEPS]
    for start, end in itertools.pairwise(edges):
        state, ys = one.chunk(params, state, xs[:, start:end], mask=mask[..., start:end])
        answers.append(ys)
    return state, np.concatenate(answers, 1)


@pytest.mark.parametrize("name", EACH)
@given(
    cuts=st.lists(st.integers(0, STEPS), max_size=2),
    mask=st.lists(st.booleans(), min_size=2 * STEPS, max_size=2 * STEPS),
    seed=st.integers(0, 2),
)
def test_chunks_are_the_whole(name, cuts, mask, seed):
    """With any mask, and for one draw of dropout."""
    params, xs = drawn(name)
    mask = np.reshape(mask, (2, STEPS))
    one, key = stream(CELLS[name]), jax.random.key(seed)
    own = one.draw(key, params, xs[:, 0]) if "dropout" in name else params
    whole = jrnn.rnn(CELLS[name], params, xs, mask=mask, key=key if "dropout" in name else None)
    same(cut(name, xs, cuts, mask, own), whole)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_steps_are_the_whole(name, batch):
    params, xs = drawn(name, batch)
    one, axis = stream(CELLS[name]), len(batch)
    final, whole = jrnn.rnn(CELLS[name], params, xs)
    whole = np.asarray(whole)
    state = one.initial_state(params, jax.ShapeDtypeStruct(xs.take(0, axis).shape, jnp.float32))
    for t in range(STEPS):
        state, y = one.step(params, state, xs.take(t, axis))
        same(y, whole.take(t, axis))
    same(state, final)


@pytest.mark.parametrize("name", ["dropout"])
def test_steps_are_calls_of_the_cell_in_float64(name):
    with jax.enable_x64(True):
        cell = CELLS[name]
        params, xs = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), drawn(name))
        one, key = stream(cell), jax.random.key(3)
        own = one.draw(key, params, xs[:, 0]) if name == "dropout" else params
        state = wanted_state = one.initial_state(own, xs[:, 0])
        for t in range(STEPS):
            state, y = one.step(own, state, xs[:, t])
            wanted_state, wanted = jax.jit(cell)(own, wanted_state, xs[:, t])
            np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)


def test_a_masked_sample_changes_nothing():
    params, xs = drawn("lstm")
    one = stream(CELLS["lstm"])
    before, _ = one.chunk(params, None, xs)
    after, y = one.step(params, before, xs[:, 0] * np.nan, mask=np.array([False, False]))
    jax.tree.map(np.testing.assert_array_equal, after, before)
    np.testing.assert_array_equal(y, np.zeros_like(y))


def test_lengths_of_a_chunk_are_a_mask():
    params, xs = drawn("lstm")
    one, lengths = stream(CELLS["lstm"]), np.array([2, 3])
    mask = np.array([[1, 0, 1], [0, 1, 1]], bool)
    both = mask & (np.arange(STEPS) < lengths[:, None])
    same(
        one.chunk(params, None, xs, mask=mask, lengths=lengths),
        jrnn.rnn(CELLS["lstm"], params, xs, mask=both),
    )
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), but xs needs \(2, 3\)"):
        one.chunk(params, None, xs, mask=mask[0], lengths=lengths)
    with pytest.raises(ValueError, match="lengths range from 2 to 4"):
        one.chunk(params, None, xs, lengths=np.array([2, 4]))


def test_no_step_at_all():
    params, xs = drawn("lstm")
    one = stream(CELLS["lstm"])
    before, _ = one.chunk(params, None, xs)
    after, ys = one.chunk(params, before, xs[:, :0])
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert ys.shape == (2, 0, 3)


def test_in_a_scan_under_vmap_with_a_donated_state():
    params, xs = drawn("lstm")
    cell = CELLS["lstm"]
    one, wanted = stream(cell), jrnn.rnn(cell, params, xs)[1]
    state = one.initial_state(params, xs[:, 0])
    _, ys = jax.lax.scan(functools.partial(one.step, params), state, jnp.moveaxis(xs, 1, 0))
    same(jnp.moveaxis(ys, 0, 1), wanted)

    rows = jax.vmap(lambda x: one.chunk(params, None, x)[1])(xs)
    same(rows, wanted)

    step = jax.jit(one.step, donate_argnums=1).lower(params, state, xs[:, 0]).compile()
    for t in range(STEPS):
        state, y = step(params, state, xs[:, t])
        same(y, wanted[:, t])


def test_compiles_once_for_a_shape():
    traces = []

    @dataclasses.dataclass(frozen=True)
    class Counting(jrnn.SimpleRNNCell):
        def step(self, params, state, z, *, dropout=()):
            traces.append(z.shape)
            return super().step(params, state, z, dropout=dropout)

    params, xs = drawn("simple_rnn")
    state = stream(Counting()).initial_state(params, xs[:, 0])
    state, _ = stream(Counting()).step(params, state, xs[:, 0])
    first = len(traces)
    for t in range(STEPS):
        state, _ = stream(Counting()).step(params, state, xs[:, t])
    assert len(traces) == first > 0
    assert stream(LSTM) == stream(jrnn.LSTMCell())
    assert hash(stream(LSTM)) == hash(stream(jrnn.LSTMCell()))
    assert isinstance(stream(LSTM), Stream)


def test_a_pickle_has_no_hash_of_another_process():
    one = stream(LSTM)
    vars(one)["_hash"] = hash(one) + 1
    read = pickle.loads(pickle.dumps(one))
    assert read == stream(LSTM)
    assert hash(read) == hash(stream(LSTM))


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, jrnn
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
cell = jrnn.LSTMCell()
params = cell.init(jax.random.key(0), 3, 6)
xs = jax.random.normal(jax.random.key(1), (8, 5, 3))
wanted, one = jrnn.rnn(cell, params, xs)[1], jrnn.stream(cell)

def chunks(params, xs):
    state = one.initial_state(params, xs[:, 0])
    state, ys = jax.lax.scan(lambda s, x: one.step(params, s, x), state, jnp.moveaxis(xs, 1, 0))
    return jnp.moveaxis(ys, 0, 1)

mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
mapped = jax.jit(jax.shard_map(chunks, mesh=mesh, in_specs=(P(), P("d")), out_specs=P("d")))
np.testing.assert_allclose(mapped(params, xs), wanted, rtol=1e-6, atol=1e-6)
mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Explicit,))
with jax.set_mesh(mesh):
    got = jax.jit(chunks)(params, jax.device_put(xs, NamedSharding(mesh, P("d"))))
assert got.sharding.spec[0] == "d", got.sharding
np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
print("done")
"""


def test_on_several_devices():
    run_on_devices(4, SHARDED)


def test_refuses_what_is_bidirectional_by_type():
    params = jrnn.BidirectionalParams(*(LSTM.init(jax.random.key(k), 3, 4) for k in (0, 1)))
    partly = functools.partial(jrnn.bidirectional, LSTM)
    for given_ in (jrnn.bidirectional, partly, params):
        with pytest.raises(ValueError, match="bidirectional layer has no answer before the last"):
            stream(given_)  # pyright: ignore[reportArgumentType]


def test_refuses_what_is_no_cell():
    for given_ in (jrnn.lstm, jrnn.LSTMCell, None):
        with pytest.raises(ValueError, match=r"object with the methods of jrnn\.Cell is needed"):
            stream(given_)  # pyright: ignore[reportArgumentType]


def test_says_what_does_not_fit():
    params, xs = drawn("lstm")
    one = stream(CELLS["lstm"])
    with pytest.raises(ValueError, match="step takes one sample, chunk several"):
        one.chunk(params, None, xs[0, 0])
    with pytest.raises(ValueError, match="x is a list, but one array is needed"):
        one.step(params, None, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"mask has shape \(3,\), but xs needs \(2,\)"):
        one.step(params, None, xs[:, 0], mask=np.ones(3, bool))
    with pytest.raises(ValueError, match="draws nothing"):
        one.draw(jax.random.key(0), params, xs[:, 0])
    with pytest.raises(ValueError, match="mask has shape"):
        one.chunk(params, None, xs, mask=np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="the cell needs"):
        one.step(params, xs[:, 0], xs[:, 0])
