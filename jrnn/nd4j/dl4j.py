"""DL4J's recurrent layers: their stored weights, and [batch, features, time] in and out."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.activations import Activation
from jrnn.cells.base import check_type
from jrnn.cells.lstm import LSTMCell, LSTMParams, LSTMState
from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNParams, SimpleRNNState
from jrnn.layers.named import lstm, simple_rnn
from jrnn.layers.recurrent import TimeOptions
from jrnn.nd4j.arguments import expect, sequence

DataFormat = Literal["NCW", "NWC"]


class DL4JLSTMWeights(NamedTuple):
    """Weights of DL4J's ``LSTM`` and ``GravesLSTM``; column order c, f, o, i.

    DL4J's source calls the blocks input activation, forget, output, input modulation gate.
    """

    w: jax.Array  # [I, 4n]
    rw: jax.Array  # [n, 4n]; of a GravesLSTM [n, 4n + 3], the peepholes f, o, i as last columns
    b: jax.Array  # [1, 4n] or [4n]; the forget gate's initial 1 is in it


class DL4JSimpleRnnWeights(NamedTuple):
    """Weights of DL4J's ``SimpleRnn``."""

    w: jax.Array  # [I, n]
    rw: jax.Array  # [n, n]
    b: jax.Array  # [1, n] or [n]


def dl4j_lstm_to_params(weights: DL4JLSTMWeights) -> LSTMParams:
    """Returns the parameters for ``jrnn.lstm``: gate order i, f, c, o.

    With peepholes, those of a ``GravesLSTM``, the cell is ``LSTMCell(peephole=True)``.

    Raises:
        ValueError: If the weights are not ``DL4JLSTMWeights`` of fitting shapes.
    """
    check_type("jrnn.nd4j.dl4j_lstm_to_params", weights, DL4JLSTMWeights, "weights")
    units = weights.rw.shape[0] if weights.rw.ndim else 0
    shapes = weights.w.shape[-1:], weights.rw.shape, weights.b.reshape(-1).shape
    if shapes not in [((4 * units,), (units, 4 * units + more), (4 * units,)) for more in (0, 3)]:
        raise ValueError(
            f"jrnn.nd4j.dl4j_lstm_to_params: w, rw and b have shapes {weights.w.shape}, "
            f"{weights.rw.shape} and {weights.b.shape}, but {units} units need [I, {4 * units}], "
            f"{(units, 4 * units)} (a GravesLSTM {(units, 4 * units + 3)}) and {(1, 4 * units)}"
        )
    recurrent, peepholes = jnp.split(weights.rw, [4 * units], axis=-1)
    c, f, o, i = range(4)
    reordered = [_blocks(one, (i, f, c, o)) for one in (weights.w, recurrent, weights.b)]
    peephole = jnp.roll(peepholes.T, 1, axis=0) if peepholes.shape[-1] else None
    return LSTMParams(reordered[0], reordered[1], reordered[2].reshape(-1), peephole)


def dl4j_lstm_from_params(params: LSTMParams) -> DL4JLSTMWeights:
    """Returns the weights that ``dl4j_lstm_to_params`` turns into ``params``; b is [1, 4n].

    Raises:
        ValueError: If the parameters are no LSTM's, or hold a projection.
    """
    check_type("jrnn.nd4j.dl4j_lstm_from_params", params, LSTMParams)
    if params.projection is not None:
        raise ValueError(
            f"jrnn.nd4j.dl4j_lstm_from_params: params hold a projection of shape "
            f"{params.projection.shape}, but DL4J's LSTM has none"
        )
    i, f, c, o = range(4)
    order = (c, f, o, i)
    rw = _blocks(params.recurrent_kernel, order)
    if params.peephole is not None:
        rw = jnp.concatenate([rw, jnp.roll(params.peephole, -1, axis=0).T], axis=-1)
    width = params.kernel.shape[-1]
    bias = jnp.zeros(width, params.kernel.dtype) if params.bias is None else params.bias
    return DL4JLSTMWeights(_blocks(params.kernel, order), rw, _blocks(bias, order)[None])


def dl4j_simple_rnn_to_params(weights: DL4JSimpleRnnWeights) -> SimpleRNNParams:
    """Returns the parameters for ``jrnn.simple_rnn``.

    Raises:
        ValueError: If the weights are not ``DL4JSimpleRnnWeights`` of fitting shapes.
    """
    who = "dl4j_simple_rnn_to_params"
    check_type(f"jrnn.nd4j.{who}", weights, DL4JSimpleRnnWeights)
    units = weights.rw.shape[0] if weights.rw.ndim else 0
    expect(who, (*weights.w.shape[:1], units), w=weights.w)
    expect(who, (units, units), rw=weights.rw)
    if weights.b.shape != (1, units):
        expect(who, (units,), b=weights.b)
    return SimpleRNNParams(weights.w, weights.rw, weights.b.reshape(-1))


