"""The layers with names: ``rnn`` of jrnn's cells of vectors."""

from typing import Literal, Unpack

import jax
from jax.typing import ArrayLike

from jrnn.cells.gru import GRUCell, GRUParams, GRUState
from jrnn.cells.lstm import LSTMCell, LSTMParams, LSTMState
from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNParams, SimpleRNNState
from jrnn.cells.sru import SRUCell, SRUParams, SRUState
from jrnn.layers.cudnn import lstm_cudnn
from jrnn.layers.recurrent import LoopOptions, TimeOptions, rnn
from jrnn.scan import Implementation


def simple_rnn(
    params: SimpleRNNParams,
    xs: ArrayLike,
    *,
    cell: SimpleRNNCell = SimpleRNNCell(),
    **options: Unpack[TimeOptions],
) -> tuple[SimpleRNNState, jax.Array]:
    """Returns ``rnn(cell, params, xs, **options)``: a SimpleRNN over [B, T, F] as (state, ys).

    Args:
        params: kernel [F, U], recurrent_kernel [U, U], bias [U].
        xs: Input [B, T, F].
        cell: The choices, such as ``SimpleRNNCell(activation="relu")``.
        **options: As for ``rnn``: initial_state, lengths, mask, ...

    Returns:
        ``(SimpleRNNState(hidden [B, U]), ys [B, T, U])``.

    Source: ``keras.layers.SimpleRNN``.
    """
    return rnn(cell, params, xs, **options)


def gru(
    params: GRUParams, xs: ArrayLike, *, cell: GRUCell = GRUCell(), **options: Unpack[TimeOptions]
) -> tuple[GRUState, jax.Array]:
    """Returns ``rnn(cell, params, xs, **options)``: a GRU over [B, T, F] as (state, ys).

    Args:
        params: kernel [F, 3U], recurrent_kernel [U, 3U], bias [2, 3U] ([3U] with a cell whose
            ``reset_after`` is False); gate order z, r, h.
        xs: Input [B, T, F].
        cell: The choices, such as ``GRUCell(reset_after=False)``.
        **options: As for ``rnn``: initial_state, lengths, mask, ...

    Returns:
        ``(GRUState(hidden [B, U]), ys [B, T, U])``.

    Source: ``keras.layers.GRU``.
    """
    return rnn(cell, params, xs, **options)


def lstm(
    params: LSTMParams,
    xs: ArrayLike,
    *,
    cell: LSTMCell = LSTMCell(),
    implementation: Implementation | Literal["cudnn"] = "auto",
    **options: Unpack[LoopOptions],
) -> tuple[LSTMState, jax.Array]:
    """Returns ``rnn(cell, params, xs, **options)``: an LSTM over [B, T, F] as (state, ys).

    ``implementation="cudnn"`` hands the whole sequence to NVIDIA's cuDNN. It is for an LSTM of
    tanh and sigmoid on an NVIDIA GPU, and takes less than the others:

    - float32 parameters and input, with one batch axis and sizes known when traced; of the
      options ``initial_state``, ``lengths``, ``reverse``, ``time_major``, ``return_sequences``.
    - Gradients in reverse mode, once: ``jax.jvp``, ``jax.hessian`` and ``jax.vmap`` raise an
      error of JAX. Sharded arrays are not supported.
    - Matrix products are rounded to TF32, unless ``jax_default_matmul_precision`` is "highest"
      or "float32". "bfloat16" and the names of algorithms are refused.
    - Lengths, or T for every row, are copied to the host at each call, which waits for it.
    - cuDNN is handed [B, T, F], so that ``time_major`` costs a transpose of ``xs`` and ``ys``,
      and what the gradient would need is kept even if none is taken.

    Args:
        params: kernel [F, 4U], recurrent_kernel [U, 4U], bias [4U]; gate order i, f, c, o.
        xs: Input [B, T, F].
        cell: The choices, such as ``LSTMCell(peephole=True)``.
        implementation: As for ``rnn``, or "cudnn".
        **options: As for ``rnn``: initial_state, lengths, mask, ...

    Returns:
        ``(LSTMState(hidden [B, U], cell [B, U]), ys [B, T, U])``.

    Raises:
        ValueError: As in ``rnn``; with "cudnn", if there is no NVIDIA GPU or an argument is none
            of the above.

    Source: ``keras.layers.LSTM``; ``jax.experimental.rnn``.
    """
    if implementation == "cudnn":
        return lstm_cudnn(cell, params, xs, **options)
    return rnn(cell, params, xs, implementation=implementation, **options)


def sru(
    params: SRUParams, xs: ArrayLike, *, cell: SRUCell = SRUCell(), **options: Unpack[TimeOptions]
) -> tuple[SRUState, jax.Array]:
    """Returns ``rnn(cell, params, xs, **options)``: an SRU over [B, T, F] as (state, ys).

    Args:
        params: kernel [F, 3U], blocks candidate, forget, reset; bias [2U], forget, reset; and
            highway_kernel [F, U], which may be None where F is U.
        xs: Input [B, T, F].
        cell: The choices, such as ``SRUCell(activation="linear")``.
        **options: As for ``rnn``: initial_state, lengths, mask, ...

    Returns:
        ``(SRUState(cell [B, U]), ys [B, T, U])``.

    Source: Lei et al., 2018 (arXiv:1709.02755); ND4J's ``sru``.
    """
    return rnn(cell, params, xs, **options)
