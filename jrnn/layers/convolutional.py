"""Convolutional cells over time, their rank read off the kernel."""

from typing import Unpack

import jax
from jax.typing import ArrayLike

from jrnn.cells.base import check_type
from jrnn.cells.conv_gru import ConvGRUCell, ConvGRUParams, ConvGRUState
from jrnn.cells.conv_lstm import ConvLSTMCell, ConvLSTMParams, ConvLSTMState
from jrnn.layers.recurrent import TimeOptions, rnn


def conv_lstm(
    params: ConvLSTMParams,
    xs: ArrayLike,
    *,
    cell: ConvLSTMCell | None = None,
    **options: Unpack[TimeOptions],
) -> tuple[ConvLSTMState, jax.Array]:
    """Returns ``rnn(cell, params, xs, **options)``: a ConvLSTM over images as (state, ys).

    Args:
        params: kernel [*K, C, 4U], recurrent_kernel [*R, U, 4U], bias [4U]; gate order i, f, c, o.
        xs: Input [B, T, *S, C], or [B, T, C, *S] with ``data_format="channels_first"``.
        cell: The choices, such as ``ConvLSTMCell(rank=3, padding="same")``; None for the defaults
            and the kernel's rank.
        **options: As for ``rnn``: initial_state, lengths, mask, ...

    Returns:
        ``(ConvLSTMState(hidden [B, *S, U], cell [B, *S, U]), ys [B, T, *S, U])``, the sizes S being
        those of the input's convolution.

    Source: ``keras.layers.ConvLSTM1D``, ``ConvLSTM2D`` and ``ConvLSTM3D``.
    """
    check_type("jrnn.conv_lstm", params, ConvLSTMParams)
    return rnn(cell or ConvLSTMCell(rank=params.kernel.ndim - 2), params, xs, **options)


def conv_gru(
    params: ConvGRUParams,
    xs: ArrayLike,
    *,
    cell: ConvGRUCell | None = None,
    **options: Unpack[TimeOptions],
) -> tuple[ConvGRUState, jax.Array]:
    """Returns ``rnn(cell, params, xs, **options)``: a ConvGRU over images as (state, ys).

    Args:
        params: kernel [*K, C, 3U], recurrent_kernel [*R, U, 3U], bias [2, 3U] ([3U] with a cell
            whose ``reset_after`` is False); gate order z, r, h.
        xs: Input [B, T, *S, C], or [B, T, C, *S] with ``data_format="channels_first"``.
        cell: The choices, such as ``ConvGRUCell(padding="same")``; None for the defaults and the
            kernel's rank.
        **options: As for ``rnn``: initial_state, lengths, mask, ...

    Returns:
        ``(ConvGRUState(hidden [B, *S, U]), ys [B, T, *S, U])``.

    Source: Ballas et al., 2015 (arXiv:1511.06432).
    """
    check_type("jrnn.conv_gru", params, ConvGRUParams)
    return rnn(cell or ConvGRUCell(rank=params.kernel.ndim - 2), params, xs, **options)
