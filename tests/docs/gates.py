"""Gates by name: random weights, the equations in NumPy, and the arrays that a table row makes."""

import dataclasses

import numpy as np

ROWS, STEPS, FEATURES, UNITS = 3, 5, 4, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@dataclasses.dataclass
class Gates:
    """A dict from gate to array for each of an LSTM's or a GRU's four kinds of weights."""

    kernel: dict  # [F, U]
    recurrent: dict  # [U, U]
    bias: dict  # [U]
    inner: dict  # [U], the bias of the recurrent product


def drawn(names: str, seed: int, inner: str = "") -> Gates:
    """Random weights for each gate; the inner bias of the gates not named in `inner` is zero."""
    rng = np.random.default_rng(seed)

    def each(*shape):
        return {name: rng.normal(0, 0.6, shape).astype(np.float32) for name in names}

    weights = Gates(each(FEATURES, UNITS), each(UNITS, UNITS), each(UNITS), each(UNITS))
    weights.inner = {n: a if n in inner else np.zeros_like(a) for n, a in weights.inner.items()}
    return weights


def products(weights: Gates, x, h, name):
    """The input's product and the recurrent one, each with its bias, in float64."""
    of_input = x.astype(float) @ weights.kernel[name] + weights.bias[name]
    return of_input, h.astype(float) @ weights.recurrent[name] + weights.inner[name]


def lstm(weights: Gates, xs, h, c, forget_bias=0.0):
    """Every output [B, T, U] of an LSTM, the last state and the last cell."""
    outputs = []
    for x in np.moveaxis(xs, 1, 0):
        i, f, g, o = (sum(products(weights, x, h, name)) for name in "ifco")
        c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1), h, c


def gru(weights: Gates, xs, h, *, after: bool, keeps: bool):
    """Every output [B, T, U] of a GRU; `keeps`: the update gate multiplies the old state."""
    outputs = []
    for x in np.moveaxis(xs, 1, 0):
        z, r = (sigmoid(sum(products(weights, x, h, name))) for name in "zr")
        of_input, of_state = products(weights, x, h if after else r * h, "h")
        candidate = np.tanh(of_input + (r * of_state if after else of_state))
        z = z if keeps else 1 - z
        h = z * h + (1 - z) * candidate
        outputs.append(h)
    return np.stack(outputs, 1)


@dataclasses.dataclass
class Row:
    """A row of a table: how it packs gates."""

    library: str
    order: list[str]
    layout: str
    more: dict[str, str]

    def packed(self, blocks: dict) -> np.ndarray:
        """The gates' blocks in the row's order: side by side, or as rows if transposed."""
        side_by_side = np.concatenate([blocks[name] for name in self.order], axis=-1)
        turned = side_by_side.ndim == 2 and self.layout.endswith("U, F]")
        return np.ascontiguousarray(side_by_side.T) if turned else side_by_side

    def one_array(self, weights: Gates) -> np.ndarray:
        """Kernel above recurrent kernel, [F + U, gates * U], as the row says they are."""
        assert self.layout.startswith("[F + U, ")
        return np.concatenate([self.packed(weights.kernel), self.packed(weights.recurrent)])

    def unpacked(self, array: np.ndarray) -> dict:
        """The blocks of the last axis by gate."""
        return dict(zip(self.order, np.split(array, len(self.order), axis=-1), strict=True))

    def names(self, gates: str) -> dict:
        """What the library calls each gate, where a gate has a kernel of its own."""
        assert self.layout == f"{len(gates)} × [F, U]"
        assert self.more["gates in order"].startswith("by name: ")
        return dict(zip(gates, self.order, strict=True))

    def state(self, h, c) -> tuple:
        """The state in the row's order."""
        return tuple({"h": h, "c": c}[name] for name in self.more["state"].split(", "))

    def h_and_c(self, state) -> tuple:
        """The other way: h and c of a state in the row's order."""
        named = dict(zip(self.more["state"].split(", "), state, strict=True))
        return np.asarray(named["h"]), np.asarray(named["c"])


def row(cells: dict[str, str]) -> Row:
    """A table's cells, read."""
    order = cells["gates in order"].removeprefix("by name: ").strip("`").replace("+", " ").split()
    return Row(cells["library"], order, cells["kernel"].strip("`"), cells)
