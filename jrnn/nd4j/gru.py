"""``gru_cell``, which resets before the product, and ``gru_layer``, which resets after it."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.base import narrowed, wide
from jrnn.cells.gru import GRUCell, GRUState
from jrnn.layers.recurrent import rnn
from jrnn.nd4j.arguments import checked, expect, needed, one_step, sequence
from jrnn.nd4j.convert import gru_layer_to_params, gru_to_params
from jrnn.nd4j.shapes import gru_units
from jrnn.nd4j.weights import GRUCellOutputs, GRUWeights
from jrnn.scan import Checkpoint


def gru_cell(x: ArrayLike, h_last: ArrayLike, weights: GRUWeights) -> GRUCellOutputs:
    """Returns all that one step of a GRU computes: r, u, c, h.

    With the reset gate before the product, and u keeping the old state::

        r, u = split(sigmoid([x, h_last] @ ru_weight + ru_bias), 2)
        c = tanh([x, r * h_last] @ c_weight + c_bias)
        h = u * h_last + (1 - u) * c

    Args:
        x: Input [B, I]; any leading axes will do, or none, in this and the other ops of one step.
        h_last: The state before, [B, n].
        weights: ``ru_weight`` [I + n, 2n], ``c_weight`` [I + n, n] and their biases.

    Returns:
        Four arrays [B, n].

    Raises:
        ValueError: If a shape does not fit.

    Differences: upstream's Java comment allows biases to be null, and its op does not; here they
    may be None. Upstream has no gradient for this op in Java.

    Source: ND4J, RNN operations, gruCell; TensorFlow's ``GRUBlockCell``.
    """
    x = one_step("gru_cell", x)
    weights = checked("gru_cell", weights, GRUWeights)
    *batch, features = x.shape
    units = gru_units("gru_cell", weights, features)
    h_last = needed("gru_cell", "h_last", h_last, (*batch, units))
    return _gru_cell(x, h_last, weights)


@jax.jit
def _gru_cell(x, h_last, weights):
    params = gru_to_params(weights, x.shape[-1])
    cell = GRUCell(reset_after=False, use_bias=params.bias is not None)
    u, r, c = cell.gate_values(params, GRUState(h_last), cell.project(params, x))
    outputs = GRUCellOutputs(r, u, c, u * wide(h_last) + (1 - u) * c)
    return narrowed(outputs, h_last.dtype)


def gru(x: ArrayLike, h_last: ArrayLike, weights: GRUWeights) -> GRUCellOutputs:
    """Returns ``gru_cell(x, h_last, weights)``: r, u, c, h of one step.

    This is the page's ``gru`` with ``GRUWeights``, of before April 2020. Since then upstream calls
    that ``gruCell`` and a whole sequence ``gru``: here ``gru_layer``.

    Source: ND4J, RNN operations, gru.
    """
    return gru_cell(x, h_last, weights)


def gru_layer(
    x: ArrayLike,
    h_last: ArrayLike,
    wx: ArrayLike,
    wh: ArrayLike,
    biases: ArrayLike | None,
    *,
    checkpoint: Checkpoint = None,
) -> jax.Array:
    """Returns the outputs h [T, B, n] of a GRU over a sequence.

    With columns r, u, c, and the reset gate after the product::

        r = sigmoid(x @ wx_r + h @ wh_r + b_r)
        u = sigmoid(x @ wx_u + h @ wh_u + b_u)
        c = tanh(x @ wx_c + r * (h @ wh_c) + b_c)
        h = u * h + (1 - u) * c

    Args:
        x: Input [T, B, I].
        h_last: Initial state [B, n].
        wx: [I, 3n].
        wh: [n, 3n].
        biases: [3n], or None for zeros.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        h [T, B, n].

    Raises:
        ValueError: If a shape does not fit.

    Differences: comments upstream, and ``gru_cell``, have the reset gate before the product; the
    op's code has it after, as ONNX with ``linear_before_reset=1``, and so has jrnn. This is
    therefore not ``gru_cell`` in a loop. Upstream's own gradient of the reset gate is wrong.

    Source: ND4J, RNN operations, gru since April 2020.
    """
    x = sequence("gru_layer", x)
    _, batch, features = x.shape
    columns = () if wh is None else jnp.asarray(wh).shape[-1:]
    units = columns[0] // 3 if columns else 0
    wh = needed("gru_layer", "wh", wh, (units, 3 * units))
    wx = needed("gru_layer", "wx", wx, (features, 3 * units))
    expect("gru_layer", (3 * units,), biases=biases)
    h_last = needed("gru_layer", "h_last", h_last, (batch, units))
    return _gru_layer(x, h_last, wx, wh, biases, checkpoint)


@functools.partial(jax.jit, static_argnums=5)
def _gru_layer(x, h_last, wx, wh, biases, checkpoint):
    params = gru_layer_to_params(wx, wh, biases)
    cell = GRUCell(use_bias=biases is not None)
    state = GRUState(h_last)
    return rnn(cell, params, x, time_major=True, initial_state=state, checkpoint=checkpoint)[1]
