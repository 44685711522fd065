"""`nd4j.lstm_cell`, `nd4j.lstm_block` and `nd4j.gru_cell` against numbers TensorFlow recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

from jrnn import nd4j

FILE = Path(__file__).parents[1] / "data" / "nd4j_tensorflow.json"
CASES = json.loads(FILE.read_text())["cases"]
BLOCK_FORMATS = {"TNS": (0, 1, 2), "NST": (1, 2, 0), "NTS": (1, 0, 2)}


def of(op):
    cases = [case for case in CASES if case["op"] == op]
    return pytest.mark.parametrize("case", cases, ids=[json.dumps(c["options"]) for c in cases])


def arrays(case):
    return {name: np.array(values, np.float32) for name, values in case["inputs"].items()}


def results(case):
    return {name: np.array(values, np.float32) for name, values in case["outputs"].items()}


def sequences(case, axes):
    """The results, zeros past the length where TensorFlow wrote nothing: in all but c and y."""
    found, padded = results(case), {}
    for name, sequence in found.items():
        padded[name] = np.zeros_like(found["y"])
        if len(sequence):
            padded[name][: len(sequence)] = sequence
    return {name: np.transpose(sequence, axes) for name, sequence in padded.items()}


def lstm_weights(given, peephole):
    """The peepholes only where they are used: ND4J's op wants them all, and so may a caller."""
    names = ("wci", "wcf", "wco") if peephole else ()
    return nd4j.LSTMWeights(given["w"], *(given[name] for name in names), bias=given["b"])


def configuration(options, **more):
    return nd4j.LSTMConfiguration(
        peep_hole=options["use_peephole"],
        forget_bias=options["forget_bias"],
        clipping_cell_value=options["cell_clip"],
        **more,
    )


def close(ours, outputs):
    """Each of the outputs, by its name, and no others."""
    assert set(ours._fields) == set(outputs)
    for name, theirs in outputs.items():
        np.testing.assert_allclose(
            getattr(ours, name), theirs, rtol=1e-6, atol=1e-6, err_msg=name, strict=True
        )


@of("LSTMBlockCell")
def test_lstm_cell_returns_the_seven_outputs_of_tensorflow(case):
    given, options = arrays(case), case["options"]
    weights = lstm_weights(given, options["use_peephole"])
    config = configuration(options)
    close(
        nd4j.lstm_cell(given["x"], given["cs_prev"], given["h_prev"], weights, config),
        results(case),
    )


@pytest.mark.parametrize("data_format", BLOCK_FORMATS)
@of("BlockLSTM")
def test_lstm_block_returns_the_seven_sequences_of_tensorflow(case, data_format):
    given, options = arrays(case), case["options"]
    axes = BLOCK_FORMATS[data_format]
    ran = nd4j.lstm_block(
        np.transpose(given["x"], axes),
        lstm_weights(given, options["use_peephole"]),
        configuration(options, rnn_data_format=data_format),
        c_last=given["cs_prev"],
        y_last=given["h_prev"],
        max_ts_length=options["seq_len_max"],
    )
    close(ran, sequences(case, axes))


@of("GRUBlockCell")
def test_gru_cell_returns_the_four_outputs_of_tensorflow(case):
    given = arrays(case)
    weights = nd4j.GRUWeights(given["w_ru"], given["w_c"], given["b_ru"], given["b_c"])
    close(nd4j.gru_cell(given["x"], given["h_prev"], weights), results(case))


def test_the_recorded_cases_reach_every_choice():
    """Else a clip, a peephole or a length could go unnoticed."""
    for op in ("LSTMBlockCell", "BlockLSTM"):
        options = [case["options"] for case in CASES if case["op"] == op]
        for name in ("use_peephole", "forget_bias", "cell_clip"):
            assert len({one[name] for one in options}) > 1
    lengths = {case["options"]["seq_len_max"] for case in CASES if case["op"] == "BlockLSTM"}
    assert {0, 3, 5} <= lengths
    clipped = [case for case in CASES if case["options"].get("cell_clip", 0) > 0]
    assert len(clipped) == 4
    for case in clipped:
        clip = np.float32(case["options"]["cell_clip"])
        assert np.abs(results(case)["c"]).max() == clip
