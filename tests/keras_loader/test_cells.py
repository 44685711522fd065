"""``RNN`` over cells: the configs of every writer, and the order of its states."""

import numpy as np
import pytest

from jrnn import GRUCell, LSTMCell, SimpleRNNCell, StackedCell
from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_layer, parse_model
from jrnn.keras_loader.writer import writer_of
from jrnn.model.recurrent import OneCell, Recurrent
from jrnn.model.stacked import StackedRecurrent
from tests.cell_entries import MIXED, cell, flat, mixed_arrays, rnn
from tests.keras_entries import (
    KERAS2,
    KERAS3,
    TF1,
    WRITERS,
    call2,
    call3,
    entry,
    graph,
    legacy,
    numbers,
    source,
    tensor3,
)

CELL_WRITERS = WRITERS[1:]  # not of Keras 1


@pytest.mark.parametrize("writer", CELL_WRITERS, ids=str)
def test_one_cell_is_its_layer(writer):
    options = {"return_state": True, "go_backwards": True, "unroll": True, "stateful": True}
    for kind in ("SimpleRNN", "GRU", "LSTM"):
        own = {"activation": "relu", "use_bias": False}
        found = parse_layer(rnn(cell(kind, **own), **options), writer)
        expected = parse_layer(
            entry(kind, name="r", units=5, return_sequences=True, **own, **options), writer
        )
        own_cell = {"kind": "RNN", "cell_name": found.cell_name}
        assert found == Recurrent(**{**vars(expected), **own_cell})


@pytest.mark.parametrize("writer", CELL_WRITERS, ids=str)
def test_a_stack(writer):
    found = parse_layer(rnn(*MIXED, go_backwards=True), writer)
    assert isinstance(found, StackedRecurrent)
    gate = writer.gate_activation + ("_keras2" if writer.gate_activation == "hard_sigmoid" else "")
    cells = (
        LSTMCell(recurrent_activation=gate),
        GRUCell(recurrent_activation=gate, reset_after=False),
        SimpleRNNCell(),
    )
    assert found.cell == StackedCell(cells)
    assert [(one.kind, one.units) for one in found.cells] == [
        ("LSTMCell", 5),
        ("GRUCell", 4),
        ("SimpleRNNCell", 2),
    ]
    assert found.units == 2
    assert found.go_backwards
    assert found.masked_start == writer.masked_start(False)


def test_a_stack_of_one_cell():
    alone = entry("StackedRNNCells", name="s", cells=[cell("GRU", 4)])
    found = parse_layer(entry("RNN", name="r", cell=alone), KERAS2)
    assert isinstance(found, StackedRecurrent)
    one = OneCell(
        name="gru",
        kind="GRUCell",
        cell=GRUCell(recurrent_activation="hard_sigmoid_keras2", reset_after=False),
        units=4,
    )
    assert found.cells == (one,)


ORDERS = [
    # version, highest cell first, does its config know of it, lowest repeats at masked steps
    ("2.0.9", True, False, False),
    ("2.2.2", True, False, False),
    ("2.2.3", False, True, True),
    ("2.2.5", False, True, False),
    ("2.3.1", False, True, False),
    ("2.2.4-tf", False, False, False),
    ("2.12.0", False, False, False),
    ("2.21.0", False, False, False),
    ("3.15.1", False, False, False),
]


@pytest.mark.parametrize(("version", "reverse", "knows", "lowest"), ORDERS)
def test_the_order_of_states_by_writer(version, reverse, knows, lowest):
    writer = writer_of(version, "tensorflow")
    found = parse_layer(rnn(*MIXED), writer)
    assert (found.reverse_states, found.masked_repeats_lowest) == (reverse, lowest)
    unrolled = parse_layer(rnn(*MIXED, unroll=True), writer)
    assert not unrolled.masked_repeats_lowest
    asked = rnn(*MIXED, stack_options={"reverse_state_order": True})
    if knows:
        found = parse_layer(asked, writer)
        assert (found.reverse_states, found.masked_repeats_lowest) == (True, False)
    else:
        with pytest.raises(KerasFileError, match="'reverse_state_order' is True"):
            parse_layer(asked, writer)


