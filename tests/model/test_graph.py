"""Graphs as Keras 1, 2 and 3 write them, evaluated: who feeds whom, with which mask and state."""

import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from tests.keras_entries import (
    KERAS1,
    KERAS2,
    KERAS3,
    TF2,
    arrays_of,
    call2,
    call3,
    dense_arrays,
    entry,
    graph,
    legacy,
    numbers,
    sequential,
    source,
    tensor3,
)

X = numbers(2, 4, 3, seed=9)
PADDED = np.where(np.arange(4)[:, None] < 2, X, 0).astype(np.float32)


def dense(name: str, *calls, units: int = 3) -> dict:
    return entry("Dense", *calls, name=name, units=units, activation="tanh")


def lstm(name: str, *calls, units: int = 5, **options) -> dict:
    gates = {"recurrent_activation": "sigmoid", **options}
    return entry("LSTM", *calls, name=name, units=units, **gates)


def weights(**layers):
    """Arrays for LSTMs, (features, units) each."""
    return legacy(
        **{
            name: arrays_of("LSTM", *sizes, seed=10 * k)
            for k, (name, sizes) in enumerate(layers.items())
        }
    )


def by_hand(params, x):
    return jnp.tanh(x @ params.kernel + params.bias)


def close(a, b):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6, atol=1e-6)


CALLS = [(KERAS1, call2), (KERAS2, call2), (TF2, call2), (KERAS3, call3)]


@pytest.mark.parametrize(("writer", "call"), CALLS)
def test_a_shared_layer_is_called_twice(writer, call):
    layers = [source(), dense("d", call("x"), call("d")), dense("e", call(("d", 1, 0)))]
    model = parse_model(graph(layers, ["x"], [["d", 0, 0], ["d", 1, 0], "e"]), writer)
    params = build_params(model, _two())
    once, twice, end = model.apply(params, X)
    close(once, by_hand(params["d"], X))
    close(twice, by_hand(params["d"], by_hand(params["d"], X)))
    close(end, by_hand(params["e"], twice))


def _two():
    return legacy(d=dense_arrays(3, 3, seed=1), e=dense_arrays(3, 3, seed=5))


@pytest.mark.parametrize(("writer", "call"), CALLS)
def test_layers_stand_in_any_order(writer, call):
    layers = [dense("e", call("d")), dense("d", call("x")), source()]
    model = parse_model(graph(layers, ["x"], ["e"]), writer)
    params = build_params(model, _two())
    close(model.apply(params, X), by_hand(params["e"], by_hand(params["d"], X)))


def test_inputs_and_outputs_in_order_by_list_by_dict_and_alone():
    layers = [source("x"), source("y"), dense("d", call3("x")), dense("e", call3("y"))]
    model = parse_model(graph(layers, ["y", "x"], ["d", "e"]), KERAS3)
    params = build_params(model, _two())
    first, second = model.apply(params, 2 * X, X)
    close(first, by_hand(params["d"], X))
    close(second, by_hand(params["e"], 2 * X))
    for inputs in ([2 * X, X], (2 * X, X), {"x": X, "y": 2 * X}):
        close(model.apply(params, inputs)[0], first)
    named = graph(
        layers, {"b": ["x", 0, 0], "a": ["y", 0, 0]}, {"two": ["d", 0, 0], "one": ["e", 0, 0]}
    )
    model = parse_model(named, KERAS3)
    outputs = model.apply(params, {"b": X, "a": 2 * X})
    assert set(outputs) == {"one", "two"}
    close(outputs["two"], first)
    close(outputs["one"], second)
    single = parse_model(
        graph([source(), dense("d", call3("x"))], ["x", 0, 0], ["d", 0, 0]), KERAS3
    )
    close(single.apply(params, X), first)


NESTED = graph([source("z"), dense("d", call2("z"))], ["z"], ["d"], name="inner")


@pytest.mark.parametrize("kind", ["Functional", "Sequential"])
@pytest.mark.parametrize("writer", [KERAS2, TF2, KERAS3], ids=str)
def test_calls_of_nested_models_count_from_one_before_keras3(writer, kind):
    """Keras 3 counts them from 0, except a functional one's in output_layers."""
    call, start = (call3, 0) if writer is KERAS3 else (call2, 1)
    inner = NESTED if kind == "Functional" else sequential(dense("d"), name="inner")
    if writer is KERAS3 and kind == "Functional":
        inner = graph([source("z"), dense("d", call3("z"))], ["z"], ["d"], name="inner")
    inner = {**inner, "inbound_nodes": [call("x"), call("y")]}
    layers = [
        source("x"),
        source("y"),
        inner,
        dense("e", call(("inner", start + 1, 0))),
    ]
    out = 1 if kind == "Functional" else start
    ends = [["inner", out, 0], ["inner", out + 1, 0], "e"]
    model = parse_model(graph(layers, ["x", "y"], ends), writer)
    params = build_params(
        model, legacy(inner=dense_arrays(3, 3, seed=1), e=dense_arrays(3, 3, seed=5))
    )
    first, second, end = model.apply(params, X, 2 * X)
    close(first, by_hand(params["inner"]["d"], X))
    close(second, by_hand(params["inner"]["d"], 2 * X))
    close(end, by_hand(params["e"], second))


def states_model(call_of_decoder, writer):
    call = call3 if writer is KERAS3 else call2
    layers = [
        source("x"),
        source("y"),
        lstm("en", call("x"), return_state=True),
        lstm("run", call_of_decoder, return_sequences=True),
    ]
    return parse_model(graph(layers, ["x", "y"], ["run"]), writer)


