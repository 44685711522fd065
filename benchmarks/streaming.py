"""SAMPLE BY SAMPLE. What one step costs when the next sample is not known yet: dispatch included.

``python -m benchmarks.streaming --out benchmarks/results/streaming.json`` also writes the table
beside it. One row, as a service has it. Every peer is handed the same samples one at a time as
NumPy arrays and keeps its state; its answers are compared with those of the naive cell in float64
first. In each round every peer has a turn, after a pause in which the threads of the one before
stop spinning.
"""

import argparse
import json
import time
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import jrnn
from benchmarks.cases import CELLS as CASE_CELLS
from benchmarks.cases import Case, Shape
from benchmarks.data import Data, Weights, draw
from benchmarks.markdown import table
from benchmarks.peers import flax_linen, onnx_runtime
from benchmarks.peers.base import CORES
from benchmarks.results import describe_run

CELLS = {
    "lstm": (jrnn.LSTMCell(), jrnn.LSTMParams),
    "gru": (jrnn.GRUCell(), jrnn.GRUParams),
}
PAUSE = 0.05  # seconds; ONNX Runtime's threads spin for 25 ms, PyTorch's for 7
Answer = Callable[[np.ndarray], np.ndarray]  # [1, F] -> [1, U], a state kept between


def jrnn_stream(cell: str, data: Data) -> Answer:
    """``jrnn.stream(cell).step``, as it is."""
    return _jrnn(cell, data, lambda *_: jrnn.stream(CELLS[cell][0]).step)


def jrnn_compiled(cell: str, data: Data) -> Answer:
    """The same, compiled ahead, with its state donated."""
    step = jax.jit(jrnn.stream(CELLS[cell][0]).step, donate_argnums=1)
    return _jrnn(cell, data, lambda *given: step.lower(*given).compile())


def _jrnn(cell: str, data: Data, make: Callable) -> Answer:
    params = CELLS[cell][1](**jax.tree.map(jnp.asarray, data.layers[0][0]))
    first = data.xs[0]
    state = jrnn.stream(CELLS[cell][0]).initial_state(params, first)
    step = make(params, state, first)

    def answer(x):
        nonlocal state
        state, y = step(params, state, x)
        return np.asarray(y)

    return answer


def flax_jit(cell: str, data: Data) -> Answer:
    """Flax Linen's cell under ``jax.jit``."""
    units = data.cotangent.shape[-1]
    module = (nn.OptimizedLSTMCell if cell == "lstm" else nn.GRUCell)(units)
    params = jax.tree.map(jnp.asarray, flax_linen.to_flax(cell, data.layers[0][0]))
    carry = module.initialize_carry(jax.random.key(0), data.xs[0].shape)
    step = jax.jit(lambda params, carry, x: module.apply({"params": params}, carry, x))

    def answer(x):
        nonlocal carry
        carry, y = step(params, carry, x)
        return np.asarray(y)

    return answer


def torch_layer(cell: str, data: Data) -> Answer:
    """``torch.nn.LSTM`` or ``GRU`` over sequences of one step, in ``inference_mode``."""
    import torch  # the one peer that a run goes without

    from benchmarks.peers import torch_nn

    torch.set_num_threads(CORES)
    layer = torch_nn.LAYERS[cell](data.xs.shape[-1], data.cotangent.shape[-1])
    torch_nn.fill(cell, layer, data.layers)
    state = None

    @torch.inference_mode()
    def answer(x):
        nonlocal state
        y, state = layer(torch.from_numpy(x)[None], state)
        return y[0].numpy()

    return answer


