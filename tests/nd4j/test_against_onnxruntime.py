"""`nd4j.lstm_layer` and `nd4j.gru_layer` against ONNX Runtime, which runs in the same process.

ONNX Runtime knows all eleven activations. It computes in float32 alone, has no clip that does as
ND4J's does (it clips what the gates take), and no `BWD` that starts at a short row's last column.
"""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from jrnn import nd4j
from tests.nd4j import onnx_oracle
from tests.nd4j.onnx_oracle import ACTIVATIONS, Activation

T, B, I, N = 5, 4, 3, 2  # noqa: E741
LENGTHS = [3, 5, 0, 1]

DIRECTIONS = {
    "FWD": "forward",
    "BWD": "reverse",
    "BIDIR_SUM": "bidirectional",
    "BIDIR_CONCAT": "bidirectional",
    "BIDIR_EXTRA_DIM": "bidirectional",
}
# Where [T, B, I] goes; every direction is run in one format, every format in some direction.
FORMATS = {"TNS": (0, 1, 2), "NTS": (1, 0, 2), "NST": (1, 2, 0), "T2NS": (0, 1, 2)}
FORMAT_OF = {
    "FWD": "NST",
    "BWD": "NTS",
    "BIDIR_SUM": "TNS",
    "BIDIR_CONCAT": "NST",
    "BIDIR_EXTRA_DIM": "T2NS",
}
OPTIONS = {
    "bias alone": (),
    "initial h": ("h",),
    "initial c, no bias": ("c", "no bias"),
    "lengths": ("lengths",),
    "everything": ("lengths", "h", "c", "peephole"),
}


class Draw(NamedTuple):
    """Arrays for one layer; all but xs lead with the directions' axis."""

    xs: np.ndarray
    wx: np.ndarray
    wr: np.ndarray
    bias: np.ndarray
    peephole: np.ndarray
    h: np.ndarray
    c: np.ndarray


def draw(directions):
    rng = np.random.default_rng(7)

    def normal(*shape):
        return rng.normal(0, 0.6, shape).astype(np.float32)

    D = directions
    return Draw(
        normal(T, B, I),
        normal(D, I, 4 * N),
        normal(D, N, 4 * N),
        normal(D, 4 * N),
        normal(D, 3 * N),
        normal(D, B, N),
        normal(D, B, N),
    )


def expected_sequence(mode, y):
    """What ND4J makes of [T, D, B, n], time-major."""
    return {
        "FWD": lambda: y[:, 0],
        "BWD": lambda: y[:, 0],
        "BIDIR_SUM": lambda: y[:, 0] + y[:, 1],
        "BIDIR_CONCAT": lambda: np.concatenate([y[:, 0], y[:, 1]], axis=-1),
        "BIDIR_EXTRA_DIM": lambda: y,
    }[mode]()


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("mode", DIRECTIONS)
def test_lstm_layer_in_every_direction_is_the_lstm_of_onnx(mode, options):
    data = draw(2 if "BIDIR" in mode else 1)
    bias = None if "no bias" in options else data.bias
    given = {name: getattr(data, name) for name in ("h", "c", "peephole") if name in options}
    lengths = LENGTHS if "lengths" in options else None
    theirs = onnx_oracle.lstm(
        DIRECTIONS[mode], data.xs, data.wx, data.wr, bias, lengths=lengths, **given
    )

    def one_way(array):  # the axis of directions, which ND4J has only where there are two
        return array if array is None or "BIDIR" in mode else array[0]

    axes = FORMATS[FORMAT_OF[mode]]
    weights = nd4j.LSTMLayerWeights(
        one_way(data.wx), one_way(data.wr), one_way(bias), one_way(given.get("peephole"))
    )
    config = nd4j.LSTMLayerConfig(
        FORMAT_OF[mode], mode, ret_full_sequence=True, ret_last_h=True, ret_last_c=True
    )
    h, last_h, last_c = nd4j.lstm_layer(
        np.transpose(data.xs, axes),
        weights,
        config,
        c_last=one_way(given.get("c")),
        y_last=one_way(given.get("h")),
        max_ts_length=lengths,
        bwd_lengths="left",  # as ONNX's `reverse`
    )
    sequence = expected_sequence(mode, theirs.y)
    close(h, sequence if mode == "BIDIR_EXTRA_DIM" else np.transpose(sequence, axes))
    close(last_h, one_way(theirs.y_h))
    close(last_c, one_way(theirs.y_c))


def test_the_directions_differ_and_rows_of_no_steps_are_zero():
    """Else the cases above could not tell one direction from the other, or state from zero."""
    data = draw(2)
    ran = onnx_oracle.lstm(
        "bidirectional", *data[:4], peephole=data.peephole, lengths=LENGTHS, h=data.h, c=data.c
    )
    assert np.abs(ran.y[0, 0, 0] - ran.y[0, 1, 0]).max() > 0.05
    empty = LENGTHS.index(0)
    assert not ran.y[:, :, empty].any()
    assert not ran.y_h[:, empty].any()
    assert not ran.y_c[:, empty].any()


NAMES = list(ACTIVATIONS)


def activation_at(k):
    """The k-th activation, round and round, with a nonzero alpha and beta where it takes one."""
    k %= len(NAMES)
    taken = "" if NAMES[k] == "HARD_SIGMOID" else ACTIVATIONS[NAMES[k]][1]  # fixed in ND4J
    alpha, beta = 0.25 + 0.03 * k, 0.8 - 0.03 * k
    return Activation(NAMES[k], alpha if "a" in taken else 0.0, beta if "b" in taken else 0.0)


@pytest.mark.parametrize("k", range(len(NAMES)), ids=NAMES)
def test_every_activation_in_every_place_is_that_of_onnx(k):
    """The k-th for the gates; over all k, each for the block's input and the output as well."""
    gate, cell, out = activation_at(k), activation_at(k + 4), activation_at(k + 7)
    data = draw(1)
    # Many gates beyond the thresholds, and what is not bounded not far from them.
    weights = nd4j.LSTMLayerWeights(data.wx / 2, data.wr / 2, 0.3 + np.abs(data.bias) / 2)
    theirs = onnx_oracle.lstm("forward", data.xs, *weights[:3], activations=(gate, cell, out))
    config = nd4j.LSTMLayerConfig(
        gate_act=gate.name,
        cell_act=cell.name,
        out_act=out.name,
        ret_last_c=True,
        gate_alpha=gate.alpha,
        gate_beta=gate.beta,
        cell_alpha=cell.alpha,
        cell_beta=cell.beta,
        out_alpha=out.alpha,
        out_beta=out.beta,
    )
    one_way = nd4j.LSTMLayerWeights(*(array[0] for array in weights[:3]))
    h, last_c = nd4j.lstm_layer(data.xs, one_way, config)
    close(h, theirs.y[:, 0])
    close(last_c, theirs.y_c[0])
    assert np.mean(theirs.y != 0) > 0.2


def test_gru_layer_is_the_gru_of_onnx_that_resets_after_the_product():
    rng = np.random.default_rng(3)
    xs, wx, wr, bias, h = (
        rng.normal(0, 0.8, shape).astype(np.float32)
        for shape in ((T, B, I), (I, 3 * N), (N, 3 * N), (3 * N,), (B, N))
    )
    theirs = onnx_oracle.gru(xs, wx, wr, bias, h)
    close(nd4j.gru_layer(xs, h, wx, wr, bias), theirs)
    close(jax.jit(nd4j.gru_layer)(xs, h, wx, wr, bias), theirs)
