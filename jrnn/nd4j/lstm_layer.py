"""``lstm_layer``: the whole sequence, both directions, lengths; and one step of it."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.layers.bidirectional import bidirectional
from jrnn.layers.recurrent import rnn
from jrnn.nd4j.arguments import (
    check_config,
    checked,
    expect,
    in_format,
    lengths_of,
    lstm_state,
    one_step,
    sequence,
    sizes,
    time_major,
)
from jrnn.nd4j.configs import LSTMDirectionMode, LSTMLayerConfig
from jrnn.nd4j.convert_lstm import lstm_layer_to_params
from jrnn.nd4j.shapes import lstm_layer_units
from jrnn.nd4j.weights import HiddenAndCell, LSTMLayerWeights
from jrnn.scan import Checkpoint

_MERGES = {
    LSTMDirectionMode.BIDIR_SUM: "sum",
    LSTMDirectionMode.BIDIR_CONCAT: "concat",
    LSTMDirectionMode.BIDIR_EXTRA_DIM: lambda a, b: jnp.stack([a, b], axis=-3),
}


def lstm_layer(
    x: ArrayLike,
    weights: LSTMLayerWeights,
    config: LSTMLayerConfig = LSTMLayerConfig(),
    *,
    c_last: ArrayLike | None = None,
    y_last: ArrayLike | None = None,
    max_ts_length: ArrayLike | None = None,
    bwd_lengths: Literal["right", "left"] = "right",
    checkpoint: Checkpoint = None,
) -> tuple[jax.Array, ...]:
    """Returns an LSTM over a sequence as the tuple of h, last h, last c: those asked for.

    For one row and direction, with gate order i, f, g, o::

        h, c = y_last, c_last
        for t in steps:
            i, f, g, o = split(x[t] @ input_weights + h @ recurrent_weights + biases, 4)
            i, f = gate_act(i + peephole_i * c), gate_act(f + peephole_f * c)
            c = clip(f * c + i * cell_act(g), -cell_clip, cell_clip)
            h = gate_act(o + peephole_o * c) * out_act(c)

    Args:
        x: Input [T, B, I], [B, T, I] or [B, I, T], as ``config.lstm_data_format`` says.
        weights: Its arrays, with a leading axis of 2 where there are two directions.
        config: Format, directions, activations, clip, and what to return.
        c_last: Initial cell [B, n], or [2, B, n] for two directions; None for zeros.
        y_last: Initial output, likewise; either may be given alone.
        max_ts_length: How many steps of each row count, [B] or one number for all, of any numeric
            type, 0 to T. h is 0 at the others. A row of length 0 returns 0 everywhere, whatever
            its initial state.
        bwd_lengths: Which steps of a row count in mode BWD: "right", the last ones, as upstream;
            "left", the first ones, as in ONNX, Keras and PyTorch. With two directions they are
            always the first ones.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        h, if ``config.ret_full_sequence``: in the format of x, with 2n in place of n for
        BIDIR_CONCAT, and [T, 2, B, n] for BIDIR_EXTRA_DIM. The last h and last c, if asked for:
        [B, n], or [2, B, n] in every mode of two directions and in every format, though the page
        says that their shape follows the format. "Last" is the step done last: the lowest one
        going backward; without any step (T is 0) it is the initial state.

    Raises:
        ValueError: If a shape or a length does not fit, or ``bwd_lengths`` is unknown.

    Differences: the page wants recurrent weights of nIn rows (they have n) and [T, 2, B, I] for
    T2NS (the input is [T, B, I]), and takes the initial states of two directions for [B, n]; the
    library does what is said here, and so does jrnn. Upstream's accelerated paths ignore the
    activations, and its Java wrapper exchanges initial output and initial cell: not so here.

    Source: ND4J, RNN operations, lstmLayer; Hochreiter and Schmidhuber, 1997.
    """
    if bwd_lengths not in ("right", "left"):
        raise ValueError(
            f"jrnn.nd4j.lstm_layer: bwd_lengths is {bwd_lengths!r}, but 'right' or 'left' is needed"
        )
    check_config("lstm_layer", config, LSTMLayerConfig)
    x = sequence("lstm_layer", x)
    weights = checked("lstm_layer", weights, LSTMLayerWeights)
    steps, batch, features = sizes(x, config.lstm_data_format)
    mode: Any = config.lstm_direction_mode
    both = (2,) if mode.is_bidirectional else ()
    units = lstm_layer_units("lstm_layer", weights, features, both)
    expect("lstm_layer", (*both, batch, units), c_last=c_last, y_last=y_last)
    lengths = lengths_of("lstm_layer", "max_ts_length", max_ts_length, batch, steps)
    static = config, bwd_lengths == "right", checkpoint
    return _lstm_layer(x, weights, c_last, y_last, lengths, *static)


@functools.partial(jax.jit, static_argnums=(5, 6, 7))
def _lstm_layer(x, weights, c_last, y_last, lengths, config, right_aligned, checkpoint):
    mode = config.lstm_direction_mode
    cell, params = _parts(config, weights)
    xs = time_major(x, config.lstm_data_format)
    options: dict[str, Any] = {"time_major": True, "return_sequences": config.ret_full_sequence}
    options["checkpoint"] = checkpoint
    if mode.is_bidirectional:
        two = [(None, None) if one is None else jnp.asarray(one) for one in (y_last, c_last)]
        options["initial_state"] = [lstm_state(*own) for own in zip(*two, strict=True)]
        options["merge"] = _MERGES[mode]
        state, ys = bidirectional(cell, params, xs, lengths=lengths, **options)
        state = jax.tree.map(lambda *two: jnp.stack(two), *state)
    else:
        options["reverse"] = mode is LSTMDirectionMode.BWD
        options["initial_state"] = lstm_state(y_last, c_last)
        if options["reverse"] and right_aligned and lengths is not None:
            steps = jnp.arange(xs.shape[0], dtype=lengths.dtype)[:, None]
            options["mask"] = steps >= xs.shape[0] - lengths[None]
        else:
            options["lengths"] = lengths
        state, ys = rnn(cell, params, xs, **options)
    if lengths is not None:  # jrnn gives back the initial state of an empty row
        state = jax.tree.map(lambda leaf: jnp.where(lengths[:, None] > 0, leaf, 0), state)
    last_h = (state.hidden,) if config.ret_last_h else ()
    last_c = (state.cell,) if config.ret_last_c else ()
    h = (in_format(ys, config.lstm_data_format),) if config.ret_full_sequence else ()
    return h + last_h + last_c


def lstm_layer_cell(
    x: ArrayLike,
    weights: LSTMLayerWeights,
    config: LSTMLayerConfig = LSTMLayerConfig(),
    *,
    c_last: ArrayLike | None = None,
    y_last: ArrayLike | None = None,
) -> HiddenAndCell:
    """Returns one step of ``lstm_layer`` as (h, c).

    Args:
        x: Input [B, I].
        weights: Its arrays, of one direction.
        config: The activations and the clip; what else it says is about sequences.
        c_last: The cell before, [B, n]; None for zeros.
        y_last: The output before, [B, n]; None for zeros.

    Returns:
        The output and the next cell, each [B, n].

    Raises:
        ValueError: If a shape does not fit.

    Source: libnd4j, ``lstmLayerCell``.
    """
    check_config("lstm_layer_cell", config, LSTMLayerConfig)
    x = one_step("lstm_layer_cell", x)
    weights = checked("lstm_layer_cell", weights, LSTMLayerWeights)
    units = lstm_layer_units("lstm_layer_cell", weights, x.shape[-1], ())
    expect("lstm_layer_cell", (*x.shape[:-1], units), c_last=c_last, y_last=y_last)
    return _lstm_layer_cell(x, weights, c_last, y_last, config)


@functools.partial(jax.jit, static_argnums=4)
def _lstm_layer_cell(x, weights, c_last, y_last, config):
    cell, params = _parts(config, weights)
    z = cell.project(params, x)
    state = jax.tree.map(jnp.add, cell.initial_state(params, z), lstm_state(y_last, c_last))
    return HiddenAndCell(*cell.step(params, state, z)[0])


def _parts(config: LSTMLayerConfig, weights: LSTMLayerWeights) -> tuple[Any, Any]:
    """Returns the cell and its parameters, or those of both directions."""
    cell = config.cell(
        use_bias=weights.biases is not None, peephole=weights.peephole_weights is not None
    )
    return cell, lstm_layer_to_params(weights)
