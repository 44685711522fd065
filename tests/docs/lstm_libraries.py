"""Each library's LSTM, run on weights packed as its row of docs/gate_orders.md says.

`run(row, weights, xs, h, c)` returns every output [B, T, U], the last h and the last c.
"""

import equinox
import flax.linen
import haiku
import jax
import jax.experimental.rnn
import jax.numpy as jnp
import keras
import numpy as np
import onnxruntime
import pytest
from flax import nnx
from onnx import TensorProto, helper

import jrnn
from jrnn import nd4j
from tests.docs.gates import FEATURES, UNITS, Gates, Row


def of_jrnn(row: Row, w: Gates, xs, h, c):
    params = jrnn.LSTMParams(row.packed(w.kernel), row.packed(w.recurrent), row.packed(w.bias))
    state, ys = jrnn.lstm(params, xs, initial_state=jrnn.LSTMState(*row.state(h, c)))
    return ys, *row.h_and_c(state)


def of_keras(row: Row, w: Gates, xs, h, c):
    layer = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True)
    layer.build(xs.shape)
    layer.set_weights([row.packed(w.kernel), row.packed(w.recurrent), row.packed(w.bias)])
    ys, *state = layer(xs, initial_state=list(row.state(h, c)))
    return ys, *row.h_and_c(state)


def torch_or_skip():
    """PyTorch, too large for everyone who runs the tests to need it."""
    return pytest.importorskip("torch", reason="PyTorch is in the extra `bench` alone")


def of_torch(row: Row, w: Gates, xs, h, c):
    torch = torch_or_skip()
    layer = torch.nn.LSTM(FEATURES, UNITS, batch_first=True)
    set_torch(layer, row, w)
    state = tuple(torch.tensor(one)[None] for one in row.state(h, c))
    with torch.no_grad():
        ys, state = layer(torch.tensor(xs), state)
    return ys.numpy(), *row.h_and_c([one[0].numpy() for one in state])


def set_torch(layer, row: Row, w: Gates) -> None:
    """Sets the weights of a layer of PyTorch, whose two biases a row must own."""
    assert row.more["biases"] == "two"
    torch = torch_or_skip()
    with torch.no_grad():
        for name in ("kernel", "recurrent", "bias", "inner"):
            own = {"kernel": "weight_ih", "recurrent": "weight_hh", "bias": "bias_ih"}
            array = row.packed(getattr(w, name))
            getattr(layer, f"{own.get(name, 'bias_hh')}_l0").copy_(torch.tensor(array))


def of_cudnn(row: Row, w: Gates, xs, h, c):
    """By the reference that JAX tests its binding of cuDNN with, which runs anywhere."""
    assert row.more["biases"] == "two"
    arrays = [row.packed(one) for one in (w.kernel, w.recurrent, w.bias, w.inner)]
    first, second = row.state(h[None], c[None])
    lengths = jnp.full(len(xs), xs.shape[1], jnp.int32)
    own = ({0: jnp.asarray(array)} for array in arrays)
    ys, *state = jax.experimental.rnn.lstm_ref(
        xs, first, second, *own, lengths, FEATURES, UNITS, 1, 0.0, False
    )
    return ys, *row.h_and_c([one[0] for one in state])


def of_onnx(row: Row, w: Gates, xs, h, c):
    first, second = row.state(h, c)
    inputs = {**onnx_inputs(row, w, xs), "initial_h": first[None], "initial_c": second[None]}
    ys, *state = run_onnx("LSTM", inputs, 3)
    return np.moveaxis(ys[:, 0], 0, 1), *row.h_and_c([one[0] for one in state])


def onnx_inputs(row: Row, w: Gates, xs) -> dict:
    """Time first; the weights lead with one direction; two biases in one row."""
    assert row.more["biases"] == "two"
    biases = np.concatenate([row.packed(w.bias), row.packed(w.inner)])
    kernels = {"W": row.packed(w.kernel)[None], "R": row.packed(w.recurrent)[None]}
    return {"X": np.moveaxis(xs, 1, 0), **kernels, "B": biases[None]}


def run_onnx(operator: str, inputs: dict, outputs: int, **attributes) -> list[np.ndarray]:
    """The outputs of a model of one node; what has no name is the optional `sequence_lens`."""
    names = [*list(inputs)[:4], "", *list(inputs)[4:]]
    results = [f"output{k}" for k in range(outputs)]
    node = helper.make_node(operator, names, results, hidden_size=UNITS, **attributes)
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in inputs.items()
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
    model = helper.make_model(
        helper.make_graph([node], "one", given, made),
        opset_imports=[helper.make_opsetid("", 14)],
        ir_version=8,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {k: np.ascontiguousarray(v, np.float32) for k, v in inputs.items()})


def stepped(step, state, xs):
    """Every output of `step(state, x) -> (state, y)`, and the last state."""
    outputs = []
    for x in np.moveaxis(xs, 1, 0):
        state, y = step(state, x)
        outputs.append(y)
    return np.stack(outputs, 1), state


