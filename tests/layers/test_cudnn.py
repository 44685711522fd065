"""``lstm(implementation="cudnn")``: what it refuses; its numbers, by a reference in its place."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental import rnn as jax_rnn

import jrnn
from jrnn import GRUCell, LSTMCell, LSTMParams, LSTMState, SimpleRNNCell
from jrnn.layers import cudnn
from tests.cases import B, F, T, U, assert_close, random_problem
from tests.layers.test_recurrent import fails

LENGTHS = [3, 0, T]
LAYOUTS = [
    {},
    {"reverse": True},
    {"lengths": LENGTHS},
    {"lengths": LENGTHS, "reverse": True},
    {"time_major": True, "lengths": LENGTHS, "reverse": True},
    {"return_sequences": False},
    {"return_sequences": False, "lengths": LENGTHS, "reverse": True, "time_major": True},
]


def problem(seed=70, cell=LSTMCell()):
    """Random float32 parameters, input and state; the biases are not zero."""
    return jax.tree.map(
        functools.partial(jnp.asarray, dtype=jnp.float32), random_problem(seed, cell)
    )


def reference(x, h_0, c_0, weights, seq_lengths, **sizes):
    """`jax.experimental.rnn.lstm` in JAX alone, of the same packed weights."""
    names = ("input_size", "hidden_size", "num_layers", "bidirectional")
    unpacked = jax_rnn.unpack_lstm_weights(weights, *(sizes[name] for name in names))
    order = ("input_size", "hidden_size", "num_layers", "dropout", "bidirectional")
    given = (sizes[name] for name in order)
    return jax_rnn.lstm_ref(x, h_0, c_0, *unpacked, seq_lengths, *given)


@pytest.fixture
def device(monkeypatch):
    """As on a machine with an NVIDIA GPU."""
    monkeypatch.setattr(cudnn, "_finds_cuda", lambda: True)


@pytest.fixture
def calls(monkeypatch, device):
    """The reference stands in for cuDNN; the precisions that it was called with."""
    seen = []

    def lstm(*args, precision, **sizes):
        seen.append(precision)
        assert args[4].dtype == jnp.int32
        return reference(*args, **sizes)

    monkeypatch.setattr(jax_rnn, "lstm", lstm)
    cudnn._lstm.clear_cache()  # what was traced with the one must not pass for the other
    with jax.default_matmul_precision("highest"):
        yield seen
    cudnn._lstm.clear_cache()


def agree(cell, given, options, tolerance):
    """Values, and gradients to params, xs and initial state, are those of the scan."""
    if options.get("time_major"):
        given = (given[0], jnp.swapaxes(given[1], 0, 1), given[2])

    def run(implementation, params, xs, state):
        return jrnn.lstm(
            params, xs, cell=cell, initial_state=state, implementation=implementation, **options
        )

    def loss(given, implementation):
        result = run(implementation, *given)
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(result)), result

    both = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    assert_close(both(given, "cudnn"), both(given, "auto"), tolerance)


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_is_the_scan(calls, options):
    agree(LSTMCell(), problem(), options, 2e-5)
    assert len(calls) == 1


def test_without_a_bias_and_with_functions_for_names(calls):
    cell = LSTMCell(jnp.tanh, jax.nn.sigmoid, use_bias=False)
    agree(cell, problem(cell=cell), {"lengths": LENGTHS}, 2e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_without_a_state_under_jit_with_traced_lengths(calls, reverse):
    params, xs, _ = problem()

    def run(implementation, lengths):
        options = {"lengths": lengths, "reverse": reverse, "implementation": implementation}
        return jrnn.lstm(params, xs, **options)

    lengths = np.array([200, 0, 3], np.uint8)  # those beyond T are clipped where they are traced
    got = jax.jit(functools.partial(run, "cudnn"))(lengths)
    assert_close(got, run("auto", [T, 0, 3]), 2e-5)


def test_a_state_broadcasts_and_is_cast(calls):
    params, xs, _ = problem()
    for state in (LSTMState(1, 2), LSTMState(np.arange(U), np.ones((1, U), np.float16))):
        got = jrnn.lstm(params, xs, initial_state=state, implementation="cudnn")
        assert_close(got, jrnn.lstm(params, xs, initial_state=state), 2e-5)


def test_what_padding_holds_reaches_nothing(calls):
    params, xs, state = problem()
    dirty = jnp.where(jnp.arange(T)[:, None] < jnp.array(LENGTHS)[:, None, None], xs, jnp.nan)
    agree(LSTMCell(), (params, dirty, state), {"lengths": LENGTHS, "reverse": True}, 2e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [(None, "HIGH"), ("default", "HIGH"), ("highest", "HIGHEST")]
)
def test_precision_is_that_of_matmuls(calls, name, expected):
    params, xs, _ = problem()
    with jax.default_matmul_precision(name):
        jrnn.lstm(params, xs, implementation="cudnn")
    assert calls == [jax.lax.Precision[expected]]


@pytest.mark.parametrize("name", ["bfloat16", "F32_F32_F32"])
def test_precision_that_cudnn_has_not(device, name):
    params, xs, _ = problem()
    with jax.default_matmul_precision(name), fails("jrnn.lstm", repr(name), "'highest'", "'auto'"):
        jrnn.lstm(params, xs, implementation="cudnn")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": np.ones((B, T))}, ["mask is given", "mask=None", "lengths"]),
        ({"resets": np.zeros((B, T))}, ["resets is given", "resets=None"]),
        ({"initial_output": 0.0}, ["initial_output is given", "initial_output=None"]),
        ({"return_all_states": True}, ["return_all_states", "return_all_states=False"]),
        ({"unroll": 2}, ["unroll is 2", "unroll=1"]),
        ({"masked_output": "repeat"}, ["masked_output is 'repeat'", "'zero'"]),
    ],
    ids=str,
)
def test_options_that_cudnn_has_not(device, options, said):
    params, xs, _ = problem()
    with fails("jrnn.lstm", *said, "implementation='auto'"):
        jrnn.lstm(params, xs, implementation="cudnn", **options)


@dataclasses.dataclass(frozen=True)
class OtherCell(LSTMCell):
    pass


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (OtherCell(), ["OtherCell", "jrnn.LSTMCell itself"]),
        (LSTMCell("relu"), ["activation is 'relu'", "'tanh'"]),
        (LSTMCell("tanh", "hard_sigmoid"), ["activation is 'hard_sigmoid'", "'sigmoid'"]),
        (LSTMCell(peephole=True), ["peephole is True", "peephole=False"]),
        (LSTMCell(projection=3), ["projection is 3", "projection=None"]),
        (LSTMCell(cell_clip=1.5), ["cell_clip is 1.5", "cell_clip=None"]),
        (LSTMCell(output_activation="relu"), ["output_activation is relu", "activation=None"]),
    ],
    ids=str,
)
def test_cells_that_cudnn_has_not(device, cell, said):
    params, xs, _ = problem(cell=cell)
    with fails("jrnn.lstm", *said, "implementation='auto'"):
        jrnn.lstm(params, xs, cell=cell, implementation="cudnn")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32"])
def test_dtypes_that_cudnn_has_not(device, dtype):
    params, xs, _ = problem()
    with fails("jrnn.lstm", f"xs is {dtype}", "float32", "convert it", "'auto'"):
        jrnn.lstm(params, xs.astype(dtype), implementation="cudnn")
    mixed = params._replace(bias=params.bias.astype(dtype))
    with fails("jrnn.lstm", f"bias is {dtype}", "float32", "convert it", "'auto'"):
        jrnn.lstm(mixed, xs, implementation="cudnn")


def test_float64(device):
    with jax.enable_x64(True), fails("jrnn.lstm", "xs is float64", "float32"):
        jrnn.lstm(*random_problem(71, LSTMCell())[:2], implementation="cudnn")


@pytest.mark.parametrize("shape", [(T, F), (2, B, T, F)], ids=str)
def test_batch_axes_that_cudnn_has_not(device, shape):
    params, _, _ = problem()
    batch = str(shape[:-2]).replace("(", r"\(").replace(")", r"\)")
    with fails("jrnn.lstm", f"xs has batch axes {batch}", r"\[B, T, F\]", "reshape", "'auto'"):
        jrnn.lstm(params, jnp.ones(shape), implementation="cudnn")
    first = jnp.ones((T, *shape[:-2], F))
    with fails("jrnn.lstm", f"xs has batch axes {batch}", r"\[T, B, F\]"):
        jrnn.lstm(params, first, time_major=True, implementation="cudnn")


@pytest.mark.parametrize("axis", range(4), ids="BTFU")
def test_sizes_of_zero(device, axis):
    b, t, f, u = (0 if at == axis else size for at, size in enumerate((B, T, F, U)))
    params = LSTMParams(jnp.ones((f, 4 * u)), jnp.ones((u, 4 * u)), jnp.ones(4 * u))
    with fails("jrnn.lstm", f"xs has shape .{b}, {t}, {f}. and U is {u}", "above 0", "'auto'"):
        jrnn.lstm(params, jnp.ones((b, t, f)), implementation="cudnn")


def test_symbolic_sizes(device):
    params, _, _ = problem()
    xs = jax.ShapeDtypeStruct((*export.symbolic_shape("b, t"), F), jnp.float32)
    with fails("jrnn.lstm", r"xs has shape \(b, t, 2\)", "known sizes"):
        jax.eval_shape(lambda xs: jrnn.lstm(params, xs, implementation="cudnn"), xs)


def test_shapes_are_checked_as_for_the_scan(device):
    params, xs, state = problem()
    run = functools.partial(jrnn.lstm, implementation="cudnn")
    with fails("jrnn.rnn", "lengths range from 1 to 9", "5 steps"):
        run(params, xs, lengths=[1, 9, 2])
    with fails("LSTMCell", r"x has shape \(3, 2\)", r"kernel \(3, 16\)"):
        run(params._replace(kernel=jnp.ones((3, 4 * U))), xs)
    with fails("LSTMCell", "bias is None"):
        run(params._replace(bias=None), xs)
    with fails("initial_state has shape", r"\(3, 4\)"):
        run(params, xs, initial_state=state._replace(cell=jnp.ones((B, U + 1))))
    with fails("params is a dict", "LSTMParams"):
        run(params._asdict(), xs)
    with fails("LSTMCell", "x is a list"):
        run(params, [xs, xs])
    with fails("jrnn.rnn", "unroll is 0"):
        run(params, xs, unroll=0)


@pytest.mark.parametrize("cell", [SimpleRNNCell(), GRUCell(), LSTMCell()], ids=str)
def test_only_lstm_has_it(device, cell):
    params, xs, _ = problem(cell=cell)
    with fails("jrnn.rnn", "'cudnn'", "only jrnn.lstm", "'auto'"):
        jrnn.rnn(cell, params, xs, implementation="cudnn")


@pytest.mark.parametrize("backend", ["cpu", "tpu", "gpu"])  # AMD's is named gpu too
def test_without_an_nvidia_gpu(monkeypatch, backend):
    if cudnn._finds_cuda():
        pytest.skip("there is one here")
    params, xs, _ = problem()
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with fails("jrnn.lstm", f"backend is '{backend}'", "an NVIDIA GPU", "implementation='auto'"):
        jrnn.lstm(params, xs, implementation="cudnn")


@pytest.mark.skipif(not cudnn._finds_cuda(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("options", LAYOUTS, ids=str)
def test_cudnn_itself_is_the_scan(options):
    with jax.default_matmul_precision("highest"):
        agree(LSTMCell(), problem(), options, 1e-4)