@pytest.mark.parametrize(
    ("call", "writer"),
    [
        (call2("y", ("en", 0, 1), ("en", 0, 2)), KERAS2),
        (call2("y", initial_state=[["en", 0, 1], ["en", 0, 2]]), TF2),
        (call2("y", ("en", 0, 1), ("en", 0, 2), initial_state=None, constants=None), TF2),
        (call3("y", initial_state=[tensor3(("en", 0, 1)), tensor3(("en", 0, 2))]), KERAS3),
        (call3("y", initial_state=[[tensor3(("en", 0, 1)), tensor3(("en", 0, 2))]]), KERAS3),
    ],
)
def test_initial_states_by_list_and_by_keyword(call, writer):
    model = states_model(call, writer)
    params = build_params(model, weights(en=(3, 5), run=(3, 5)))
    state, _ = jrnn.lstm(params["en"], X)
    _, ys = jrnn.lstm(params["run"], 2 * X, initial_state=state)
    close(model.apply(params, X, 2 * X), ys)


def test_wrong_number_of_initial_states():
    model = states_model(call2("y", ("en", 0, 1)), KERAS2)
    with pytest.raises(KerasFileError, match="got 1 initial states, but its cell has 2"):
        build_params(model, weights(en=(3, 5), run=(3, 5)))


def masked_graph(writer, *calls, masks=True):
    call = call3 if writer is KERAS3 else call2
    masking = entry("Masking", call("x"), name="m", mask_value=0.0)
    lstms = [lstm(f"l{k}", one, return_sequences=True) for k, one in enumerate(calls)]
    ends = [f"l{k}" for k in range(len(calls))]
    return parse_model(graph([source(), source("h", (None, 5)), masking, *lstms], ["x", "h"], ends),
                       writer)  # fmt: skip


def run_masked(model):
    names = [layer.name for layer in model.layers if layer.name != "m"]
    params = build_params(model, weights(**dict.fromkeys(names, (3, 5))))
    h = numbers(2, 5)
    masked = jrnn.lstm(params["l0"], PADDED, mask=[[1, 1, 0, 0]] * 2, masked_output="repeat")[1]
    given = jrnn.lstm(params["l0"], PADDED, initial_state=jrnn.LSTMState(h, h))[1]
    return model.apply(params, PADDED, h), masked, given


@pytest.mark.parametrize(("writer", "call"), CALLS)
def test_a_mask_travels_with_its_tensor(writer, call):
    output, masked, _ = run_masked(masked_graph(writer, call("m")))
    close(output, masked)


def test_keras3_drops_the_mask_beside_an_initial_state_and_others_keep_it():
    states = [tensor3("h"), tensor3("h")]
    output, _, given = run_masked(masked_graph(KERAS3, call3("m", initial_state=states)))
    close(output, given)
    output, _, given = run_masked(masked_graph(KERAS2, call2("m", "h", "h")))
    close(output[:, :2], given[:, :2])
    close(output[:, 2], output[:, 1])


def test_a_mask_given_by_keyword_counts_in_place_of_the_inputs_own():
    not_equal = {
        "module": "keras.src.ops.numpy",
        "class_name": "NotEqual",
        "config": {"name": "ne"},
        "name": "ne",
        "inbound_nodes": [{"args": [tensor3("k"), 0], "kwargs": {}}],
    }
    for mask, writer, call in (
        (tensor3("ne"), KERAS3, call3),
        (["ne", 0, 0], TF2, call2),
        (["k", 0, 0], TF2, call2),
    ):
        layers = [
            source(),
            source("k", (None, 4)),
            not_equal,
            entry("Masking", call("x"), name="m"),
            lstm("l0", call("m", mask=mask)),
        ]
        model = parse_model(graph(layers, ["x", "k"], ["l0"]), writer)
        params = build_params(model, weights(l0=(3, 5)))
        keep = np.array([[1, 0, 0, 0], [0, 1, 0, 1]], np.float32)
        _, expected = jrnn.lstm(params["l0"], PADDED, mask=keep > 0, return_sequences=False)
        close(model.apply(params, PADDED, keep), expected)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ([{"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}, -1],
         lambda x: x[:, -1]),
        ([{"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}, None,
          {"class_name": "__slice__", "config": {"start": 1, "stop": 3, "step": None}}],
         lambda x: x[:, None, 1:3]),
        ([{"class_name": "__ellipsis__", "config": {}}, 0], lambda x: x[..., 0]),
        (1, lambda x: x[1]),
        ({"class_name": "__slice__", "config": {"start": 1, "stop": None, "step": None}},
         lambda x: x[1:]),
    ],
)  # fmt: skip
def test_items_of_a_tensor(index, expected):
    item = {
        "module": "keras.src.ops.numpy",
        "class_name": "GetItem",
        "config": {"name": "item"},
        "inbound_nodes": [{"args": [tensor3("x"), index], "kwargs": {}}],
    }
    model = parse_model(graph([source(), item], ["x"], ["item"]), KERAS3)
    close(model.apply(build_params(model, legacy()), X), expected(X))


def operation(kind, *args, **kwargs) -> dict:
    return {
        "module": "keras.src.ops.numpy",
        "class_name": kind,
        "config": {"name": "op"},
        "inbound_nodes": [{"args": list(args), "kwargs": kwargs}],
    }


def test_operations_on_tensors_and_numbers():
    for op, expected in (
        (operation("Add", tensor3("x"), tensor3("y")), X + 2 * X),
        (operation("Subtract", 1.5, tensor3("x")), 1.5 - X),
        (operation("Divide", tensor3("y"), tensor3("y")), np.ones_like(X)),
        (operation("Tanh", tensor3("x")), np.tanh(X)),
    ):
        model = parse_model(graph([source(), source("y"), op], ["x", "y"], ["op"]), KERAS3)
        close(model.apply({}, X, 2 * X), expected)
