"""What the configurations refuse: who, what, expected, got."""

import pytest

from jrnn import nd4j
from tests.nd4j.problems import fails

Layer, Block, Projecting = nd4j.LSTMLayerConfig, nd4j.LSTMConfiguration, nd4j.ProjectionLSTMConfig


@pytest.mark.parametrize("mode", ["FWD", "BWD", "BIDIR_SUM", "BIDIR_CONCAT"])
def test_t2ns_is_of_two_directions_side_by_side(mode):
    with fails("LSTMLayerConfig: lstm_data_format is T2NS", mode, "TNS", "NTS", "NST"):
        Layer("T2NS", mode)


@pytest.mark.parametrize("data_format", ["NTS", "NST"])
def test_two_directions_side_by_side_have_no_batch_first(data_format):
    with fails(f"LSTMLayerConfig: lstm_data_format is {data_format}", "BIDIR_EXTRA_DIM", "T2NS"):
        Layer(data_format, "BIDIR_EXTRA_DIM")


def test_no_output():
    with fails("LSTMLayerConfig: nothing", "ret_full_sequence", "ret_last_h", "ret_last_c"):
        Layer(ret_full_sequence=False)


@pytest.mark.parametrize(
    ("make", "name"),
    [(Layer, "cell_clip"), (Projecting, "clipping_proj_value")],
)
def test_negative_clip(make, name):
    with fails(f"{make.__name__}: {name} is -0.5", "0 or more"):
        make(**{name: -0.5})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Layer, "cell_clip"),
        (Layer, "gate_alpha"),
        (Block, "forget_bias"),
        (Block, "clipping_cell_value"),
        (Projecting, "clipping_proj_value"),
        (Projecting, "forget_bias"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", True, None], ids=str)
def test_numbers(make, name, value):
    with fails(f"{make.__name__}: {name} is {value!r}", "number is needed"):
        make(**{name: value})


@pytest.mark.parametrize(
    ("make", "name"),
    [(Layer, "ret_last_h"), (Block, "peep_hole"), (Projecting, "projection")],
)
@pytest.mark.parametrize("value", [1, None, "True"], ids=str)
def test_flags(make, name, value):
    with fails(f"{make.__name__}: {name} is {value!r}", "True or False"):
        make(**{name: value})


ENUMS = {
    "lstm_data_format": (Layer, "T2NS (3)"),
    "lstm_direction_mode": (Layer, "BIDIR_SUM (2)"),
    "gate_act": (Layer, "HARD_SIGMOID (7)"),
    "cell_act": (Layer, "SOFTPLUS (10)"),
    "out_act": (Layer, "ELU (8)"),
    "rnn_data_format": (Block, "NST (1)"),
}


@pytest.mark.parametrize("value", ["tanhh", "", 11, -1, True, 1.0, None], ids=repr)
@pytest.mark.parametrize("name", ENUMS)
def test_unknown_members_of_the_enums(name, value):
    make, known = ENUMS[name]
    with fails(f"{make.__name__}: {name} is {value!r}", known):
        make(**{name: value})


def test_the_formats_are_not_exchanged():
    """Their ids differ: the one's member is not taken for the other's."""
    with fails("lstm_data_format is <RnnDataFormat.NST: 1>", "a LSTMDataFormat"):
        Layer(nd4j.RnnDataFormat.NST)
    with fails("rnn_data_format is <LSTMDataFormat.NST: 2>", "a RnnDataFormat"):
        Block(nd4j.LSTMDataFormat.NST)


@pytest.mark.parametrize(
    ("place", "name", "constant"),
    [("gate", "SIGMOID", "alpha"), ("cell", "ELU", "beta"), ("out", "HARD_SIGMOID", "alpha")],
)
def test_constants_of_an_activation_that_has_none(place, name, constant):
    with fails(f"LSTMLayerConfig: {place}_{constant} is 0.3", f"{name} has no {constant}"):
        Layer(**{f"{place}_act": name, f"{place}_{constant}": 0.3})
