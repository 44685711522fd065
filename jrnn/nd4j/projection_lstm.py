"""The LSTM with peepholes and projection that libnd4j calls ``lstmCell``, and its loop."""

import functools

import jax
from jax.typing import ArrayLike

from jrnn.cells.lstm import LSTMCell, LSTMState
from jrnn.layers.recurrent import rnn
from jrnn.nd4j.arguments import check_config, checked, expect, needed, one_step, sequence
from jrnn.nd4j.configs import ProjectionLSTMConfig
from jrnn.nd4j.convert_lstm import projection_lstm_to_params
from jrnn.nd4j.weights import HiddenAndCell, ProjectionLSTMWeights
from jrnn.scan import Checkpoint


def projection_lstm_cell(
    x: ArrayLike,
    h_last: ArrayLike,
    c_last: ArrayLike,
    weights: ProjectionLSTMWeights,
    config: ProjectionLSTMConfig = ProjectionLSTMConfig(),
) -> HiddenAndCell:
    """Returns one step of an LSTM with an output projection as (h, c).

    With gate order i, f, g, o::

        i, f, g, o = split(x @ input_weights + h_last @ recurrent_weights + biases, 4)
        i, f = sigmoid(i + peephole_i * c_last), sigmoid(f + peephole_f * c_last + forget_bias)
        c = clip(f * c_last + i * tanh(g), -clipping_cell_value, clipping_cell_value)
        h = sigmoid(o + peephole_o * c) * tanh(c)
        h = clip(h @ projection_weights, -clipping_proj_value, clipping_proj_value)

    The last line stands with ``config.projection`` alone.

    Args:
        x: Input [B, I].
        h_last: The output before, [B, p].
        c_last: The cell before, [B, n].
        weights: Those that the configuration has no use for may be there, as upstream demands.
        config: Peepholes, projection, clips and forget bias. Without projection p is n.

    Returns:
        h [B, p] and c [B, n].

    Raises:
        ValueError: If a shape does not fit, or weights that the configuration needs are missing.

    Differences: this is no op of the page, whose lstmCell is ``lstm_cell``.

    Source: libnd4j, ``lstmCell``; Sak et al., 2014 (arXiv:1402.1128).
    """
    x = one_step("projection_lstm_cell", x)
    weights, *state = _checked("projection_lstm_cell", x.shape, h_last, c_last, weights, config)
    return _projection_lstm_cell(x, LSTMState(*state), weights, config)


@functools.partial(jax.jit, static_argnums=3)
def _projection_lstm_cell(x, state, weights, config):
    cell, params = _parts(weights, config)
    return HiddenAndCell(*cell(params, state, x)[0])


def projection_lstm(
    x: ArrayLike,
    h_last: ArrayLike,
    c_last: ArrayLike,
    weights: ProjectionLSTMWeights,
    config: ProjectionLSTMConfig = ProjectionLSTMConfig(),
    *,
    checkpoint: Checkpoint = None,
) -> HiddenAndCell:
    """Returns ``projection_lstm_cell`` over a sequence: h and c of every step.

    Args:
        x: Input [T, B, I].
        h_last: Initial output [B, p].
        c_last: Initial cell [B, n].
        weights: As for ``projection_lstm_cell``.
        config: As for ``projection_lstm_cell``.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        h [T, B, p] and c [T, B, n].

    Raises:
        ValueError: As in ``projection_lstm_cell``.

    Source: libnd4j, ``lstm``.
    """
    x = sequence("projection_lstm", x)
    weights, *state = _checked("projection_lstm", x.shape[1:], h_last, c_last, weights, config)
    return _projection_lstm(x, LSTMState(*state), weights, config, checkpoint)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _projection_lstm(x, state, weights, config, checkpoint):
    cell, params = _parts(weights, config)
    states, _ = rnn(
        cell,
        params,
        x,
        time_major=True,
        initial_state=state,
        return_all_states=True,
        checkpoint=checkpoint,
    )
    return HiddenAndCell(states.hidden, states.cell)


def _checked(who: str, shape, h_last, c_last, weights, config):
    """Returns the weights that the configuration has a use for, h and c, given one step's shape."""
    check_config(who, config, ProjectionLSTMConfig)
    weights = checked(who, weights, ProjectionLSTMWeights)
    *batch, features = shape
    units = weights.input_weights.shape[-1] // 4 if weights.input_weights.ndim else 0
    expect(who, (features, 4 * units), input_weights=weights.input_weights)
    used = {"peephole_weights": config.peephole, "projection_weights": config.projection}
    for name, is_used in used.items():
        if is_used and getattr(weights, name) is None:
            raise ValueError(f"jrnn.nd4j.{who}: {name} is None, but config.{name[:-8]} needs it")
        weights = weights if is_used else weights._replace(**{name: None})
    projection = weights.projection_weights
    size = projection.shape[-1] if projection is not None and projection.ndim else units
    expect(who, (size, 4 * units), recurrent_weights=weights.recurrent_weights)
    expect(who, (4 * units,), biases=weights.biases)
    expect(who, (3 * units,), peephole_weights=weights.peephole_weights)
    expect(who, (units, size), projection_weights=projection)
    h_last = needed(who, "h_last", h_last, (*batch, size))
    return weights, h_last, needed(who, "c_last", c_last, (*batch, units))


def _parts(weights: ProjectionLSTMWeights, config: ProjectionLSTMConfig):
    params = projection_lstm_to_params(weights, forget_bias=config.forget_bias)
    clip = config.clipping_cell_value
    cell = LSTMCell(
        use_bias=params.bias is not None,
        peephole=config.peephole,
        projection=None if params.projection is None else params.projection.shape[-1],
        cell_clip=clip if clip > 0 else None,
        projection_clip=(config.clipping_proj_value or None) if config.projection else None,
    )
    return cell, params
