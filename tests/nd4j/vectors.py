"""How a case of ``nd4j_vectors.json`` is run: its arrays, its attributes, the op by its name."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jrnn import nd4j

DATA = Path(__file__).parents[1] / "data" / "nd4j_vectors.json"
CASES = json.loads(DATA.read_text())["cases"]


def filled(entry):
    """The array that an entry describes, in float64."""
    if "values" in entry:
        return np.array(entry["values"], np.float64).reshape(entry["shape"])
    ((kind, fill),) = entry["fill"].items()
    k = np.arange(np.prod(entry["shape"])).reshape(entry["shape"])
    if kind == "constant":
        return np.full(entry["shape"], float(fill))
    if kind == "linspace":
        return fill["start"] + fill["step"] * k
    if kind == "sin":
        return fill["amp"] * np.sin(fill["freq"] * k + fill["phase"])
    assert kind == "per_dim0"
    values = np.array([float(fill[str(index)]) for index in range(len(k))])
    return np.zeros(k.shape) + values.reshape(-1, *[1] * (k.ndim - 1))


def inputs_of(case):
    """The inputs of a case as JAX arrays of the types it names."""
    named = {"double": "float64", "int": "int32"}
    return {
        name: jnp.asarray(filled(entry).astype(named.get(entry["dtype"], entry["dtype"])))
        for name, entry in case["inputs"].items()
    }


# One function for each op: its inputs and attributes by upstream's names, its outputs by those too.


def lstm_layer_weights(x):
    return nd4j.LSTMLayerWeights(x["Wx"], x["Wr"], x.get("b"), x.get("Wp"))


def lstm_layer_options(attrs):
    places = ("gateAct", "cellAct", "outAct")
    options = {name[:-3] + "_act": attrs[name] for name in places}
    for place in ("gate", "cell", "out"):
        for constant in ("Alpha", "Beta"):
            if place + constant in attrs:
                options[f"{place}_{constant.lower()}"] = attrs[place + constant]
    return {**options, "cell_clip": attrs["cellClip"]}


def lstm_layer(x, attrs):
    asked = {
        "h": attrs["retFullSeq"],
        "hL": attrs["retLastH"],
        "cL": attrs["retLastC"],
    }
    config = nd4j.LSTMLayerConfig(
        lstm_data_format=attrs["dataFormat"],
        lstm_direction_mode=attrs["directionMode"],
        ret_full_sequence=asked["h"],
        ret_last_h=asked["hL"],
        ret_last_c=asked["cL"],
        **lstm_layer_options(attrs),
    )
    states = {"y_last": x.get("hI"), "c_last": x.get("cI"), "max_ts_length": x.get("seqLen")}
    outputs = nd4j.lstm_layer(x["x"], lstm_layer_weights(x), config, **states)
    return dict(zip([name for name, wanted in asked.items() if wanted], outputs, strict=True))


def lstm_layer_cell(x, attrs):
    config = nd4j.LSTMLayerConfig(**lstm_layer_options(attrs))
    states = {"y_last": x["hI"], "c_last": x["cI"]}
    return nd4j.lstm_layer_cell(x["x"], lstm_layer_weights(x), config, **states)._asdict()


def block_problem(x, attrs):
    """The weights and the config of `lstm_cell` and `lstm_block`."""
    config = nd4j.LSTMConfiguration(
        rnn_data_format=attrs.get("dataFormat", "TNS"),
        peep_hole=attrs["peephole"],
        forget_bias=attrs["forgetBias"],
        clipping_cell_value=attrs["clippingCellValue"],
    )
    return nd4j.LSTMWeights(x["W"], x["Wci"], x["Wcf"], x["Wco"], x["b"]), config


def lstm_block_cell(x, attrs):
    weights, config = block_problem(x, attrs)
    return nd4j.lstm_cell(x["x"], x["cLast"], x["yLast"], weights, config)._asdict()


def lstm_block(x, attrs):
    weights, config = block_problem(x, attrs)
    states = {"c_last": x["cLast"], "y_last": x["yLast"], "max_ts_length": x["maxTSLength"]}
    return nd4j.lstm_block(x["x"], weights, config, **states)._asdict()


def projection_problem(x, attrs):
    weights = nd4j.ProjectionLSTMWeights(
        input_weights=x["Wx"],
        recurrent_weights=x["Wh"],
        peephole_weights=x["Wc"],
        projection_weights=x["Wp"],
        biases=x["b"],
    )
    config = nd4j.ProjectionLSTMConfig(
        peephole=attrs["peephole"],
        projection=attrs["projection"],
        clipping_cell_value=attrs["clippingCellValue"],
        clipping_proj_value=attrs["clippingProjValue"],
        forget_bias=attrs["forgetBias"],
    )
    return weights, config


def lstm_cell(x, attrs):
    weights, config = projection_problem(x, attrs)
    h, c = nd4j.projection_lstm_cell(x["xt"], x["ht_1"], x["ct_1"], weights, config)
    return {"ht": h, "ct": c}


def lstm(x, attrs):
    weights, config = projection_problem(x, attrs)
    h, c = nd4j.projection_lstm(x["x"], x["h0"], x["c0"], weights, config)
    return {"h": h, "c_last_step": c[-1:]}


def gru_cell(x, attrs):
    weights = nd4j.GRUWeights(x["Wru"], x["Wc"], x["bru"], x["bc"])
    return nd4j.gru_cell(x["xt"], x["ht_1"], weights)._asdict()


def gru(x, attrs):
    return {"h": nd4j.gru_layer(x["x"], x["hI"], x["Wx"], x["Wh"], x["b"])}


def sru_cell(x, attrs):
    h, c = nd4j.sru_cell(x["xt"], x["ct_1"], nd4j.SRUWeights(x["w"], x["b"]))
    return {"ht": h, "ct": c}


def sru_of(op):
    def run(x, attrs):
        weights = nd4j.SRUWeights(x["weights"], x["bias"])
        return op(x["input"], x["init"], weights, mask=x["mask"])._asdict()

    return run


def sru_bp(x, attrs):
    """The gradients of `sru`, taken at the cells `state`, which are not those `sru` comes to."""

    def row(x, weights, bias, c, mask, state):
        hs, both = [], nd4j.SRUWeights(weights, bias)
        for t in range(x.shape[-1]):
            step = nd4j.sru(x[None, :, t : t + 1], c[None], both, mask=mask[None])
            h, new_c = step.h[0, :, 0], step.c[0, :, 0]
            x_t = mask * x[:, t]
            r = (h - x_t) / (jnp.tanh(new_c) - x_t)  # for h = r * tanh(c) + (1 - r) * x
            c = new_c + lax.stop_gradient(state[:, t] - new_c)
            hs.append(r * jnp.tanh(c) + (1 - r) * x_t)
        return jnp.stack(hs, -1), c

    def gradients(x, initial_c, mask, state, d_h, d_c):
        args = (x, weights, bias, initial_c)
        return jax.vjp(lambda *args: row(*args, mask, state), *args)[1]((d_h, d_c))

    weights, bias = x["weights"], x["bias"][0]
    rows = (x[name] for name in ("input", "init", "mask", "state", "inGradH", "inGradCt"))
    d_x, d_weights, d_bias, d_initial = jax.jit(jax.vmap(gradients))(*rows)
    return {
        "gradX": d_x,
        "gradW": d_weights,
        "gradB": d_bias.sum(0, keepdims=True),
        "gradInit": d_initial,
    }


def rnn_weights(x, direction=""):
    return nd4j.RNNWeights(*(x[name + direction] for name in ("Wx", "Wh", "b")))


def rnn_cell(x, attrs):
    return {"ht": nd4j.rnn_cell(x["xt"], x["ht_1"], rnn_weights(x))}


def time_order(attrs):
    """`time_major` where the op has it."""
    return {"time_major": attrs["timeMajor"]} if "timeMajor" in attrs else {}


def rnn_of(op):
    def run(x, attrs):
        options = {"h_0": x.get("h0"), "max_time_step": x.get("maxTimeStep"), **time_order(attrs)}
        h, final = op(x["x"], rnn_weights(x), **options)
        return {"h": h, "hFinal": final}

    return run


def both_rnns(op, *names):
    def run(x, attrs):
        options = {
            "h_0_forward": x.get("h0FW"),
            "h_0_backward": x.get("h0BW"),
            "max_time_step": x.get("maxTimeStep"),
            **time_order(attrs),
        }
        outputs = op(x["x"], rnn_weights(x, "FW"), rnn_weights(x, "BW"), **options)
        return dict(zip(names, outputs, strict=True))

    return run


FINALS = ("hFWfinal", "hBWfinal")
OPS = {
    "lstmLayer": lstm_layer,
    "lstmLayerCell": lstm_layer_cell,
    "lstmBlockCell": lstm_block_cell,
    "lstmBlock": lstm_block,
    "lstmCell": lstm_cell,
    "lstm": lstm,
    "gruCell": gru_cell,
    "gru": gru,
    "sruCell": sru_cell,
    "sru": sru_of(nd4j.sru),
    "sru_bi": sru_of(nd4j.sru_bi),
    "sru_bp": sru_bp,
    "rnnCell": rnn_cell,
    "static_rnn": rnn_of(nd4j.static_rnn),
    "dynamic_rnn": rnn_of(nd4j.dynamic_rnn),
    "static_bidirectional_rnn": both_rnns(nd4j.static_bidirectional_rnn, "h", *FINALS),
    "dynamic_bidirectional_rnn": both_rnns(nd4j.dynamic_bidirectional_rnn, "hFW", "hBW", *FINALS),
}
