"""Every row of the tables of docs/gate_orders.md against the library that it is about."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import linen, nnx

import jrnn
from tests.docs import gates, gru_libraries, lstm_libraries
from tests.docs.gates import FEATURES, ROWS, STEPS, UNITS
from tests.docs.pages import run_python, table

RECORDED = Path(__file__).parents[1] / "data" / "nd4j_tensorflow.json"
INNER = {"two": "zrh", "one, and the candidate's": "h", "one": ""}


def rows(heading):
    return [gates.row(cells) for cells in table("gate_orders.md", heading)]


def of(heading):
    ours = [row for row in rows(heading) if not row.library.startswith("TensorFlow")]
    return pytest.mark.parametrize("row", ours, ids=[row.library for row in ours])


def normal(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-5)


@of("LSTM")
def test_lstm(row):
    weights = gates.drawn("ifco", 2, inner="ifco" if row.more["biases"] == "two" else "")
    xs, h, c = normal(ROWS, STEPS, FEATURES), normal(ROWS, UNITS), 2 * normal(ROWS, UNITS)
    added = {"Haiku": 1.0, "ND4J `lstmBlock`": 0.7}.get(row.library, 0.0)
    assert ("every step adds" in row.more["forget gate"]) == (added > 0)
    expected = gates.lstm(weights, xs, h, c, added)
    ran = lstm_libraries.LIBRARIES[row.library](row, weights, xs, h, c)
    for ours, theirs in zip(ran, expected, strict=True):
        close(ours, theirs)


@of("GRU")
def test_gru(row):
    weights = gates.drawn("zrh", 3, inner=INNER[row.more["biases"]])
    xs, h = normal(ROWS, STEPS, FEATURES), normal(ROWS, UNITS)
    keeps = {"the old state": True, "the candidate": False}[row.more["the update gate multiplies"]]
    after = {"after": True, "before": False}[row.more["reset"]]
    expected = gates.gru(weights, xs, h, after=after, keeps=keeps)
    close(gru_libraries.LIBRARIES[row.library](row, weights, xs, h), expected)


def recorded(op):
    """The options and the arrays of an op's cases without peephole and clip."""
    for case in json.loads(RECORDED.read_text("utf-8"))["cases"]:
        options = {"use_peephole": False, "cell_clip": 0, **case["options"]}
        if case["op"] == op and not options["use_peephole"] and options["cell_clip"] <= 0:
            arrays = {**case["inputs"], **case["outputs"]}
            yield options, {name: np.array(array) for name, array in arrays.items()}


def test_tensorflow_lstm():
    """Its recorded numbers: weights taken apart as the row says give its outputs."""
    (row,) = (row for row in rows("LSTM") if row.library == "TensorFlow `BlockLSTM`")
    assert row.layout == "[F + U, 4U]"
    cases = list(recorded("LSTMBlockCell"))
    assert cases
    for options, a in cases:
        kernel, recurrent = np.split(a["w"], [a["x"].shape[-1]])
        zero = row.unpacked(np.zeros_like(a["b"]))
        weights = gates.Gates(*map(row.unpacked, (kernel, recurrent, a["b"])), zero)
        state = a["h_prev"], a["cs_prev"]
        _, h, c = gates.lstm(weights, a["x"][:, None], *state, options["forget_bias"])
        close(h, a["y"])
        close(c, a["c"])


def test_tensorflow_gru():
    (row,) = (row for row in rows("GRU") if row.library == "TensorFlow `GRUBlockCell`")
    cases = list(recorded("GRUBlockCell"))
    assert cases
    for _, a in cases:
        both = np.concatenate([a["w_ru"], a["w_c"]], axis=-1)
        bias = np.concatenate([a["b_ru"], a["b_c"]])
        kernel, recurrent = np.split(both, [a["x"].shape[-1]])
        zero = row.unpacked(np.zeros_like(bias))
        weights = gates.Gates(*map(row.unpacked, (kernel, recurrent, bias)), zero)
        after = row.more["reset"] == "after"
        ran = gates.gru(weights, a["x"][:, None], a["h_prev"], after=after, keeps=True)
        close(ran[:, 0], a["h"])


def forget_bias_at_start():
    """What a fresh LSTM of each library has as its forget gate's bias."""
    key, x = jax.random.key(0), jnp.zeros((1, FEATURES))
    layer = keras.layers.LSTM(UNITS)
    layer.build((None, None, FEATURES))
    yield "jrnn", jrnn.LSTMCell().init(key, FEATURES, UNITS).bias[UNITS : 2 * UNITS]
    yield "Keras", layer.get_weights()[2][UNITS : 2 * UNITS]
    for cell in (linen.LSTMCell, linen.OptimizedLSTMCell):
        module = cell(UNITS)
        params = module.init(key, module.initialize_carry(key, x.shape), x)["params"]
        yield f"Flax Linen `{cell.__name__}`", params["hf"]["bias"]
    rngs = nnx.Rngs(0)
    yield "Flax NNX `LSTMCell`", nnx.LSTMCell(FEATURES, UNITS, rngs=rngs).hf.bias[...]
    packed = nnx.OptimizedLSTMCell(FEATURES, UNITS, rngs=rngs).dense_h.bias[...]
    yield "Flax NNX `OptimizedLSTMCell`", packed[UNITS : 2 * UNITS]


def test_forget_bias_starts_as_the_page_says():
    found = {name: f"bias starts at {int(bias[0])}" for name, bias in forget_bias_at_start()}
    said = {row.library: row.more["forget gate"] for row in rows("LSTM")}
    starts = {name for name, text in said.items() if text.startswith("bias starts")}
    assert found == {name: said[name] for name in found}
    assert starts - set(found) == {"DL4J `LSTM`"}  # Java: its bias is in the weights


def test_every_library_has_a_row_and_no_other():
    for heading, libraries in (("LSTM", lstm_libraries), ("GRU", gru_libraries)):
        names = [row.library for row in rows(heading)]
        assert set(names) - set(libraries.LIBRARIES) == {
            {"LSTM": "TensorFlow `BlockLSTM`", "GRU": "TensorFlow `GRUBlockCell`"}[heading]
        }
        assert set(libraries.LIBRARIES) <= set(names)
        assert len({name.split(" ")[0] for name in names}) >= 8


def test_conversions_from_torch():
    from_torch = run_python("gate_orders.md")
    torch = lstm_libraries.torch_or_skip()
    xs = normal(ROWS, STEPS, FEATURES)
    for kind, layer, run in (
        ("lstm", torch.nn.LSTM(FEATURES, UNITS, batch_first=True), jrnn.lstm),
        ("gru", torch.nn.GRU(FEATURES, UNITS, batch_first=True), jrnn.gru),
    ):
        arrays = (one.detach().numpy() for one in layer.parameters())
        params = from_torch[f"{kind}_from_torch"](*arrays)
        close(run(params, xs)[1], layer(torch.tensor(xs))[0].detach().numpy())
