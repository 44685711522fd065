"""``rnn_cell``, ``static_rnn`` and ``dynamic_rnn``, in one direction and in both."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNState
from jrnn.layers.bidirectional import BidirectionalParams, bidirectional
from jrnn.layers.recurrent import rnn
from jrnn.nd4j.arguments import checked, expect, lengths_of, needed, one_step, sequence
from jrnn.nd4j.convert import rnn_to_params
from jrnn.nd4j.shapes import rnn_units
from jrnn.nd4j.weights import (
    DynamicBidirectionalOutputs,
    RNNOutputs,
    RNNWeights,
    StaticBidirectionalOutputs,
)
from jrnn.scan import Checkpoint


def rnn_cell(x: ArrayLike, h_last: ArrayLike, weights: RNNWeights) -> jax.Array:
    """Returns one step of a plain RNN.

    ``tanh(x @ input_weights + biases[:n] + h_last @ recurrent_weights + biases[n:])``

    Args:
        x: Input [B, I].
        h_last: The state before, [B, n].
        weights: [I, n], [n, n] and [2n].

    Returns:
        The output and next state [B, n].

    Raises:
        ValueError: If a shape does not fit.

    Source: libnd4j, the step of ``static_rnn``.
    """
    x = one_step("rnn_cell", x)
    weights, units = _checked("rnn_cell", weights, x.shape[-1])
    h_last = needed("rnn_cell", "h_last", h_last, (*x.shape[:-1], units))
    return _rnn_cell(x, h_last, weights)


@jax.jit
def _rnn_cell(x, h_last, weights):
    return _cell(weights)(rnn_to_params(weights), SimpleRNNState(h_last), x)[1]


def static_rnn(
    x: ArrayLike,
    weights: RNNWeights,
    *,
    h_0: ArrayLike | None = None,
    max_time_step: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
) -> RNNOutputs:
    """Returns ``rnn_cell`` over a sequence: h of every step and the final one.

    Args:
        x: Input [T, B, I].
        weights: As for ``rnn_cell``.
        h_0: Initial state [B, n]; None for zeros.
        max_time_step: How many steps of each row count, [B] or one number for all, 0 to T; h is 0
            at the others.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        h [T, B, n], and the h [B, n] of each row's last step that counts: ``h_0`` if none does
        (where ``lstm_layer`` has 0).

    Raises:
        ValueError: If a shape or a length does not fit.

    Source: libnd4j, ``static_rnn``.
    """
    return _unidirectional("static_rnn", x, weights, h_0, max_time_step, True, checkpoint)


def dynamic_rnn(
    x: ArrayLike,
    weights: RNNWeights,
    *,
    h_0: ArrayLike | None = None,
    max_time_step: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
    time_major: bool = False,
) -> RNNOutputs:
    """Returns what ``static_rnn`` does, for x [B, T, I], or [T, B, I] if ``time_major``.

    Args:
        x: Input.
        weights: As for ``rnn_cell``.
        h_0: As for ``static_rnn``.
        max_time_step: As for ``static_rnn``.
        checkpoint: As for ``jrnn.rnn``.
        time_major: Whether time is the first axis of x and h.

    Returns:
        h [B, T, n], or [T, B, n], and the final h [B, n].

    Raises:
        ValueError: If a shape or a length does not fit.

    Source: libnd4j, ``dynamic_rnn``.
    """
    return _unidirectional("dynamic_rnn", x, weights, h_0, max_time_step, time_major, checkpoint)


def static_bidirectional_rnn(
    x: ArrayLike,
    forward: RNNWeights,
    backward: RNNWeights,
    *,
    h_0_forward: ArrayLike | None = None,
    h_0_backward: ArrayLike | None = None,
    max_time_step: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
) -> StaticBidirectionalOutputs:
    """Returns ``static_rnn`` in both directions, the two outputs side by side.

    The backward direction starts at each row's last step that counts.

    Args:
        x: Input [T, B, I].
        forward: Weights of the forward direction.
        backward: Weights of the backward direction, of any number of units.
        h_0_forward: Initial state [B, n]; None for zeros.
        h_0_backward: Likewise.
        max_time_step: As for ``static_rnn``.
        checkpoint: As for ``jrnn.rnn``.

    Returns:
        h [T, B, n forward + n backward], and the final h of each direction.

    Raises:
        ValueError: If a shape or a length does not fit.

    Source: libnd4j, ``static_bidirectional_rnn``.
    """
    states = h_0_forward, h_0_backward
    finals, hs = _both(
        "static_bidirectional_rnn", x, forward, backward, states, max_time_step, True, checkpoint
    )
    return StaticBidirectionalOutputs(jnp.concatenate(hs, axis=-1), *finals)


def dynamic_bidirectional_rnn(
    x: ArrayLike,
    forward: RNNWeights,
    backward: RNNWeights,
    *,
    h_0_forward: ArrayLike | None = None,
    h_0_backward: ArrayLike | None = None,
    max_time_step: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
    time_major: bool = False,
) -> DynamicBidirectionalOutputs:
    """Returns ``dynamic_rnn`` in both directions, the two outputs apart.

    Args:
        x: Input [B, T, I], or [T, B, I] if ``time_major``.
        forward: Weights of the forward direction.
        backward: Weights of the backward direction, of any number of units.
        h_0_forward: Initial state [B, n]; None for zeros.
        h_0_backward: Likewise.
        max_time_step: As for ``static_rnn``.
        checkpoint: As for ``jrnn.rnn``.
        time_major: Whether time is the first axis of x and of the outputs.

    Returns:
        h of each direction, at its own steps, and the final h of each.

    Raises:
        ValueError: If a shape or a length does not fit.

    Source: libnd4j, ``dynamic_bidirectional_rnn``.
    """
    states = h_0_forward, h_0_backward
    who = "dynamic_bidirectional_rnn"
    finals, hs = _both(who, x, forward, backward, states, max_time_step, time_major, checkpoint)
    return DynamicBidirectionalOutputs(hs[0], hs[1], finals[0], finals[1])


def _unidirectional(who, x, weights, h_0, max_time_step, time_major, checkpoint) -> RNNOutputs:
    x = sequence(who, x)
    steps, batch = x.shape[:2] if time_major else x.shape[1::-1]
    weights, units = _checked(who, weights, x.shape[2])
    expect(who, (batch, units), h_0=h_0)
    lengths = lengths_of(who, "max_time_step", max_time_step, batch, steps)
    state, h = rnn(
        _cell(weights),
        rnn_to_params(weights),
        x,
        initial_state=_state(h_0),
        lengths=lengths,
        time_major=time_major,
        checkpoint=checkpoint,
    )
    return RNNOutputs(h, state.hidden)


def _both(who, x, forward, backward, states, max_time_step, time_major, checkpoint):
    """Returns the final h of each direction, and its outputs."""
    x = sequence(who, x)
    steps, batch = x.shape[:2] if time_major else x.shape[1::-1]
    both = [_checked(who, weights, x.shape[2]) for weights in (forward, backward)]
    for name, h_0, (_, units) in zip(("forward", "backward"), states, both, strict=True):
        expect(who, (batch, units), **{f"h_0_{name}": h_0})
    cells = [_cell(weights) for weights, _ in both]
    final, hs = bidirectional(
        cells[0],
        BidirectionalParams(*(rnn_to_params(weights) for weights, _ in both)),
        x,
        merge=None,
        backward_cell=cells[1],
        initial_state=[_state(h_0) for h_0 in states],
        lengths=lengths_of(who, "max_time_step", max_time_step, batch, steps),
        time_major=time_major,
        checkpoint=checkpoint,
    )
    return (final.forward.hidden, final.backward.hidden), hs


def _checked(who: str, weights: RNNWeights, features: int) -> tuple[RNNWeights, int]:
    """Returns the weights and the number of units."""
    weights = checked(who, weights, RNNWeights)
    return weights, rnn_units(who, weights, features)


def _cell(weights: RNNWeights) -> SimpleRNNCell:
    return SimpleRNNCell(use_bias=weights.biases is not None)


def _state(h_0: ArrayLike | None) -> SimpleRNNState | None:
    return None if h_0 is None else SimpleRNNState(jnp.asarray(h_0))
