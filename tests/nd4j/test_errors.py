"""What the ops say to arrays that do not fit: who, what, expected, got."""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from jrnn import nd4j
from tests.cases import B, F, P, T, U
from tests.nd4j.problems import fails

BOTH = nd4j.LSTMLayerConfig(lstm_direction_mode="BIDIR_SUM")
PEEPHOLE = nd4j.LSTMConfiguration(peep_hole=True)
PROJECTING = nd4j.ProjectionLSTMConfig(peephole=True, projection=True)


# Shapes: every array of every op is in turn given two entries, or one axis, too many.


class Op(NamedTuple):
    """An op of keyword arguments, the shapes of these and what the call also says."""

    call: Callable
    arrays: dict[str, Any]
    options: dict[str, Any] = {}  # noqa: RUF012


class S(tuple):
    """A shape, a leaf of a tree."""


def s(*shape):
    return S(shape)


GRU = nd4j.GRUWeights(s(F + U, 2 * U), s(F + U, U), s(2 * U), s(U))
BLOCK = nd4j.LSTMWeights(s(F + U, 4 * U), s(U), s(U), s(U), s(4 * U))
LAYER = nd4j.LSTMLayerWeights(s(F, 4 * U), s(U, 4 * U), s(4 * U), s(3 * U))
TWO = nd4j.LSTMLayerWeights(s(2, F, 4 * U), s(2, U, 4 * U), s(2, 4 * U), s(2, 3 * U))
PROJECTION = nd4j.ProjectionLSTMWeights(s(F, 4 * U), s(P, 4 * U), s(3 * U), s(U, P), s(4 * U))
PLAIN = nd4j.RNNWeights(s(F, U), s(U, U), s(2 * U))
SRU = nd4j.SRUWeights(s(U, 3 * U), s(2 * U))
SRU_BI = nd4j.SRUWeights(s(2 * U, 6 * U), s(4 * U))
ROW, STEPS, STATE = s(B, F), s(T, B, F), s(B, U)
RNN = {"x": STEPS, "weights": PLAIN, "h_0": STATE, "max_time_step": s(B)}
RNNS = {
    **{"x": STEPS, "forward": PLAIN, "backward": PLAIN},
    **{"h_0_forward": STATE, "h_0_backward": STATE, "max_time_step": s(B)},
}
OPS = {
    "gru_cell": Op(nd4j.gru_cell, {"x": ROW, "h_last": STATE, "weights": GRU}),
    "gru_layer": Op(
        nd4j.gru_layer,
        {"x": STEPS, "h_last": STATE, "wx": s(F, 3 * U), "wh": s(U, 3 * U), "biases": s(3 * U)},
    ),
    "lstm_cell": Op(
        nd4j.lstm_cell,
        {"x": ROW, "c_last": STATE, "y_last": STATE, "weights": BLOCK},
        {"config": PEEPHOLE},
    ),
    "lstm_block": Op(
        nd4j.lstm_block,
        {"x": STEPS, "c_last": STATE, "y_last": STATE, "weights": BLOCK, "max_ts_length": s(B)},
        {"config": PEEPHOLE},
    ),
    "lstm_layer": Op(
        nd4j.lstm_layer,
        {"x": STEPS, "c_last": STATE, "y_last": STATE, "weights": LAYER, "max_ts_length": s(B)},
    ),
    "lstm_layer-two_directions": Op(
        nd4j.lstm_layer,
        {"x": STEPS, "c_last": s(2, B, U), "y_last": s(2, B, U), "weights": TWO},
        {"config": BOTH},
    ),
    "lstm_layer_cell": Op(
        nd4j.lstm_layer_cell, {"x": ROW, "c_last": STATE, "y_last": STATE, "weights": LAYER}
    ),
    "projection_lstm_cell": Op(
        nd4j.projection_lstm_cell,
        {"x": ROW, "h_last": s(B, P), "c_last": STATE, "weights": PROJECTION},
        {"config": PROJECTING},
    ),
    "projection_lstm": Op(
        nd4j.projection_lstm,
        {"x": STEPS, "h_last": s(B, P), "c_last": STATE, "weights": PROJECTION},
        {"config": PROJECTING},
    ),
    "sru_cell": Op(nd4j.sru_cell, {"x": STATE, "c_last": STATE, "weights": SRU}),
    "sru": Op(nd4j.sru, {"x": s(B, U, T), "initial_c": STATE, "weights": SRU, "mask": STATE}),
    "sru_bi": Op(
        nd4j.sru_bi,
        {
            **{"x": s(T, B, 2 * U), "initial_c": s(B, 2 * U), "mask": s(B, 2 * U)},
            "weights": SRU_BI,
        },
    ),
    "rnn_cell": Op(nd4j.rnn_cell, {"x": ROW, "h_last": STATE, "weights": PLAIN}),
    "static_rnn": Op(nd4j.static_rnn, RNN),
    "dynamic_rnn": Op(nd4j.dynamic_rnn, RNN, {"time_major": True}),
    "static_bidirectional_rnn": Op(nd4j.static_bidirectional_rnn, RNNS),
    "dynamic_bidirectional_rnn": Op(nd4j.dynamic_bidirectional_rnn, RNNS, {"time_major": True}),
}
LENGTHS = ("max_ts_length", "max_time_step")