CUSTOM = [
    cell("Minimal"),
    entry("Lambda", function=["4wA=", None, None]),
    entry("LSTM", units=5),
    entry("ConvLSTM2DCell", filters=2, kernel_size=[3, 3]),
    {**cell("LSTM"), "module": "my_package.cells"},
    {**cell("LSTM"), "registered_name": "mine>LSTMCell"},
    {**entry("StackedRNNCells", cells=[cell("GRU")]), "module": "my_package"},
]


def refusal(config, writer=KERAS3) -> str:
    with pytest.raises(KerasFileError) as caught:
        parse_layer(config, writer)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("inner", CUSTOM, ids=lambda inner: inner["class_name"])
def test_other_cells_are_refused_by_name(inner):
    for config in (rnn(inner), rnn(cell("GRU"), inner)):
        message = refusal(config)
        assert "layer 'r' ('RNN'): it runs over a" in message
        assert repr(inner["class_name"]) in message


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (entry("RNN", name="r"), "a layer is needed"),
        (entry("RNN", name="r", cell=[cell("GRU")]), "a layer is needed"),
        (entry("RNN", name="r", cell=entry("StackedRNNCells", cells=[])), "no list of cells"),
        (entry("RNN", name="r", cell=entry("StackedRNNCells")), "no list of cells"),
        (rnn(cell("GRU"), entry("StackedRNNCells", cells=[cell("GRU")])), "'StackedRNNCells'"),
        (rnn(cell("GRU"), num_constants=1), "constants"),
        (rnn(cell("GRU", units=0)), "units is 0"),
        (rnn(cell("GRU", peephole=True)), "'peephole' is True"),
        (rnn(cell("GRU"), cell("LSTM", peephole=True)), "'peephole' is True"),
        (rnn(cell("GRU"), cell("LSTM"), stack_options={"residual": True}), "'residual' is True"),
        (rnn(cell("GRU", activation="odd_act")), "no activation of Keras"),
        (rnn(cell("GRU", dtype="float16")), "it computes in float32 and its GRUCell in float16"),
        (rnn(cell("GRU"), cell("LSTM"), stack_options={"dtype": "float64"}), "StackedRNNCells in"),
        (rnn(cell("GRU"), attention=True), "'attention' is True"),
    ],
)
def test_configs_of_no_sense(config, said):
    assert said in refusal(config)


def test_one_dtype_for_layer_and_cells():
    for dtype in ("float16", "mixed_bfloat16", "float32"):
        config = rnn(cell("GRU", dtype=dtype), cell("LSTM", dtype=dtype), dtype=dtype)
        found = parse_layer(config, KERAS3)
        assert {one.dtype for one in found.cells} == {found.dtype}
    unsaid = rnn(cell("GRU"), cell("LSTM"), dtype="float16", stack_options={"dtype": None})
    assert parse_layer(unsaid, TF1).dtype == "float16"


def check_states(writer, call) -> None:
    """A stack that hands its states to another with its arrays equals one over both sequences."""
    layers = [
        source(),
        entry_with(rnn(*MIXED, name="a", return_state=True), call("x")),
        entry_with(rnn(*MIXED, name="b"), call("x", states=[["a", 0, k] for k in range(1, 5)])),
    ]
    model = parse_model(graph(layers, ["x"], ["a", "b"]), writer)
    params = build_params(model, legacy(a=flat(mixed_arrays()), b=flat(mixed_arrays())))
    x = numbers(2, 4, 3, seed=5)
    first, second = model.apply(params, x)
    whole, _ = model.apply(params, np.concatenate([x, x], 1))
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=1e-5, atol=1e-6)


def entry_with(config: dict, call) -> dict:
    return {**config, "inbound_nodes": [call]}


@pytest.mark.parametrize("writer", CELL_WRITERS, ids=str)
def test_states_go_from_one_stack_to_another(writer):
    """As inputs beside x, in lists of lists (tf.keras), or by keyword (Keras 3)."""

    def by_inputs(x, states=()):
        return call2(x, *states)

    def nested(x, states=()):
        plain = call2(x, *states)
        return [plain[0], plain[1:3], plain[3:4], plain[4:5]] if states else plain

    def by_keyword(x, states=()):
        h, c, *others = [tensor3(state) for state in states] or [None, None]
        return call3(x, initial_state=[[h, c], *others] if states else None)

    ways = {1: [by_inputs], 2: [by_inputs, nested], 3: [by_keyword]}
    for call in ways[3 if writer.major == 3 else 2 if writer.tf else 1]:
        check_states(writer, call)
