"""What the versions of Keras do differently, as layers and as numbers."""

import numpy as np
import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_layer, parse_model
from jrnn.keras_loader.writer import writer_of
from tests.keras_entries import (
    KERAS3,
    TF2,
    bidirectional,
    call2,
    dense_arrays,
    entry,
    graph,
    legacy,
    lstm,
    numbers,
    source,
    stored,
    tensor3,
)

KERAS30 = writer_of("3.0.5", "jax")


def softmax_of(version, x, mask, axis=-1):
    layer = parse_layer(entry("Softmax", name="s", axis=axis), writer_of(version, "tensorflow"))
    result = layer.call(None, [x], [mask])
    assert result.masks[0] is mask
    return np.asarray(result.outputs[0])


def shares(x, axis=-1):
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("2.2.4", "none"), ("2.3.1", "none"), ("2.2.4-tf", "none"), ("2.3.0-tf", "none"),
        ("2.4.0", "add"), ("2.5.0", "add"), ("2.15.0", "add"), ("3.0.5", "add"), ("3.9.2", "add"),
        ("3.10.0", "zero"), ("3.15.1", "zero"),
    ],
)  # fmt: skip
def test_masks_of_softmax(version, rule):
    x = numbers(4, 6)
    mask = np.arange(6) < np.array([[6], [4], [1], [0]])
    got = softmax_of(version, x, mask)
    if rule == "none":
        np.testing.assert_allclose(got, shares(x), atol=1e-6)
        return
    for row, counts in zip(range(3), (6, 4, 1), strict=True):
        np.testing.assert_allclose(got[row, :counts], shares(x[row, :counts]), atol=1e-6)
        assert not got[row, counts:].any()
    # In float32, x - 1e9 is the same for all such small x.
    np.testing.assert_allclose(got[3], np.full(6, 1 / 6 if rule == "add" else 0), atol=1e-6)


def test_a_mask_of_steps_before_a_softmax_of_tf_2_3():
    """TF 2.4, which writes the same version, cannot run such a model."""
    x, mask = numbers(2, 3, 4), np.array([[True, True, False], [False, True, True]])
    np.testing.assert_allclose(softmax_of("2.4.0", x, mask), shares(x), atol=1e-6)
    with pytest.raises(ValueError, match="shapes"):
        softmax_of("2.5.0", x, mask)


@pytest.mark.parametrize(("version", "each"), [("3.9.2", 1.0), ("3.10.0", 0.0)])
def test_softmax_of_a_wholly_masked_plane(version, each):
    """Over several axes Keras takes exp(x - logsumexp(x)), whose sum is lost beside -1e9."""
    x = numbers(2, 3, 4)
    mask = np.ones((2, 3, 4), bool)
    mask[1] = False
    got = softmax_of(version, x, mask, axis=[1, 2])
    np.testing.assert_allclose(got[0], shares(x[0].ravel()).reshape(3, 4), atol=1e-6)
    np.testing.assert_allclose(got[1], np.full((3, 4), each))


def test_relu_of_tf_before_2_5_drops_the_mask():
    x, mask = numbers(2, 3), np.ones((2,), bool)
    passes = {}
    for version in ("2.2.4", "2.3.1", "2.2.4-tf", "2.4.0", "2.5.0", "2.15.0", "3.0.5"):
        layer = parse_layer(entry("ReLU", name="r"), writer_of(version, "tensorflow"))
        passes[version] = layer.call(None, [x], [mask]).masks[0] is mask
    assert [version for version, passed in passes.items() if not passed] == ["2.2.4-tf", "2.4.0"]


def test_identity_of_tf_drops_the_mask():
    x, mask = numbers(2, 3), np.ones((2,), bool)
    for version, passes in (("2.15.0", False), ("3.0.5", True), ("3.15.1", True)):
        layer = parse_layer(entry("Identity", name="i"), writer_of(version, "tensorflow"))
        result = layer.call(None, [x], [mask])
        assert result.outputs[0] is x
        assert (result.masks[0] is mask) == passes


@pytest.mark.parametrize(
    ("version", "axis"), [("2.2.4-tf", 1), ("2.3.0-tf", 1), ("2.4.0", 0), ("2.15.0", 0)]
)
def test_what_a_time_major_bidirectional_flips(version, axis):
    """TF before 2.3 flips axis 1 of [T, B, U], the batch, in place of the time."""
    writer = writer_of(version, "tensorflow")
    config = bidirectional("b", lstm("i", units=5, time_major=True), merge_mode=None)
    layer = parse_layer(config, writer)
    model = parse_model(
        graph([source("x", (4, None, 3)), {**config, "inbound_nodes": [call2("x")]}],
              ["x"], [["b", 0, 0], ["b", 0, 1]]), writer,
    )  # fmt: skip
    sides = [[("kernel", (3, 20)), ("recurrent_kernel", (5, 20)), ("bias", (20,))]] * 2
    arrays = [
        stored(f"b/{side}_i/{name}:0", numbers(*shape, seed=k))
        for k, side in enumerate(("forward", "backward"))
        for name, shape in sides[k]
    ]
    params = build_params(model, legacy(b=arrays))
    x = numbers(4, 2, 3, seed=7)
    _, got = model.apply(params, x)
    [plain] = layer.backward.call(params["b"].backward, [x], [None]).outputs
    np.testing.assert_allclose(got, np.flip(plain, axis), atol=1e-6)


