"""Layer norm inside cells and around them: loops, Keras's norms, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import (
    ConvLSTMCell,
    DropoutCell,
    GRUCell,
    LayerNormCell,
    LSTMCell,
    NormCell,
    NormParams,
    SimpleRNNCell,
    SRUCell,
    rnn,
)
from jrnn.cells.norm import Norm
from tests import regularised_oracle as oracle
from tests.cases import assert_close, random_params
from tests.oracle import np_sigmoid

pytestmark = pytest.mark.usefixtures("x64")

B, T, F, U = 2, 3, 5, 4
KEY = jax.random.key(3)


def problem(cell, seed=0):
    rng = np.random.default_rng(seed)
    return random_params(rng, cell, F, U), rng.normal(size=(B, T, F))


@pytest.mark.parametrize(
    "variant", ["paper", pytest.param("addons", marks=pytest.mark.slow), "contrib"]
)
@pytest.mark.parametrize(
    "cell",
    [SimpleRNNCell("relu"), GRUCell(), GRUCell(reset_after=False, use_bias=False), LSTMCell()],
    ids=["simple_rnn", "gru", "gru-before", "lstm"],
)
def test_variants(cell, variant):
    """NumPy's loop; "addons" with the other norm."""
    cell = LayerNormCell(cell, variant, 1e-2, rms=variant == "addons")
    params, xs = problem(cell)
    states, ys = rnn(cell, params, xs, return_all_states=True)
    for b, (known, outputs) in enumerate(oracle.run(cell, params, xs)):
        np.testing.assert_allclose(ys[b], np.stack(outputs), 1e-11, 1e-11)
        last = [leaf[b, -1] for leaf in states]
        assert_close(last, list(known[-1]), 1e-11)


def keras_norm(norm, rms=False, some=slice(None)):
    """A norm of Keras's with the same parameters, or a part of them."""
    keras = pytest.importorskip("keras")
    if rms:
        layer = keras.layers.RMSNormalization(epsilon=1e-3, dtype="float64")
    else:
        offset = norm.offset is not None
        layer = keras.layers.LayerNormalization(epsilon=1e-3, center=offset, dtype="float64")
    weights = [array[some] for array in norm if array is not None]
    layer.build((None, weights[0].size))
    layer.set_weights(weights)
    return lambda x: np.asarray(layer(np.asarray(x)))


@pytest.mark.parametrize("variant", ["paper", "addons", "contrib"])
def test_lstm_with_norms_of_keras(variant):
    """An LSTM from the sources' equations, all rows at once."""
    cell = LayerNormCell(LSTMCell(), variant)
    params, xs = problem(cell, 1)
    own = params.params
    if variant == "contrib":
        of_gates = [keras_norm(params.gates, some=slice(k * U, k * U + U)) for k in range(4)]
    else:
        of_input, of_hidden = keras_norm(params.input), keras_norm(params.recurrent)
    of_cell = keras_norm(params.cell)
    h, c = np.zeros((B, U)), np.zeros((B, U))
    for x in np.swapaxes(xs, 0, 1):
        by_x, by_h = x @ own.kernel, h @ own.recurrent_kernel
        if variant == "contrib":
            gates = np.split(by_x + by_h + own.bias, 4, -1)
            gates = [norm(gate) for norm, gate in zip(of_gates, gates, strict=True)]
        else:
            gates = np.split(of_input(by_x) + of_hidden(by_h) + own.bias, 4, -1)
        i, f, g, o = gates
        c = np_sigmoid(f) * c + np_sigmoid(i) * np.tanh(g)
        shown = of_cell(c)
        h = np_sigmoid(o) * np.tanh(shown)
        c = c if variant == "paper" else shown
    assert_close(tuple(rnn(cell, params, xs)[0]), (h, c), 1e-5)  # Keras computes in 32 bits


@pytest.mark.parametrize("rms", [False, True])
@pytest.mark.parametrize("where", ["input", "output"])
def test_around_a_cell(where, rms):
    cell = NormCell(SRUCell(), where, rms=rms)
    params, xs = problem(cell)
    norm = keras_norm(params.norm, rms)
    _, known = rnn(SRUCell(), params.params, norm(xs) if where == "input" else xs)
    _, ys = rnn(cell, params, xs)
    assert_close(ys, norm(known) if where == "output" else known, 1e-5)


def test_images():
    """Of each pixel the channels, wherever they stand."""
    for where in ("input", "output"):
        last = NormCell(ConvLSTMCell(rank=1, kernel_size=2), where)
        first = NormCell(ConvLSTMCell(rank=1, kernel_size=2, data_format="channels_first"), where)
        params = random_params(np.random.default_rng(0), last, F, U)
        xs = np.random.default_rng(1).normal(size=(B, T, 6, F))
        _, ys = rnn(last, params, xs)
        assert params.norm.gain.shape == ((F,) if where == "input" else (U,))
        _, turned = rnn(first, params, np.swapaxes(xs, -1, -2))
        assert_close(np.swapaxes(turned, -1, -2), ys)


