"""CuDNNLSTM and CuDNNGRU: arrays of either layout, under either class, beside a plain loop."""

import numpy as np
import pytest

from jrnn import GRUCell, LSTMCell
from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_layer
from jrnn.model.recurrent import Recurrent
from tests.keras_entries import (
    KERAS2,
    KERAS23,
    TF1,
    TF2,
    arrays_of,
    bidirectional,
    entry,
    holds,
    legacy,
    model_of,
    numbers,
    objects,
    refused_arrays,
    stored,
    stored_shape,
    unread,
)

F, U, T = 3, 5, 4
X = numbers(2, T, F, seed=9)
GATES = {"LSTM": 4, "GRU": 3}
WRITERS = (KERAS2, KERAS23, TF1, TF2)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def cudnn_arrays(kind: str, *, prefix: str = "", seed: int = 0) -> list:
    """kernel, recurrent kernel and the bias of two rows in one."""
    width = GATES[kind] * U
    return [
        stored(f"{prefix}kernel:0", numbers(F, width, seed=seed)),
        stored(f"{prefix}recurrent_kernel:0", numbers(U, width, seed=seed + 1)),
        stored(f"{prefix}bias:0", numbers(2 * width, seed=seed + 2)),
    ]


def matrices(kind: str, arrays: list):
    """What cuDNN is handed: of each gate a matrix [U, F], one [U, U], and two biases [U]."""
    kernel, recurrent, bias = (array.read().astype(np.float64) for array in arrays)
    gates = GATES[kind]
    inputs = [np.ravel(block).reshape(U, F) for block in np.split(kernel, gates, axis=1)]
    states = [np.ravel(block).reshape(U, U) for block in np.split(recurrent, gates, axis=1)]
    return inputs, states, np.split(bias[: gates * U], gates), np.split(bias[gates * U :], gates)


def loop(kind: str, arrays: list, x: np.ndarray) -> tuple[np.ndarray, list]:
    """One row, as NVIDIA writes the equations: the outputs [T, U] and the final states."""
    w, r, b, c = matrices(kind, arrays)
    h, cell, ys = np.zeros(U), np.zeros(U), []
    for x_t in x:
        if kind == "LSTM":
            i, f, g, o = (w[k] @ x_t + b[k] + r[k] @ h + c[k] for k in range(4))
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(cell)
        else:
            z, reset = (sigmoid(w[k] @ x_t + b[k] + r[k] @ h + c[k]) for k in range(2))
            candidate = np.tanh(w[2] @ x_t + b[2] + reset * (r[2] @ h + c[2]))
            h = z * h + (1 - z) * candidate
        ys.append(h)
    return np.array(ys), [h, cell] if kind == "LSTM" else [h]


def layer(kind: str, **options) -> dict:
    return entry(kind, name="l", **{"units": U, "return_sequences": True, **options})


def plain(kind: str, **options) -> dict:
    reset = {"reset_after": True} if kind == "GRU" else {}
    return layer(kind, recurrent_activation="sigmoid", **reset, **options)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_arrays_of_cudnn_under_either_class(writer, kind, go_backwards):
    arrays = cudnn_arrays(kind)
    for make in (lambda **o: layer(f"CuDNN{kind}", **o), lambda **o: plain(kind, **o)):
        config = make(go_backwards=go_backwards, return_state=True, unit_forget_bias=True)
        model = model_of(config, writer=writer, shape=(None, T, F))
        params = build_params(model, legacy(l=arrays))
        ys, *states = model.layers[0].call(params["l"], [X], [None]).outputs
        for row, x in enumerate(X):
            expected, last = loop(kind, arrays, x[::-1] if go_backwards else x)
            np.testing.assert_allclose(ys[row], expected, rtol=1e-5, atol=1e-5)
            for state, one in zip(states, last, strict=True):
                np.testing.assert_allclose(state[row], one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", GATES)
def test_plain_arrays_under_the_class_of_cudnn(kind):
    """Keras turns them into cuDNN's layout, which comes to the same numbers."""
    arrays = arrays_of(kind, F, U)
    if kind == "GRU":
        arrays[2] = stored("bias:0", numbers(2, 3 * U))
    params = build_params(model_of(layer(f"CuDNN{kind}")), legacy(l=arrays))
    assert holds(params["l"], arrays)


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_the_choices_are_fixed_whatever_the_writers_defaults(writer):
    for kind, cell in (("CuDNNLSTM", LSTMCell()), ("CuDNNGRU", GRUCell(reset_after=True))):
        config = layer(kind, stateful=True, go_backwards=True)
        expected = Recurrent(
            name="l",
            kind=kind,
            cell=cell,
            units=U,
            return_sequences=True,
            stateful=True,
            go_backwards=True,
            masked_start=writer.masked_start(False),
        )
        assert parse_layer(config, writer) == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"activation": "relu"}, "'activation' is 'relu'"),
        ({"recurrent_activation": "hard_sigmoid"}, "'recurrent_activation'"),
        ({"reset_after": True}, "'reset_after' is True"),
        ({"time_major": True}, "turns its batch around"),
        ({"num_constants": 1}, "constants"),
    ],
)
@pytest.mark.parametrize("kind", GATES)
def test_options_it_does_not_have(kind, options, said):
    with pytest.raises(KerasFileError, match=said):
        parse_layer(layer(f"CuDNN{kind}", **options), TF2)


