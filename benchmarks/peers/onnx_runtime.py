"""ONNX Runtime's LSTM, GRU and RNN operators: forward only, time-major (``layout=0``).

Weights are constants of the graph, as in every exported model.
"""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cases import Case
from benchmarks.data import Data, Weights
from benchmarks.peers.base import CORES, Peer, Prepared, UnsupportedError, result_arrays
from benchmarks.peers.gates import KERAS_ORDER, reorder

OPERATORS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "RNN"}
ORDER = {"lstm": "iofg", "gru": "zrn", "simple_rnn": "h"}
OPSET = 14


class OnnxRuntime(Peer):
    """One operator for each layer, both directions in one."""

    def prepare(self, case: Case, data: Data) -> Prepared:
        if case.mode != "forward":
            raise UnsupportedError("forward only")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = CORES
        session = onnxruntime.InferenceSession(
            model(case, data).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feed = {"xs": data.xs}
        if data.lengths is not None:
            feed["lengths"] = data.lengths

        def call():
            return session.run(None, feed)

        def results():
            outputs, *hidden = call()
            return result_arrays(outputs, [state for layer in hidden for state in layer])

        return Prepared(call, results)


def model(case: Case, data: Data) -> onnx.ModelProto:
    """Returns the network as an ONNX model with outputs ``ys`` and each layer's last states."""
    T, B, F = data.xs.shape
    width = case.directions * case.shape.U
    nodes, constants, outputs = [], [], []
    lengths = "lengths" if data.lengths is not None else ""
    above = "xs"
    constants.append(numpy_helper.from_array(np.array([T, B, width], np.int64), "flat_shape"))
    for i, layer in enumerate(data.layers):
        packed = [onnx_weights(case.cell, weights) for weights in layer]
        for k, name in enumerate(("W", "R", "B")):
            array = np.ascontiguousarray(np.stack([arrays[k] for arrays in packed]))
            constants.append(numpy_helper.from_array(array, f"{name}{i}"))
        nodes += [
            helper.make_node(
                OPERATORS[case.cell],
                [above, f"W{i}", f"R{i}", f"B{i}", lengths],
                [f"all{i}", f"hidden{i}"],
                hidden_size=case.shape.U,
                direction="bidirectional" if case.directions == 2 else "forward",
                **({"linear_before_reset": 1} if case.cell == "gru" else {}),
            ),
            # [T, directions, B, U] -> [T, B, directions * U]
            helper.make_node("Transpose", [f"all{i}"], [f"beside{i}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"beside{i}", "flat_shape"], [f"ys{i}"]),
        ]
        above = f"ys{i}"
        outputs.append(_value(f"hidden{i}", [case.directions, B, case.shape.U]))
    inputs = [_value("xs", [T, B, F])]
    if lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [B]))
    graph = helper.make_graph(
        nodes, "network", inputs, [_value(above, [T, B, width]), *outputs], constants
    )
    # IR 8 is what opset 14's time wrote: every runtime since reads it.
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def _value(name: str, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def onnx_weights(cell: str, weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns W [gates * U, F], R [gates * U, U] and both biases in one row [2 * gates * U]."""
    own = {k: reorder(a, KERAS_ORDER[cell], ORDER[cell]) for k, a in weights.items()}
    bias = own["bias"]
    pair = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    return own["kernel"].T, own["recurrent_kernel"].T, pair.ravel()
