"""Graphs that cannot be: a circle, a call that is not there, an option unknown."""

import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from tests.keras_entries import (
    KERAS2,
    KERAS3,
    call2,
    call3,
    dense_arrays,
    entry,
    graph,
    legacy,
    source,
    tensor3,
)


def dense(name: str, *calls) -> dict:
    return entry("Dense", *calls, name=name, units=3)


def refusal(config, writer) -> str:
    with pytest.raises(KerasFileError) as caught:
        parse_model(config, writer)
    assert "\n" not in str(caught.value)
    return str(caught.value)


CALLS = [(KERAS2, call2), (KERAS3, call3)]


@pytest.mark.parametrize(("writer", "call"), CALLS)
def test_graphs_that_do_not_hang_together(writer, call):
    for layers, ends, said in (
        ([source(), dense("d", call("e")), dense("e", call("d"))], ["e"], "in a circle"),
        ([source(), dense("d", call("d"))], ["d"], "in a circle"),
        ([source(), dense("d", call("nobody"))], ["d"], "call 0 of 'nobody'"),
        ([source(), dense("d", call(("x", 1, 0)))], ["d"], "call 1 of 'x'"),
        ([source(), dense("d", call(("x", -1, 0)))], ["d"], "call -1 of 'x'"),
        ([source(), dense("d", call("x"))], ["e"], "call 0 of 'e'"),
        ([source(), dense("d", call("x"))], [["d", 1, 0]], "call 1 of 'd'"),
        ([source(), source("y"), dense("d", call("y"))], ["d"], "call 0 of 'y'"),
        ([source(), dense("d", call("x")), dense("d", call("x"))], ["d"], "have the name 'd'"),
        ([source(), dense("x", call("x"))], ["x"], "have the name 'x'"),
        ([source(), {**dense("d"), "inbound_nodes": []}], ["d"], "nothing calls it"),
        ([source(), dense("d")], ["d"], "nothing calls it"),
        ([source(), {**dense("d"), "inbound_nodes": [7]}], ["d"], "where a call is needed"),
    ):
        assert said in refusal(graph(layers, ["x"], ends), writer)


@pytest.mark.parametrize(("writer", "call"), CALLS)
def test_ends_that_are_none(writer, call):
    layers = [source(), dense("d", call("x"))]
    for inputs, ends, said in (
        (["d"], ["d"], "'d' is no InputLayer"),
        (["y"], ["d"], "'y' is no InputLayer"),
        ([], ["d"], "input_layers is []"),
        (None, ["d"], "input_layers is None"),
        (["x"], [], "output_layers is []"),
        (["x"], [["d", 0]], "where a tensor"),
        (["x"], [["d", 0, -1]], "where a tensor"),
        (["x"], [["d", 0, 0.0]], "where a tensor"),
        (["x"], [[["d"], 0, 0]], "where a tensor"),
    ):
        assert said in refusal(graph(layers, inputs, ends), writer)


@pytest.mark.parametrize(("writer", "call"), CALLS)
def test_keywords_with_a_meaning(writer, call):
    for kwargs, said in (
        ({"training": True}, "called with 'training' = True"),
        ({"constants": ["x", 0, 0]}, "'constants'"),
        ({"initial_state": 3}, "3"),
        ({"mask": "x"}, "'x'"),
    ):
        assert said in refusal(
            graph([source(), dense("d", call("x", **kwargs))], ["x"], ["d"]), writer
        )
    fine = dense("d", call("x", training=False, mask=None, initial_state=[], constants=None))
    assert parse_model(graph([source(), fine], ["x"], ["d"]), writer)


def test_a_constant_where_a_tensor_is_needed():
    constant = [["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, 3, None]]
    said = refusal(graph([source(), dense("d", constant)], ["x"], ["d"]), KERAS2)
    assert "keyword arguments" in said or "_CONSTANT_VALUE" in said
    call = {"args": [3.0], "kwargs": {}}
    assert "3.0" in refusal(graph([source(), dense("d", call)], ["x"], ["d"]), KERAS3)


@pytest.mark.parametrize(
    ("kind", "args", "kwargs"),
    [
        ("Add", [], {"alpha": 1}),
        ("Loadtxt", [], {}),
        ("GetFile", ["https://example.org/x"], {}),
        ("GetItem", [{"class_name": "__slice__", "config": {"start": "0"}}], {}),
        ("Add", [{"class_name": "__lambda__", "config": {}}], {}),
        ("Add", ["x"], {}),
    ],
)
def test_operations(kind, args, kwargs):
    op = {
        "module": "keras.src.ops.numpy",
        "class_name": kind,
        "config": {"name": "op"},
        "inbound_nodes": [{"args": [tensor3("x"), *args], "kwargs": kwargs}],
    }
    assert "'op'" in refusal(graph([source(), op], ["x"], ["op"]), KERAS3)


def test_an_output_that_the_layer_does_not_have():
    weights = legacy(d=dense_arrays(3, 3), e=dense_arrays(3, 3))
    layers = [source(), dense("d", call2("x")), dense("e", call2(("d", 0, 1)))]
    for config in (graph(layers, ["x"], ["e"]), graph(layers[:2], ["x"], [["d", 0, 3]])):
        model = parse_model(config, KERAS2)
        owners = {
            name: a for name, a in weights.layers.items() if len(model.layers) > 1 or name < "e"
        }
        with pytest.raises(KerasFileError, match=r"output \d of 'd' is used, but it has 1"):
            build_params(model, legacy(**owners))