def test_options_of_the_lstm():
    """The projection and the clips of the inner cell hold; peepholes see what is not normalized."""
    cell = LayerNormCell(LSTMCell(projection=3, cell_clip=0.3, projection_clip=0.1))
    params, xs = problem(cell)
    state, ys = rnn(cell, params, xs)
    assert ys.shape == (B, T, 3)
    assert np.abs(ys).max() <= 0.1
    assert np.abs(state.cell).max() <= 0.3
    alone = LayerNormCell(LSTMCell(peephole=True))
    own, _ = problem(alone)
    zero = own._replace(params=own.params._replace(peephole=jnp.zeros((3, U))))
    plain = own._replace(params=own.params._replace(peephole=None))
    assert_close(rnn(alone, zero, xs), rnn(LayerNormCell(LSTMCell()), plain, xs))
    assert np.abs(rnn(alone, own, xs)[1] - rnn(alone, zero, xs)[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("cell", "per_gate"),
    [
        (GRUCell(reset_after=False), True),
        (LSTMCell(), False),
        pytest.param(GRUCell(), True, marks=pytest.mark.slow),
        pytest.param(LSTMCell(), True, marks=pytest.mark.slow),
    ],
)
def test_masks(cell, per_gate):
    """Dropout of its two operands: as with kernels whose rows are dropped."""
    inner = LayerNormCell(cell)
    cell = DropoutCell(inner, 0.4, 0.3, per_gate)
    params, xs = problem(inner)
    drawn = cell.draw(KEY, params, xs[:, 0])
    assert len(drawn.kept_states) == (inner.gates if per_gate else 1)
    for b in range(B):
        kernels = []
        for masks, rate, kernel in (
            (drawn.kept_inputs, 0.4, params.params.kernel),
            (drawn.kept_states, 0.3, params.params.recurrent_kernel),
        ):
            kernels.append(oracle.scaled(kernel, [mask[b] / (1 - rate) for mask in masks]))
        own = params.params._replace(kernel=kernels[0], recurrent_kernel=kernels[1])
        known = rnn(inner, params._replace(params=own), xs[b])[1]
        assert_close(rnn(cell, params, xs, key=KEY)[1][b], known)


def test_forget_bias():
    """Where the bias is normalized away, the offset of the forget gate starts at one."""
    params = LayerNormCell(LSTMCell(), "contrib").init(KEY, F, U)
    np.testing.assert_array_equal(params.gates.offset, np.repeat([0, 1, 0, 0], U))
    params = LayerNormCell(LSTMCell(unit_forget_bias=False), "contrib").init(KEY, F, U)
    assert not params.gates.offset.any()


PAPER = LayerNormCell(LSTMCell()).init(KEY, F, U)
XS = np.ones((B, T, F), np.float32)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: LayerNormCell(SRUCell()), "cell is a SRUCell, but a SimpleRNNCell"),
        (lambda: LayerNormCell(DropoutCell(GRUCell())), "cell is a DropoutCell"),
        (lambda: LayerNormCell(GRUCell(), "papers"), "variant is 'papers'"),
        (lambda: LayerNormCell(GRUCell(), epsilon=0), "epsilon is 0"),
        (lambda: LayerNormCell(GRUCell(), epsilon="a"), "epsilon is 'a'"),
        (lambda: NormCell(GRUCell(), "both"), "where is 'both'"),
        (lambda: rnn(LayerNormCell(LSTMCell()), PAPER.params, XS), "LayerNormParams is needed"),
        (
            lambda: rnn(LayerNormCell(LSTMCell()), PAPER._replace(params={"a": 1}), XS),
            "params.params is a dict, but LSTMParams is needed",
        ),
        (
            lambda: rnn(LayerNormCell(GRUCell()), PAPER, XS),
            "params.params is a LSTMParams, but GRUParams is needed",
        ),
        (
            lambda: rnn(LayerNormCell(LSTMCell()), PAPER._replace(cell={"gain": 1}), XS),
            "cell is a dict, but Norm is needed",
        ),
        (
            lambda: rnn(NormCell(LSTMCell()), NormParams(PAPER.params, Norm(None)), XS),
            "gain is a NoneType, but an array is needed",
        ),
        (lambda: rnn(LayerNormCell(LSTMCell(), "contrib"), PAPER, XS), "params have input"),
        (
            lambda: rnn(LayerNormCell(LSTMCell()), PAPER._replace(cell=None), XS),
            "params have no cell",
        ),
        (
            lambda: rnn(LayerNormCell(LSTMCell(), rms=True), PAPER, XS),
            "cell.offset has shape",
        ),
        (
            lambda: rnn(LayerNormCell(LSTMCell()), PAPER._replace(input=Norm(jnp.ones(3))), XS),
            "input.gain is shape",
        ),
        (
            lambda: rnn(
                LayerNormCell(LSTMCell()),
                PAPER._replace(params=PAPER.params._replace(bias=None)),
                XS,
            ),
            "bias is None",
        ),
        (
            lambda: rnn(NormCell(LSTMCell()), NormParams(PAPER.params, Norm(jnp.ones(3))), XS),
            "norm.gain is shape",
        ),
        (
            lambda: rnn(NormCell(LSTMCell()), NormCell(LSTMCell()).init(KEY, F, U), XS.astype(int)),
            "floating-point dtype is needed",
        ),
    ],
)
def test_refuses(act, message):
    with pytest.raises(ValueError, match=message):
        act()
