"""Residual and skip connections, and projections of outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import (
    ConvLSTMCell,
    GRUCell,
    LSTMCell,
    ProjectionCell,
    ProjectionParams,
    ResidualCell,
    StackedCell,
    rnn,
)
from tests.cases import assert_close, assert_equal

B, T, F, U = 2, 3, 5, 4
KEY = jax.random.key(3)


def images(data_format):
    xs = jax.random.normal(KEY, (B, T, 6, F))
    return xs if data_format == "channels_last" else jnp.swapaxes(xs, -1, -2)


@pytest.mark.parametrize(
    "data_format", ["channels_first", pytest.param("channels_last", marks=pytest.mark.slow)]
)
def test_images(data_format):
    """Along the channels, wherever they stand."""
    conv = ConvLSTMCell(rank=1, kernel_size=2, padding="same", data_format=data_format)
    xs = images(data_format)
    params = conv.init(KEY, F, F)
    _, ys = rnn(conv, params, xs)
    assert_close(rnn(ResidualCell(conv), params, xs)[1], xs + ys, 1e-6)
    axis = -1 if data_format == "channels_last" else -2
    _, both = rnn(ResidualCell(conv, "concat"), params, xs)
    assert_equal(both, jnp.concatenate([xs, ys], axis))
    projected = ProjectionCell(conv, 3, activation="relu")
    own = projected.init(KEY, F, U)
    assert own.kernel.shape == (U, 3)
    own = own._replace(bias=jnp.arange(-1.0, 2.0))
    _, inner = rnn(conv, own.params, xs)
    known = np.maximum(np.moveaxis(inner, axis, -1) @ own.kernel + own.bias, 0)
    assert_close(rnn(projected, own, xs)[1], np.moveaxis(known, -1, axis), 1e-5)


def test_a_stack_of_images_is_drawn():
    same = ConvLSTMCell(padding="same")
    stack = StackedCell([ResidualCell(same, "concat"), ConvLSTMCell()])
    params = jax.eval_shape(lambda: stack.init(KEY, F, (3, 2)))
    assert params[1].kernel.shape == (3, 3, F + 3, 8)


def multiply(x, y):
    return x * y.sum(-1, keepdims=True)


def test_a_function_merges():
    xs = images("channels_last")[:, :, 0]
    params = GRUCell().init(KEY, F, U)
    _, ys = rnn(GRUCell(), params, xs)
    assert_close(rnn(ResidualCell(GRUCell(), multiply), params, xs)[1], multiply(xs, ys), 1e-6)


def test_no_bias():
    cell = ProjectionCell(LSTMCell(), 3, use_bias=False, kernel_initializer="ones")
    params = cell.init(KEY, F, U)
    assert params.bias is None
    xs = images("channels_last")[:, :, 0]
    state, ys = rnn(cell, params, xs)
    _, inner = rnn(LSTMCell(), params.params, xs)
    assert_close(ys, jnp.repeat(inner.sum(-1, keepdims=True), 3, -1), 1e-6)
    assert_close(state.hidden, inner[:, -1], 1e-6)


LSTM = LSTMCell().init(KEY, F, U)
XS = jnp.ones((B, T, F))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ResidualCell(LSTMCell(), "sum"), "merge is 'sum'"),
        (
            lambda: rnn(ResidualCell(LSTMCell()), LSTM, XS),
            r"x has shape \(2, 5\) and the output of LSTMCell \(2, 4\)",
        ),
        (
            lambda: ResidualCell(ConvLSTMCell(rank=1), "concat")(
                ConvLSTMCell(rank=1).init(KEY, F, U), None, jnp.ones((B, 6, F))
            ),
            r"\(2, 6, 5\) and the output of ConvLSTMCell \(2, 4, 4\)",
        ),
        (lambda: ProjectionCell(LSTMCell(), 0), "features is 0"),
        (lambda: ProjectionCell(LSTMCell(), 3, activation="none of these"), "none of these"),
        (lambda: rnn(ProjectionCell(LSTMCell(), 3), LSTM, XS), "ProjectionParams is needed"),
        (
            lambda: rnn(ProjectionCell(LSTMCell(), 3), ProjectionParams(LSTM, {"a": 1}), XS),
            "kernel is a dict, but an array is needed",
        ),
        (
            lambda: rnn(
                ProjectionCell(LSTMCell(), 3), ProjectionParams(LSTM, jnp.ones((3, 3))), XS
            ),
            "bias is None",
        ),
        (
            lambda: rnn(
                ProjectionCell(LSTMCell(), 3, use_bias=False),
                ProjectionParams(LSTM, jnp.ones((3, 3))),
                XS,
            ),
            "the projection: x has shape",
        ),
    ],
)
def test_refuses(act, message):
    with pytest.raises(ValueError, match=message):
        act()