def onnx_runtime_session(cell: str, data: Data) -> Answer:
    """ONNX Runtime's operator over sequences of one step, its state fed back."""
    operator = onnx_runtime.OPERATORS[cell]
    states = ["hidden", "cell"][: 2 if cell == "lstm" else 1]
    weights = onnx_runtime.onnx_weights(cell, data.layers[0][0])
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(array[None]), name)
        for name, array in zip("WRB", weights, strict=True)
    ]
    units, features = data.cotangent.shape[-1], data.xs.shape[-1]
    options: dict[str, Any] = {"hidden_size": units}
    if cell == "gru":
        options["linear_before_reset"] = 1
    node = helper.make_node(
        operator,
        ["x", "W", "R", "B", "", *states],
        ["y", *(f"{name}_after" for name in states)],
        **options,
    )
    value, number = helper.make_tensor_value_info, TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "step",
        [value("x", number, [1, 1, features]), *(value(s, number, [1, 1, units]) for s in states)],
        [
            value("y", number, [1, 1, 1, units]),
            *(value(f"{s}_after", number, [1, 1, units]) for s in states),
        ],
        constants,
    )
    opset = [helper.make_opsetid("", onnx_runtime.OPSET)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    feed = {name: np.zeros((1, 1, units), np.float32) for name in states}

    def answer(x):
        nonlocal feed
        y, *after = session.run(None, {"x": x[None], **feed})
        feed = dict(zip(states, after, strict=True))
        return np.asarray(y)[0, 0]

    return answer


PEERS = {
    "jrnn, compiled ahead": jrnn_compiled,
    "jrnn": jrnn_stream,
    "flax linen, jit": flax_jit,
    "torch.nn": torch_layer,
    "onnxruntime": onnx_runtime_session,
}


def expected(cell: str, data: Data) -> np.ndarray:
    """Returns the answers [T, 1, U] of the equations in NumPy, in float64."""
    own: Weights = {name: array.astype(np.float64) for name, array in data.layers[0][0].items()}
    h = c = np.zeros(data.cotangent.shape[1:])
    answers = []
    for x in data.xs.astype(np.float64):
        if cell == "lstm":
            i, f, g, o = np.split(
                x @ own["kernel"] + h @ own["recurrent_kernel"] + own["bias"], 4, axis=-1
            )
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        else:
            z, r, n = np.split(x @ own["kernel"] + own["bias"][0], 3, axis=-1)
            hz, hr, hn = np.split(h @ own["recurrent_kernel"] + own["bias"][1], 3, axis=-1)
            z, r = _sigmoid(z + hz), _sigmoid(r + hr)
            h = z * h + (1 - z) * np.tanh(n + r * hn)
        answers.append(h)
    return np.stack(answers)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def measure(cell: str, features: int, units: int, rounds: int, seconds: float) -> dict:
    """Returns each peer's error and its times for a sample."""
    case = Case(cell, "forward", "plain", Shape(32, 1, features, units))
    data = draw(case, CASE_CELLS[cell].default)
    wanted = expected(cell, data)
    answers, rows = {}, {}
    names = [name for name in PEERS if name != "torch.nn" or find_spec("torch")]
    for name in names:
        answers[name] = PEERS[name](cell, data)
        got = np.stack([answers[name](x) for x in data.xs])
        error = float(np.abs(got - wanted).max())
        if error > 1e-5:
            raise SystemExit(f"{name}: {cell} is off by {error}")
        rows[name] = {"error": error, "best": float("inf"), "medians": []}
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            times = _turn(answers[name], data.xs, seconds)
            rows[name]["best"] = min(rows[name]["best"], float(times.min()))
            rows[name]["medians"].append(float(np.median(times)))
    first = rows[names[0]]
    for row in rows.values():
        row["ratio"] = row["best"] / first["best"]
        row["median"] = min(row.pop("medians"))  # of the quietest round
        row["median_ratio"] = row["median"] / first["median"]
    return rows


def _turn(answer: Answer, xs: np.ndarray, seconds: float) -> np.ndarray:
    """Returns the seconds of single answers."""
    time.sleep(PAUSE)
    for x in xs:
        answer(x)
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        for x in xs:
            start = time.perf_counter()
            answer(x)
            times.append(time.perf_counter() - start)
    return np.array(times)


def write(path: Path, run: dict, cases: dict[str, dict]) -> None:
    """Writes the results, and their table beside them."""
    path.write_text(json.dumps({"run": run, "cases": cases}, indent=1) + "\n", encoding="utf-8")
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    lines = [
        "# Streaming: one sample at a time",
        "",
        f"{run['date']}, {run['cpu']}, {run['cores']} cores, load average at the start "
        f"{run['load_average'][0]}; jrnn at {run['commit']}; {versions}; {run['rounds']} rounds.",
        "",
        "Times of one answer, from a sample in NumPy to the answer in NumPy. Ratios are to the "
        "first row: of the best answer, and of the median one in each peer's quietest round.",
    ]
    for case, rows in cases.items():
        head = ["", "best, µs", "ratio", "median, µs", "ratio"]
        numbers = [
            [
                name,
                f"{1e6 * row['best']:.0f}",
                f"{row['ratio']:.2f}",
                f"{1e6 * row['median']:.0f}",
                f"{row['median_ratio']:.2f}",
            ]
            for name, row in rows.items()
        ]
        lines += ["", f"## {case}", "", *table(head, numbers)]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measures all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--min-time", type=float, default=0.2)
    args = parser.parse_args()
    packages = ("jax", "flax", "onnxruntime", "torch")
    versions = {name: metadata.version(name) for name in packages if find_spec(name)}
    run = describe_run(rounds=args.rounds, min_time=args.min_time, versions=versions)
    cases = {
        f"{cell}, F={args.features}, U={args.units}": measure(
            cell, args.features, args.units, args.rounds, args.min_time
        )
        for cell in CELLS
    }
    write(args.out, run, cases)


if __name__ == "__main__":
    main()