def is_shape(leaf):
    return isinstance(leaf, S)


def places(op):
    """The path of every array of an op, with its shape."""
    return jax.tree_util.tree_leaves_with_path(op.arrays, is_leaf=is_shape)


def name_of(path):
    """The argument, or the field of the weights."""
    return getattr(path[-1], "name", None) or path[-1].key


def ones(op, **changed):
    """Ones for every array; a shape in `changed` is taken for that path."""

    def array(path, shape):
        return np.ones(changed.get(jax.tree_util.keystr(path), shape), np.float32)

    return jax.tree_util.tree_map_with_path(array, op.arrays, is_leaf=is_shape)


EVERY_ARRAY = [
    pytest.param(name, path, shape, id=f"{name}{jax.tree_util.keystr(path)}")
    for name, op in OPS.items()
    for path, shape in places(op)
]


@pytest.mark.parametrize("name", OPS)
def test_the_shapes_fit(name):
    op = OPS[name]
    jax.eval_shape(functools.partial(op.call, **op.options), **ones(op))


@pytest.mark.parametrize(("name", "path", "shape"), EVERY_ARRAY)
@pytest.mark.parametrize("change", ["wider", "one_axis_more"])
def test_an_array_that_does_not_fit(name, path, shape, change):
    """The message names the op and, of two arrays that disagree, the one or the other."""
    op = OPS[name]
    axis = 1 if (name, name_of(path)) == ("sru", "x") else len(shape) - 1  # the features
    wrong = (*shape[:axis], shape[axis] + 2, *shape[axis + 1 :])
    wrong = wrong if change == "wider" else (*shape, 1)
    with pytest.raises(ValueError, match=f"jrnn.nd4j.{name.split('-')[0]}: ") as failure:
        op.call(**ones(op, **{jax.tree_util.keystr(path): wrong}), **op.options)
    message = str(failure.value)
    assert "need" in message
    given = {name_of(path): shape for path, shape in places(op)}
    named = re.match(r"jrnn.nd4j.\w+: (\w+)", message)[1]
    assert named in given
    if named == name_of(path):
        assert f"shape {wrong}" in message


@pytest.mark.parametrize("name", OPS)
def test_weights_of_another_op(name):
    op = OPS[name]
    for argument, value in op.arrays.items():
        if isinstance(value, S):
            continue
        other = ones(op) | {argument: {}}
        with fails(f"jrnn.nd4j.{name.split('-')[0]}", "dict", type(value).__name__):
            op.call(**other, **op.options)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if {*LENGTHS} & {*op.arrays}])
@pytest.mark.parametrize(("low", "high"), [(-1, T), (0, T + 1)])
def test_lengths_out_of_range(name, low, high):
    op = OPS[name]
    (argument,) = {*LENGTHS} & {*op.arrays}
    lengths = np.array([low, 1, high])
    given = f"{argument} range from {low} to {high}"
    for changed in (lengths, lengths.astype(np.float32)):
        with fails(f"jrnn.nd4j.{name}: {given}", f"{T} steps"):
            op.call(**ones(op) | {argument: changed}, **op.options)


def test_bwd_lengths():
    arrays = ones(OPS["lstm_layer"])
    with fails("lstm_layer: bwd_lengths is 'centre'", "'right'", "'left'"):
        nd4j.lstm_layer(**arrays, bwd_lengths="centre")


FIELDS = ("input_peephole_weights", "forget_peephole_weights", "output_peephole_weights")


@pytest.mark.parametrize(
    ("name", "field", "flag"),
    [
        *((op, field, "peep_hole") for op in ("lstm_cell", "lstm_block") for field in FIELDS),
        *(
            (op, f"{flag}_weights", flag)
            for op in ("projection_lstm_cell", "projection_lstm")
            for flag in ("peephole", "projection")
        ),
    ],
)
def test_weights_that_the_configuration_needs(name, field, flag):
    op = OPS[name]
    arrays = ones(op)
    arrays["weights"] = arrays["weights"]._replace(**{field: None})
    with fails(f"jrnn.nd4j.{name}: {field} is None", flag):
        op.call(**arrays, **op.options)


def test_an_odd_number_of_units_for_two_directions():
    shapes = {"['x']": (T, B, 5), "['initial_c']": (B, 5), "['mask']": (B, 5)}
    with fails("jrnn.nd4j.sru_bi: x has 5 features", "even"):
        nd4j.sru_bi(**ones(OPS["sru_bi"], **shapes))
