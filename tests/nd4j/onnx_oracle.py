"""ONNX Runtime's LSTM and GRU, called with arrays in ND4J's layout: a model of one node, float32.

ONNX packs gates as rows i, o, f, c (LSTM) and z, r, h (GRU), one set for each direction, with a
second bias for the recurrent product that stays zero here.
"""

import functools
from typing import NamedTuple

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.peers.gates import reorder

OPSET = 14
LSTM_GATES = "ifgo", "iofg"  # ND4J's order, ONNX's
PEEPHOLES = "ifo", "iof"
GRU_GATES = "ruc", "urc"  # what ND4J calls u is ONNX's z

# ONNX's name, by ND4J's, and which of alpha and beta it takes. ND4J's hard sigmoid is fixed at
# the values that ONNX's has by default.
ACTIVATIONS = {
    "TANH": ("Tanh", ""),
    "RELU": ("Relu", ""),
    "SIGMOID": ("Sigmoid", ""),
    "AFFINE": ("Affine", "ab"),
    "LEAKY_RELU": ("LeakyRelu", "a"),
    "THRESHOLDED_RELU": ("ThresholdedRelu", "a"),
    "SCALED_TANH": ("ScaledTanh", "ab"),
    "HARD_SIGMOID": ("HardSigmoid", "ab"),
    "ELU": ("Elu", "a"),
    "SOFTSIGN": ("Softsign", ""),
    "SOFTPLUS": ("Softplus", ""),
}
HARD_SIGMOID = 0.2, 0.5


class Activation(NamedTuple):
    """One activation by ND4J's name."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


class LSTMResult(NamedTuple):
    """What ONNX's LSTM puts out: every step's output, and the last output and cell."""

    y: np.ndarray  # [T, D, B, n]
    y_h: np.ndarray  # [D, B, n]
    y_c: np.ndarray  # [D, B, n]


DEFAULTS = Activation("SIGMOID"), Activation("TANH"), Activation("TANH")


def lstm(
    direction, xs, wx, wr, bias, *, peephole=None, lengths=None, h=None, c=None, activations=None
) -> LSTMResult:
    """Runs xs [T, B, I] with weights that lead with the directions' axis, 1 or 2, as h and c do.

    `activations` are those of the gates, of the block's input and of the cell's output.
    """
    inputs = {
        "X": xs,
        "W": rows(wx, *LSTM_GATES),
        "R": rows(wr, *LSTM_GATES),
        "B": with_recurrent_bias(bias, *LSTM_GATES),
        "sequence_lens": None if lengths is None else np.asarray(lengths, np.int32),
        "initial_h": h,
        "initial_c": c,
        "P": None if peephole is None else reorder(peephole, *PEEPHOLES),
    }
    return LSTMResult(
        *run("LSTM", 3, direction, inputs, wr.shape[1], (activations or DEFAULTS) * len(wx))
    )


def gru(xs, wx, wr, bias, h) -> np.ndarray:
    """Runs xs [T, B, I] forward with ND4J's weights [I, 3n], [n, 3n], [3n]: every output."""
    inputs = {
        "X": xs,
        "W": rows(wx[None], *GRU_GATES),
        "R": rows(wr[None], *GRU_GATES),
        "B": with_recurrent_bias(bias[None], *GRU_GATES),
        "sequence_lens": None,
        "initial_h": h[None],
    }
    activations = (Activation("SIGMOID"), Activation("TANH"))
    y, _ = run("GRU", 2, "forward", inputs, len(wr), activations, linear_before_reset=1)
    return y[:, 0]


def rows(kernel, given, wanted):
    """The kernel [D, F, gates * n] as rows [D, gates * n, F]."""
    return np.ascontiguousarray(np.swapaxes(reorder(kernel, given, wanted), 1, 2))


def with_recurrent_bias(bias, given, wanted):
    """The bias [D, gates * n] and zeros for the recurrent one; none at all for None."""
    if bias is None:
        return None
    own = reorder(bias, given, wanted)
    return np.concatenate([own, np.zeros_like(own)], axis=-1)


def run(operator, outputs, direction, inputs, units, activations, **attributes):
    """The node's outputs; an input that is None is left out."""
    given = {name: array for name, array in inputs.items() if array is not None}
    described = tuple((name, array.dtype.str, array.ndim) for name, array in given.items())
    names = tuple(name if name in given else "" for name in inputs)
    key = operator, outputs, direction, names, described, units, activations
    return session(*key, **attributes).run(None, given)


@functools.cache
def session(operator, outputs, direction, names, described, units, activations, **attributes):
    """The model of one node, ready to run."""
    results = [f"output{i}" for i in range(outputs)]
    taken = {name: values for name, values in constants(activations).items() if values}
    node = helper.make_node(
        operator,
        names,
        results,
        hidden_size=units,
        direction=direction,
        activations=[ACTIVATIONS[one.name][0] for one in activations],
        **taken,
        **attributes,
    )
    kinds = {"<f4": TensorProto.FLOAT, "<i4": TensorProto.INT32}
    values = [
        helper.make_tensor_value_info(name, kinds[dtype], [None] * ndim)
        for name, dtype, ndim in described
    ]
    wanted = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    model = helper.make_model(
        helper.make_graph([node], "one node", values, wanted),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,  # what this opset's time wrote
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def constants(activations) -> dict[str, list[float]]:
    """The alphas and the betas in order, each only of the activations that take one."""
    found = {"activation_alpha": [], "activation_beta": []}
    for one in activations:
        values = HARD_SIGMOID if one.name == "HARD_SIGMOID" else (one.alpha, one.beta)
        for attribute, letter, value in zip(found, "ab", values, strict=True):
            if letter in ACTIVATIONS[one.name][1]:
                found[attribute].append(value)
    return found
