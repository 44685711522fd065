"""``lstm_cell`` and ``lstm_block``, the block ops of TensorFlow."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.base import Masks, narrowed
from jrnn.cells.lstm import LSTMCell, LSTMParams, LSTMState
from jrnn.layers.recurrent import rnn
from jrnn.nd4j.arguments import (
    check_config,
    checked,
    expect,
    in_format,
    lengths_of,
    lstm_state,
    needed,
    one_step,
    sequence,
    sizes,
    time_major,
)
from jrnn.nd4j.configs import LSTMConfiguration
from jrnn.nd4j.convert_lstm import lstm_to_params
from jrnn.nd4j.shapes import lstm_units
from jrnn.nd4j.weights import LSTMCellOutputs, LSTMWeights
from jrnn.scan import Checkpoint


def lstm_cell(
    x: ArrayLike,
    c_last: ArrayLike,
    y_last: ArrayLike,
    weights: LSTMWeights,
    config: LSTMConfiguration = LSTMConfiguration(),
) -> LSTMCellOutputs:
    """Returns all that one step of an LSTM computes: i, c, f, o, z, h, y.

    With gate order i, z, f, o::

        i, z, f, o = split([x, y_last] @ ru_weight + bias, 4)
        i = sigmoid(i + c_last * input_peephole_weights)
        f = sigmoid(f + c_last * forget_peephole_weights + forget_bias)
        z = tanh(z)
        c = clip(z * i + f * c_last, -clipping_cell_value, clipping_cell_value)
        o = sigmoid(o + c * output_peephole_weights)
        h = tanh(c)
        y = o * h

    Args:
        x: Input [B, I].
        c_last: The cell before, [B, n].
        y_last: The output before, [B, n].
        weights: ``ru_weight`` [I + n, 4n], bias [4n], peephole weights [n]. The last are used
            with ``config.peep_hole`` alone, and may be there without, as upstream demands.
        config: Peepholes, forget bias and clip; its data format is for ``lstm_block``.

    Returns:
        Seven arrays [B, n]. "h" is tanh(c) here; the output is y.

    Raises:
        ValueError: If a shape does not fit, or peephole weights are missing.

    Differences: the page calls this an LSTM cell; the library runs its ``lstmBlockCell``, and so
    does jrnn. The projection LSTM that the library calls ``lstmCell`` is ``projection_lstm_cell``.

    Source: ND4J, RNN operations, lstmCell; TensorFlow's ``LSTMBlockCell``.
    """
    check_config("lstm_cell", config, LSTMConfiguration)
    x = one_step("lstm_cell", x)
    weights = checked("lstm_cell", weights, LSTMWeights)
    units = _check("lstm_cell", weights, config, x.shape[-1])
    c_last = needed("lstm_cell", "c_last", c_last, (*x.shape[:-1], units))
    y_last = needed("lstm_cell", "y_last", y_last, (*x.shape[:-1], units))
    return _lstm_cell(x, c_last, y_last, weights, config)


@functools.partial(jax.jit, static_argnums=4)
def _lstm_cell(x, c_last, y_last, weights, config):
    params = _params(weights, config, x.shape[-1])
    return _cell(config, params)(params, LSTMState(y_last, c_last), x)[1]


def lstm_block(
    x: ArrayLike,
    weights: LSTMWeights,
    config: LSTMConfiguration = LSTMConfiguration(),
    *,
    c_last: ArrayLike | None = None,
    y_last: ArrayLike | None = None,
    max_ts_length: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
) -> LSTMCellOutputs:
    """Returns ``lstm_cell`` over a sequence: i, c, f, o, z, h, y of every step.

    Args:
        x: Input [T, B, I], [B, I, T] or [B, T, I], as ``config.rnn_data_format`` says.
        weights: As for ``lstm_cell``.
        config: As for ``lstm_cell``, and the data format.
        c_last: Initial cell [B, n]; None for zeros.
        y_last: Initial output [B, n]; None for zeros.
        max_ts_length: How many steps count, one number for all rows or one for each, [B], 0 to T;
            all seven outputs are 0 at the others. None for all steps.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        Seven arrays of three axes, in the format of x.

    Raises:
        ValueError: If a shape or a length does not fit, or peephole weights are missing.

    Differences: the page says "the layer's outputs"; the library's op has seven and its Java
    method returns the first of them, which is the input gate. The page lists ``maxTSLength``; the
    library never reads it and computes every step, as jrnn does without it. Given, it is honoured,
    as TensorFlow does for c and y.

    Source: ND4J, RNN operations, lstmblock; TensorFlow's ``BlockLSTM``.
    """
    check_config("lstm_block", config, LSTMConfiguration)
    x = sequence("lstm_block", x)
    weights = checked("lstm_block", weights, LSTMWeights)
    steps, batch, features = sizes(x, config.rnn_data_format)
    units = _check("lstm_block", weights, config, features)
    expect("lstm_block", (batch, units), c_last=c_last, y_last=y_last)
    lengths = lengths_of("lstm_block", "max_ts_length", max_ts_length, batch, steps)
    return _lstm_block(x, c_last, y_last, lengths, weights, config, checkpoint)


@functools.partial(jax.jit, static_argnums=(5, 6))
def _lstm_block(x, c_last, y_last, lengths, weights, config, checkpoint):
    xs = time_major(x, config.rnn_data_format)
    params = _params(weights, config, xs.shape[-1])
    state = lstm_state(y_last, c_last)
    cell = _cell(config, params)
    options: dict[str, Any] = {"lengths": lengths, "checkpoint": checkpoint}
    _, ys = rnn(cell, params, xs, time_major=True, initial_state=state, **options)
    return jax.tree.map(lambda leaf: in_format(leaf, config.rnn_data_format), ys)


class _AllOutputs(LSTMCell):
    """An LSTM that puts out all that a step computes."""

    def step(
        self, params: LSTMParams, state: LSTMState, z: jax.Array, *, dropout: Masks = ()
    ) -> Any:
        i, f, g, o, c = self.gate_values(params, state, z, dropout=dropout)
        h = jnp.tanh(c)
        outputs = narrowed(LSTMCellOutputs(i, c, f, o, g, h, o * h), state.hidden.dtype)
        return LSTMState(outputs.y, outputs.c), outputs


def _cell(config: LSTMConfiguration, params: LSTMParams) -> _AllOutputs:
    clip = config.clipping_cell_value
    return _AllOutputs(
        use_bias=params.bias is not None,
        peephole=config.peep_hole,
        cell_clip=clip if clip > 0 else None,
    )


def _params(weights: LSTMWeights, config: LSTMConfiguration, features: int) -> LSTMParams:
    if not config.peep_hole:
        weights = LSTMWeights(weights.ru_weight, bias=weights.bias)
    return lstm_to_params(weights, features, forget_bias=config.forget_bias)


def _check(who: str, weights: LSTMWeights, config: LSTMConfiguration, features: int) -> int:
    """Returns the number of units."""
    units = lstm_units(who, weights, features)
    for name in ("input_peephole_weights", "forget_peephole_weights", "output_peephole_weights"):
        if config.peep_hole and getattr(weights, name) is None:
            raise ValueError(
                f"jrnn.nd4j.{who}: {name} is None, but peep_hole=True needs an array of shape "
                f"{(units,)}"
            )
    return units