def of_linen(cell):
    def run(row: Row, w: Gates, xs, h, c):
        params = {}
        for gate, name in row.names("ifco").items():
            params[f"i{name}"] = {"kernel": w.kernel[gate]}
            params[f"h{name}"] = {"kernel": w.recurrent[gate], "bias": w.bias[gate]}
        module = cell(UNITS)
        ys, state = stepped(
            lambda state, x: module.apply({"params": params}, state, x), row.state(h, c), xs
        )
        return ys, *row.h_and_c(state)

    return run


def of_nnx(row: Row, w: Gates, xs, h, c):
    cell = nnx.LSTMCell(FEATURES, UNITS, rngs=nnx.Rngs(0))
    for gate, name in row.names("ifco").items():
        getattr(cell, "if_" if name == "f" else f"i{name}").kernel[...] = w.kernel[gate]
        getattr(cell, f"h{name}").kernel[...] = w.recurrent[gate]
        getattr(cell, f"h{name}").bias[...] = w.bias[gate]
    ys, state = stepped(cell, row.state(h, c), xs)
    return ys, *row.h_and_c(state)


def of_nnx_optimized(row: Row, w: Gates, xs, h, c):
    cell = nnx.OptimizedLSTMCell(FEATURES, UNITS, rngs=nnx.Rngs(0))
    cell.dense_i.kernel[...] = row.packed(w.kernel)
    cell.dense_h.kernel[...] = row.packed(w.recurrent)
    cell.dense_h.bias[...] = row.packed(w.bias)
    ys, state = stepped(cell, row.state(h, c), xs)
    return ys, *row.h_and_c(state)


def of_haiku(row: Row, w: Gates, xs, h, c):
    core = haiku.without_apply_rng(haiku.transform(lambda x, state: haiku.LSTM(UNITS)(x, state)))
    params = {"lstm/linear": {"w": row.one_array(w), "b": row.packed(w.bias)}}
    state = haiku.LSTMState(*row.state(h, c))
    ys, state = stepped(lambda state, x: core.apply(params, x, state)[::-1], state, xs)
    return ys, *row.h_and_c(state)


def of_equinox(row: Row, w: Gates, xs, h, c):
    cell = equinox.nn.LSTMCell(FEATURES, UNITS, key=jax.random.key(0))
    arrays = [row.packed(one) for one in (w.kernel, w.recurrent, w.bias)]
    cell = equinox.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias), cell, arrays)
    step = jax.vmap(lambda state, x: cell(x, state))

    def with_output(state, x):
        state = step(state, x)
        return state, row.h_and_c(state)[0]

    ys, state = stepped(with_output, row.state(h, c), xs)
    return ys, *row.h_and_c(state)


def of_lstm_block(row: Row, w: Gates, xs, h, c):
    weights = nd4j.LSTMWeights(row.one_array(w), bias=row.packed(w.bias))
    config = nd4j.LSTMConfiguration(peep_hole=False, forget_bias=0.7)

    def step(state, x):  # the cell before the output, among arguments and results
        done = nd4j.lstm_cell(x, *state, weights, config)
        return tuple(getattr(done, name) for name in done._fields if name in "cy"), done.y

    ys, state = stepped(step, row.state(h, c), xs)
    return ys, *row.h_and_c(state)


def of_lstm_layer(row: Row, w: Gates, xs, h, c):
    weights = nd4j.LSTMLayerWeights(
        row.packed(w.kernel), row.packed(w.recurrent), row.packed(w.bias)
    )
    config = nd4j.LSTMLayerConfig("NTS", ret_last_h=True, ret_last_c=True)
    ys, *state = nd4j.lstm_layer(xs, weights, config, c_last=c, y_last=h)
    return ys, *row.h_and_c(state)


def of_dl4j(row: Row, w: Gates, xs, h, c):
    arrays = [row.packed(one) for one in (w.kernel, w.recurrent, w.bias)]
    state, ys = nd4j.dl4j_lstm(
        nd4j.DL4JLSTMWeights(*arrays),
        np.swapaxes(xs, 1, 2),
        initial_state=jrnn.LSTMState(*row.state(h, c)),
    )
    return np.swapaxes(ys, 1, 2), *row.h_and_c(state)


LIBRARIES = {
    "jrnn": of_jrnn,
    "Keras": of_keras,
    "PyTorch": of_torch,
    "cuDNN": of_cudnn,
    "ONNX": of_onnx,
    "Flax Linen `LSTMCell`": of_linen(flax.linen.LSTMCell),
    "Flax Linen `OptimizedLSTMCell`": of_linen(flax.linen.OptimizedLSTMCell),
    "Flax NNX `LSTMCell`": of_nnx,
    "Flax NNX `OptimizedLSTMCell`": of_nnx_optimized,
    "Haiku": of_haiku,
    "Equinox": of_equinox,
    "ND4J `lstmBlock`": of_lstm_block,
    "ND4J `lstmLayer`": of_lstm_layer,
    "DL4J `LSTM`": of_dl4j,
}