def dl4j_simple_rnn_from_params(params: SimpleRNNParams) -> DL4JSimpleRnnWeights:
    """Returns the weights that ``dl4j_simple_rnn_to_params`` turns into ``params``; b is [1, n].

    Raises:
        ValueError: If the parameters are no SimpleRNN's.
    """
    check_type("jrnn.nd4j.dl4j_simple_rnn_from_params", params, SimpleRNNParams)
    units = params.kernel.shape[-1]
    bias = jnp.zeros(units, params.kernel.dtype) if params.bias is None else params.bias
    return DL4JSimpleRnnWeights(params.kernel, params.recurrent_kernel, bias[None])


def dl4j_lstm(
    weights: DL4JLSTMWeights,
    x: ArrayLike,
    *,
    activation: Activation | str = "tanh",
    gate_activation: Activation | str = "sigmoid",
    data_format: DataFormat = "NCW",
    **options: Unpack[TimeOptions],
) -> tuple[LSTMState, jax.Array]:
    """Returns ``(state, ys)`` of DL4J's ``LSTM`` or ``GravesLSTM`` over x [B, I, T].

    Args:
        weights: As DL4J stores them.
        x: Input [B, I, T], or [B, T, I] with "NWC".
        activation: Of the block input and of the cell, one for both. DL4J's default is the
            network's, which is the sigmoid unless set; every example sets tanh.
        gate_activation: Of the gates; ``gateActivationFn``.
        data_format: "NCW", batch, features, time, as DL4J without word to the contrary; or "NWC".
        **options: As for ``jrnn.lstm``: initial_state, lengths, reverse, ...

    Returns:
        The state, and ys [B, n, T], or [B, T, n] with "NWC"; the last output [B, n] without
        ``return_sequences``. With ``return_all_states`` the state's arrays are as ys.

    Raises:
        ValueError: If a shape or an option does not fit.

    Differences: a step that does not count leaves the state as it was, where DL4J's mask sets it
    to zero. Outputs are the same for lengths going forward, and backward from a zero state; those
    after a gap in a mask are not.

    Source: DL4J, ``LSTM``, ``GravesLSTM``; Graves, 2012.
    """
    params = dl4j_lstm_to_params(weights)
    cell = LSTMCell(activation, gate_activation, peephole=params.peephole is not None)
    return _run(lstm, "dl4j_lstm", params, x, cell, data_format, options)


def dl4j_simple_rnn(
    weights: DL4JSimpleRnnWeights,
    x: ArrayLike,
    *,
    activation: Activation | str = "tanh",
    data_format: DataFormat = "NCW",
    **options: Unpack[TimeOptions],
) -> tuple[SimpleRNNState, jax.Array]:
    """Returns ``(state, ys)`` of DL4J's ``SimpleRnn`` over x [B, I, T].

    Args:
        weights: As DL4J stores them.
        x: Input [B, I, T], or [B, T, I] with "NWC".
        activation: Of the state. DL4J's default is the network's, which is the sigmoid unless
            set.
        data_format: "NCW" or "NWC".
        **options: As for ``jrnn.simple_rnn``.

    Returns:
        As ``dl4j_lstm``.

    Raises:
        ValueError: If a shape or an option does not fit.

    Source: DL4J, ``SimpleRnn``.
    """
    params = dl4j_simple_rnn_to_params(weights)
    cell = SimpleRNNCell(activation)
    return _run(simple_rnn, "dl4j_simple_rnn", params, x, cell, data_format, options)


def _run(layer: Callable, who: str, params: Any, x: ArrayLike, cell, data_format: str, options):
    if data_format not in ("NCW", "NWC"):
        raise ValueError(
            f"jrnn.nd4j.{who}: data_format is {data_format!r}, but 'NCW' or 'NWC' is needed"
        )
    x = sequence(who, x)
    if options.get("time_major", False):
        raise ValueError(
            f"jrnn.nd4j.{who}: time_major is True, but {data_format} has the batch first; call "
            "jrnn's own layer for another layout"
        )
    if data_format == "NWC":
        return layer(params, x, cell=cell, **options)
    state, ys = layer(params, x.swapaxes(1, 2), cell=cell, **options)
    if options.get("return_all_states", False):
        state = jax.tree.map(lambda leaf: leaf.swapaxes(1, 2), state)
    return state, ys.swapaxes(1, 2) if options.get("return_sequences", True) else ys


def _blocks(array: jax.Array, order: tuple[int, ...]) -> jax.Array:
    """Returns the four blocks of the last axis in another order."""
    blocks = jnp.split(array, 4, axis=-1)
    return jnp.concatenate([blocks[k] for k in order], axis=-1)