def test_arrays_that_are_of_neither_layout():
    """Nothing is read: the length of the bias and the class decide."""
    for kind, gates in GATES.items():
        for length in (gates * U + 1, 4 * gates * U):
            arrays = [*unread(cudnn_arrays(kind)[:2]), stored_shape("bias:0", length)]
            for config in (layer(f"CuDNN{kind}"), plain(kind)):
                assert f"({length},)" in refused_arrays(model_of(config), legacy(l=arrays))
    arrays = unread(cudnn_arrays("GRU"))
    message = refused_arrays(model_of(layer("GRU", reset_after=False)), legacy(l=arrays))
    assert "GRU(units=5, reset_after=False)" in message
    message = refused_arrays(model_of(layer("CuDNNGRU")), legacy(l=unread(arrays_of("GRU", F, U))))
    assert "(15,)" in message
    message = refused_arrays(model_of(layer("CuDNNLSTM")), legacy(l=arrays))
    assert "kernel of CuDNNLSTM(units=5)" in message
    message = refused_arrays(
        model_of(layer("CuDNNLSTM")), legacy(l=unread(arrays_of("LSTM", F, U)[:2]))
    )
    assert "the file holds" in message
    message = refused_arrays(
        model_of(layer("LSTM", units=4)), legacy(l=unread(cudnn_arrays("LSTM")))
    )
    assert "LSTM(units=4)" in message


@pytest.mark.parametrize("kind", GATES)
def test_two_directions(kind):
    arrays = {
        name: cudnn_arrays(kind, prefix=f"b/{name}_l/", seed=seed)
        for name, seed in (("forward", 1), ("backward", 4))
    }
    config = bidirectional("b", layer(f"CuDNN{kind}"), merge_mode=None)
    for order in (("forward", "backward"), ("backward", "forward")):
        model = model_of(config, writer=KERAS23, shape=(None, T, F))
        params = build_params(model, legacy(b=arrays[order[0]] + arrays[order[1]]))
        ahead, behind = model.layers[0].call(params["b"], [X], [None]).outputs
        for row, x in enumerate(X):
            np.testing.assert_allclose(ahead[row], loop(kind, arrays["forward"], x)[0], atol=1e-5)
            flipped = loop(kind, arrays["backward"], x[::-1])[0][::-1]
            np.testing.assert_allclose(behind[row], flipped, atol=1e-5)


@pytest.mark.parametrize(("kind", "key"), [("LSTM", "cu_dnnlstm"), ("GRU", "cu_dnngru")])
def test_the_layout_of_keras3_has_no_cell_between(kind, key):
    arrays = cudnn_arrays(kind)
    model = model_of(layer(f"CuDNN{kind}"), writer=TF2)
    from_objects = build_params(model, objects(**{key: arrays}))["l"]
    from_list = build_params(model, legacy(l=arrays))["l"]
    for one, other in zip(from_objects[:3], from_list[:3], strict=True):
        np.testing.assert_array_equal(one, other)
