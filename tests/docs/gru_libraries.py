"""Each library's GRU, run on weights packed as its row of docs/gate_orders.md says.

`run(row, weights, xs, h)` returns every output [B, T, U].
"""

import equinox
import flax.linen
import haiku
import jax
import keras
import numpy as np
from flax import nnx

import jrnn
from jrnn import nd4j
from tests.docs.gates import FEATURES, UNITS, Gates, Row
from tests.docs.lstm_libraries import onnx_inputs, run_onnx, set_torch, stepped, torch_or_skip


def biases(row: Row, w: Gates) -> np.ndarray:
    """Two rows or one, as jrnn and Keras have them."""
    outer = row.packed(w.bias)
    return np.stack([outer, row.packed(w.inner)]) if row.more["biases"] == "two" else outer


def of_jrnn(row: Row, w: Gates, xs, h):
    cell = jrnn.GRUCell(reset_after=row.more["reset"] == "after")
    params = jrnn.GRUParams(row.packed(w.kernel), row.packed(w.recurrent), biases(row, w))
    return jrnn.gru(params, xs, cell=cell, initial_state=jrnn.GRUState(h))[1]


def of_keras(row: Row, w: Gates, xs, h):
    reset_after = row.more["reset"] == "after"
    layer = keras.layers.GRU(UNITS, return_sequences=True, reset_after=reset_after)
    layer.build(xs.shape)
    layer.set_weights([row.packed(w.kernel), row.packed(w.recurrent), biases(row, w)])
    return layer(xs, initial_state=h)


def of_torch(row: Row, w: Gates, xs, h):
    torch = torch_or_skip()
    layer = torch.nn.GRU(FEATURES, UNITS, batch_first=True)
    set_torch(layer, row, w)
    with torch.no_grad():
        return layer(torch.tensor(xs), torch.tensor(h)[None])[0].numpy()


def of_onnx(row: Row, w: Gates, xs, h):
    after = int(row.more["reset"] == "after")
    assert f"linear_before_reset={after}" in row.library
    inputs = {**onnx_inputs(row, w, xs), "initial_h": h[None]}
    ys, _ = run_onnx("GRU", inputs, 2, linear_before_reset=after)
    return np.moveaxis(ys[:, 0], 0, 1)


def of_linen(row: Row, w: Gates, xs, h):
    assert row.more["biases"] == "one, and the candidate's"
    params = {}
    for gate, name in row.names("zrh").items():
        params[f"i{name}"] = {"kernel": w.kernel[gate], "bias": w.bias[gate]}
        params[f"h{name}"] = {"kernel": w.recurrent[gate]}
    params[f"h{row.names('zrh')['h']}"]["bias"] = w.inner["h"]
    module = flax.linen.GRUCell(UNITS)
    return stepped(lambda state, x: module.apply({"params": params}, state, x), h, xs)[0]


def of_nnx(row: Row, w: Gates, xs, h):
    cell = nnx.GRUCell(FEATURES, UNITS, rngs=nnx.Rngs(0))
    cell.dense_i.kernel[...] = row.packed(w.kernel)
    cell.dense_i.bias[...] = row.packed(w.bias)
    cell.dense_h.kernel[...] = row.packed(w.recurrent)
    return stepped(cell, h, xs)[0]


def of_haiku(row: Row, w: Gates, xs, h):
    core = haiku.without_apply_rng(haiku.transform(lambda x, state: haiku.GRU(UNITS)(x, state)))
    arrays = {"w_i": row.packed(w.kernel), "w_h": row.packed(w.recurrent), "b": row.packed(w.bias)}
    return stepped(lambda state, x: core.apply({"gru": arrays}, x, state)[::-1], h, xs)[0]


def of_equinox(row: Row, w: Gates, xs, h):
    assert row.more["biases"] == "one, and the candidate's"
    cell = equinox.nn.GRUCell(FEATURES, UNITS, key=jax.random.key(0))
    arrays = [row.packed(one) for one in (w.kernel, w.recurrent, w.bias)] + [w.inner["h"]]
    cell = equinox.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n), cell, arrays)
    step = jax.vmap(lambda state, x: (cell(x, state),) * 2)
    return stepped(step, h, xs)[0]


def of_gru_cell(row: Row, w: Gates, xs, h):
    assert row.order[-1] == "h"
    both, bias, gates = row.one_array(w), row.packed(w.bias), 2 * UNITS
    weights = nd4j.GRUWeights(both[:, :gates], both[:, gates:], bias[:gates], bias[gates:])
    return stepped(lambda state, x: (nd4j.gru_cell(x, state, weights).h,) * 2, h, xs)[0]


def of_gru_layer(row: Row, w: Gates, xs, h):
    arrays = (row.packed(one) for one in (w.kernel, w.recurrent, w.bias))
    return np.moveaxis(nd4j.gru_layer(np.moveaxis(xs, 1, 0), h, *arrays), 0, 1)


LIBRARIES = {
    "jrnn": of_jrnn,
    "jrnn `reset_after=False`": of_jrnn,
    "Keras": of_keras,
    "Keras `reset_after=False`": of_keras,
    "PyTorch": of_torch,
    "ONNX `linear_before_reset=1`": of_onnx,
    "ONNX `linear_before_reset=0`": of_onnx,
    "Flax Linen": of_linen,
    "Flax NNX": of_nnx,
    "Haiku": of_haiku,
    "Equinox": of_equinox,
    "ND4J `gruCell`": of_gru_cell,
    "ND4J `gru`": of_gru_layer,
}