def tensors(*refs) -> dict:
    return {"args": [tensor3(ref) for ref in refs], "kwargs": {}}


def chain(calls, consumers, outputs, writer):
    """A dense layer "d" called on "x" so many times, and others on its calls."""
    entries = [source("x", (None, 3)), entry("Dense", *calls, name="d", units=3)]
    entries += [
        entry("Dense", tensors(ref), name=f"c{k}", units=2) for k, ref in enumerate(consumers)
    ]
    return parse_model(graph(entries, ["x"], outputs), writer)


def test_calls_of_keras_3_0_count_from_the_first_in_any_model():
    """A model cut out of another refers to the calls of a layer by their numbers in that one."""
    called = [tensors("x"), tensors(["x", 0, 0])]
    model = chain(called[:1], [["d", 4, 0]], [["c0", 0, 0]], KERAS30)
    assert model.nodes[-1].inputs[0].node == 0
    model = chain(called, [["d", 2, 0], ["d", 5, 0]], [["c0", 0, 0], ["c1", 0, 0]], KERAS30)
    assert {
        node.layer.name: node.inputs[0].node for node in model.nodes if node.layer.name != "d"
    } == {
        "c0": 0,
        "c1": 1,
    }
    # The second call is an output; what is used must be the first, whatever its number.
    model = chain(called, [["d", 1, 0]], [["c0", 0, 0], ["d", 1, 0]], KERAS30)
    assert model.nodes[-1].inputs[0].node == 0
    x = numbers(4, 3)
    arrays = dense_arrays(3, 3), dense_arrays(3, 2, seed=4)
    params = build_params(model, legacy(d=arrays[0], c0=arrays[1]))
    (w, b), (v, c) = ([array.read() for array in pair] for pair in arrays)
    np.testing.assert_allclose(model.apply(params, x)[0], (x @ w + b) @ v + c, atol=1e-5)


def test_calls_that_cannot_be_told():
    called = [tensors("x")] * 3
    with pytest.raises(KerasFileError, match="which calls of 'd' it uses cannot be told"):
        chain(called, [["d", 4, 0], ["d", 6, 0]], [["c0", 0, 0], ["c1", 0, 0]], KERAS30)
    with pytest.raises(KerasFileError, match="call 4 of 'd', which is not there"):
        chain(called[:1], [["d", 4, 0]], [["c0", 0, 0]], KERAS3)


def attention(writer, *flags):
    """Self-attention, called once for each flag."""
    if writer is TF2:
        calls = [[["x", 0, 0, {"use_causal_mask": flag}], ["x", 0, 0, {}]] for flag in flags]
    else:
        args = [[tensor3("x"), tensor3("x")]]
        calls = [{"args": args, "kwargs": {"use_causal_mask": flag}} for flag in flags]
    entries = [source("x"), entry("Attention", *calls, name="a", score_mode="dot")]
    return parse_model(graph(entries, ["x"], [["a", k, 0] for k in range(len(flags))]), writer)


@pytest.mark.parametrize("writer", [TF2, KERAS30, KERAS3])
def test_causal_attention(writer):
    x = numbers(2, 4, 3)
    y = np.asarray(attention(writer, True).apply({}, x))
    for step in range(4):
        seen = x[:, : step + 1]
        weights = shares(np.einsum("bf,btf->bt", x[:, step], seen))
        np.testing.assert_allclose(y[:, step], np.einsum("bt,btf->bf", weights, seen), atol=1e-6)
    [plain, _] = attention(writer, False, False).apply({}, x)
    np.testing.assert_allclose(plain[:, -1], y[:, -1], atol=1e-6)
    assert np.abs(plain[:, 0] - y[:, 0]).max() > 0.01
    both = attention(writer, True, False).apply({}, x)
    np.testing.assert_allclose(both, [y, plain], atol=1e-6)


@pytest.mark.parametrize(
    ("version", "implementation", "per_gate", "drops_state"),
    [
        ("2.0.8", 2, False, False), ("2.0.9", 2, False, True), ("2.3.1", 2, False, True),
        ("2.3.1", 1, True, False), ("2.2.4-tf", 2, False, True), ("2.3.0-tf", 2, True, False),
        ("2.15.0", 2, True, False), ("3.0.5", 1, False, True), ("3.6.0", 2, False, True),
        ("3.9.2", 2, True, False), ("3.15.1", 2, True, False),
    ],
)  # fmt: skip
def test_what_a_gru_drops_of_its_state(version, implementation, per_gate, drops_state):
    options = {"units": 3, "recurrent_dropout": 0.2, "implementation": implementation}
    writer = writer_of(version, "tensorflow")
    for kind in ("GRU", "LSTM"):
        found = parse_layer(entry(kind, name="g", **options), writer)
        assert found.dropout_per_gate == per_gate
        assert found.drops_state == (drops_state and kind == "GRU")
        assert found.training_cell().drops_state == found.drops_state


@pytest.mark.parametrize(("version", "dropout"), [("3.4.1", 0), ("3.6.0", 0.2), ("2.15.0", 0.2)])
def test_a_conv_lstm_of_early_keras_3_drops_nothing(version, dropout):
    """Its dropout was left out there, though not its options."""
    options = {"filters": 3, "kernel_size": 2, "dropout": 0.2, "recurrent_dropout": 0.2}
    found = parse_layer(entry("ConvLSTM1D", name="c", **options), writer_of(version, "tensorflow"))
    assert (found.dropout, found.recurrent_dropout) == (dropout, dropout)
