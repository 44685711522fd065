"""Writes ``nd4j_tensorflow.json``: what TensorFlow's fused recurrent ops return for random numbers.

The file was written by TensorFlow 2.15.1 on CPU::

    python tests/data/nd4j_tensorflow.py

ND4J's ``lstmBlockCell``, ``lstmBlock`` and ``gruCell`` are these ops over again: same gate orders,
same arguments, same outputs. Every array is float32, kept as the shortest decimals that name it.
"""

import json
import os
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf

FILE = Path(__file__).with_suffix(".json")
ROWS, STEPS, FEATURES, UNITS = 2, 5, 3, 4
LSTM_OUTPUTS = "i", "c", "f", "o", "z", "h", "y"  # ND4J's names, in TensorFlow's order
GRU_OUTPUTS = "r", "u", "c", "h"

# A clip of 0 or below is none; one of 0.35 meets cells in every case.
LSTM_OPTIONS = [
    {"use_peephole": False, "forget_bias": 0.0, "cell_clip": 0.0},
    {"use_peephole": True, "forget_bias": 1.0, "cell_clip": -1.0},
    {"use_peephole": False, "forget_bias": 0.5, "cell_clip": 0.35},
    {"use_peephole": True, "forget_bias": -0.7, "cell_clip": 0.35},
]
BLOCKS = (0, STEPS), (1, 3), (2, STEPS), (3, 4), (1, 0)  # of BlockLSTM: which options, length
GRU_CASES = 3


def main():
    """Runs every case and writes the file."""
    rng = np.random.default_rng(20)
    cases = [lstm_cell(rng, options) for options in LSTM_OPTIONS]
    cases += [lstm_block(rng, LSTM_OPTIONS[i], length) for i, length in BLOCKS]
    cases += [gru_cell(rng) for _ in range(GRU_CASES)]
    lines = ",\n".join(json.dumps(case) for case in cases)
    FILE.write_text(f'{{"tensorflow": "{tf.__version__}", "cases": [\n{lines}\n]}}\n')


def lstm_cell(rng, options):
    """One step of an LSTM."""
    inputs = {"x": drawn(rng, ROWS, FEATURES), **lstm_arrays(rng)}
    outputs = tf.raw_ops.LSTMBlockCell(**inputs, **options)
    return case("LSTMBlockCell", inputs, options, LSTM_OUTPUTS, outputs)


def lstm_block(rng, options, length):
    """A sequence [T, B, I], of which only the first steps count.

    TensorFlow zeroes what is past them in the cells and the outputs alone; in the other arrays it
    leaves what the memory held, which is cut off here.
    """
    inputs = {"x": drawn(rng, STEPS, ROWS, FEATURES), **lstm_arrays(rng)}
    outputs = tf.raw_ops.BlockLSTM(seq_len_max=np.int64(length), **inputs, **options)
    outputs = [
        sequence if name in ("c", "y") else sequence[:length]
        for name, sequence in zip(LSTM_OUTPUTS, outputs, strict=True)
    ]
    options = {**options, "seq_len_max": length}
    return case("BlockLSTM", inputs, options, LSTM_OUTPUTS, outputs)


def gru_cell(rng):
    """One step of a GRU."""
    inputs = {
        "x": drawn(rng, ROWS, FEATURES),
        "h_prev": drawn(rng, ROWS, UNITS),
        "w_ru": drawn(rng, FEATURES + UNITS, 2 * UNITS),
        "w_c": drawn(rng, FEATURES + UNITS, UNITS),
        "b_ru": drawn(rng, 2 * UNITS),
        "b_c": drawn(rng, UNITS),
    }
    return case("GRUBlockCell", inputs, {}, GRU_OUTPUTS, tf.raw_ops.GRUBlockCell(**inputs))


def lstm_arrays(rng):
    """The states and the weights of an LSTM."""
    return {
        "cs_prev": drawn(rng, ROWS, UNITS),
        "h_prev": drawn(rng, ROWS, UNITS),
        "w": drawn(rng, FEATURES + UNITS, 4 * UNITS),
        "wci": drawn(rng, UNITS),
        "wcf": drawn(rng, UNITS),
        "wco": drawn(rng, UNITS),
        "b": drawn(rng, 4 * UNITS),
    }


def drawn(rng, *shape):
    """Normal numbers, of few decimals to keep the file small."""
    return rng.normal(0, 0.7, shape).round(3).astype(np.float32)


def case(op, inputs, options, names, outputs):
    """One case as JSON holds it."""
    return {
        "op": op,
        "options": options,
        "inputs": {name: plain(array) for name, array in inputs.items()},
        "outputs": {name: plain(array.numpy()) for name, array in zip(names, outputs, strict=True)},
    }


def plain(array):
    """Nested lists of the shortest decimals that read back as the same float32."""
    if array.ndim == 0:
        return float(np.format_float_positional(array, unique=True))
    return [plain(one) for one in array]


if __name__ == "__main__":
    main()
