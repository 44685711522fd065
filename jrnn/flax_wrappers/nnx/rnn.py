"""Layers as NNX modules: a cell over a sequence, both directions, layers on one another."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

import jrnn
from jrnn.cells.noise import draws
from jrnn.flax_wrappers.carry import (
    carries_of_layers,
    carry_of,
    cast,
    in_order_computed,
    state_of,
)
from jrnn.flax_wrappers.checks import check_both, check_stack
from jrnn.flax_wrappers.nnx.cell import RNNCell
from jrnn.flax_wrappers.nnx.foreign import as_cell


class RNN(nnx.Module):
    """A cell over a sequence: ``flax.nnx.RNN`` run by ``jrnn.rnn``.

    Args:
        cell: A cell module: jrnn's, Flax's or one of one's own that has only parameters.
        time_major: Whether time is the first axis of inputs and outputs.
        return_carry: Whether a call returns ``(carry, outputs)``.
        reverse: Whether to go from the last step to the first.
        keep_order: Whether, with ``reverse``, the outputs stand at their own steps; otherwise they
            are in the order computed, as in Flax.
        unroll: Steps of the loop per iteration.
        implementation: As for ``jrnn.rnn``.
        checkpoint: As for ``jrnn.rnn``: trades a second forward pass for memory.
        rngs: Draws, from the stream ``dropout``, what a cell such as ``jrnn.DropoutCell`` does, and
            the first carry, from the stream ``carry``, for a cell with ``carry_init``; for the
            latter True stands for a stream of its own.

    Attributes:
        deterministic: Whether dropout is off; ``module.eval()`` sets it and ``module.train()``
            clears it.

    Differences from Flax: with ``seq_lengths`` the outputs of steps that do not count are 0, a row
    of length 0 returns its initial carry, and what padding holds (NaN, say) reaches nothing.

    Source: ``flax.nnx.RNN``.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        unroll: int = 1,
        implementation: Any = "auto",
        checkpoint: Any = None,
        rngs: nnx.Rngs | nnx.RngStream | bool = True,
    ):
        self.cell: Any = cell
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order
        self.unroll = unroll
        self.implementation = implementation
        self.checkpoint = checkpoint
        self.deterministic = False
        self.rngs = nnx.data(dropout_stream(rngs) if self._draws_dropout() else None)
        self.carry_rngs = nnx.data(_carry_stream(rngs) if self._draws_carry() else None)

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        initial_carry: Any = None,
        seq_lengths: ArrayLike | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> Any:
        """Returns the outputs [B, T, U], or ``(carry, outputs)``.

        Args:
            inputs: [B, T, F], or [T, B, F] if ``time_major``; any number of batch axes.
            initial_carry: As a call returns it; None for the cell's own start.
            seq_lengths: Integers [B]: how many steps of each row count.
            return_carry: In the place of the module's own, like the three below.
            time_major: See there.
            reverse: See there.
            keep_order: See there.
            rngs: Draws dropout in the place of the module's own.

        Raises:
            ValueError: If a shape, a dtype or a length does not fit, or dropout has no ``rngs``.
        """
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        cell, x = self.cell, jnp.asarray(inputs)
        if isinstance(cell, RNNCell):
            plain, weights, x = cell.cell, cell.weights(), cast(x, cell.dtype)
        else:
            plain, weights = as_cell(cell)
        axis = 0 if time_major else x.ndim - cell.num_feature_axes - 1
        if initial_carry is None and self._draws_carry():
            shape = (*x.shape[:axis], *x.shape[axis + 1 :])
            stream = self.carry_rngs if rngs is None else _carry_stream(rngs)
            initial_carry = cell.initialize_carry(shape, stream)
        state, ys = jrnn.rnn(
            plain,
            weights,
            x,
            initial_state=None if initial_carry is None else state_of(plain, initial_carry),
            lengths=seq_lengths,
            reverse=reverse,
            time_major=time_major,
            unroll=self.unroll,
            implementation=self.implementation,
            checkpoint=self.checkpoint,
            key=self._key(rngs),
        )
        if reverse and not keep_order:
            ys = in_order_computed(ys, seq_lengths, axis)
        return_carry = self.return_carry if return_carry is None else return_carry
        return (carry_of(plain, state), ys) if return_carry else ys

    def _draws_dropout(self) -> bool:
        return isinstance(self.cell, RNNCell) and draws(self.cell.cell)

    def _draws_carry(self) -> bool:
        """Whether the first carry is the cell module's, and not what the loop starts from."""
        return not isinstance(self.cell, RNNCell) or self.cell.carry_init is not None

    def _key(self, rngs: nnx.Rngs | nnx.RngStream | None) -> jax.Array | None:
        if self.deterministic or not self._draws_dropout():
            return None
        stream = self.rngs if rngs is None else dropout_stream(rngs)
        if stream is None:
            raise ValueError(
                f"jrnn.flax_wrappers: {type(self.cell.cell).__name__} draws dropout, but there are "
                "no rngs; give the module or the call rngs=, or turn dropout off with eval()"
            )
        return stream()


class Bidirectional(nnx.Module):
    """Two layers over the same sequence in opposite directions, as ``flax.nnx.Bidirectional``.

    Args:
        forward_rnn: The layer that goes forward.
        backward_rnn: The layer that goes backward; its outputs stand at their own steps.
        merge_fn: Of the two outputs; they are concatenated unless said otherwise.
        time_major: Whether time is the first axis.
        return_carry: Whether a call returns ``((carry forward, carry backward), outputs)``.
        rngs: What both layers draw from in the place of their own, if there is any.

    Source: ``flax.nnx.Bidirectional``.
    """

    def __init__(
        self,
        forward_rnn: RNN,
        backward_rnn: RNN,
        *,
        merge_fn: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
        time_major: bool = False,
        return_carry: bool = False,
        rngs: nnx.Rngs | nnx.RngStream | bool = True,
    ):
        self.rngs = nnx.data(None if isinstance(rngs, bool) else rngs)
        self.forward_rnn = forward_rnn
        self.backward_rnn = backward_rnn
        self.merge_fn = merge_fn
        self.time_major = time_major
        self.return_carry = return_carry

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        initial_carry: tuple[Any, Any] | None = None,
        seq_lengths: ArrayLike | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> Any:
        """Returns the merged outputs, or ``(carries, outputs)``; arguments as for ``RNN``."""
        carries = (None, None) if initial_carry is None else initial_carry
        check_both(carries)
        options: Any = {
            "seq_lengths": seq_lengths,
            "return_carry": True,
            "time_major": self.time_major if time_major is None else time_major,
            "rngs": self.rngs if rngs is None else rngs,
        }
        forward, ys = self.forward_rnn(inputs, initial_carry=carries[0], reverse=False, **options)
        backward, ys_back = self.backward_rnn(
            inputs, initial_carry=carries[1], reverse=True, keep_order=True, **options
        )
        merge = self.merge_fn or (lambda a, b: jnp.concatenate([a, b], axis=-1))
        outputs = merge(ys, ys_back)
        return_carry = self.return_carry if return_carry is None else return_carry
        return ((forward, backward), outputs) if return_carry else outputs


class StackedRNN(nnx.Module):
    """Layers on one another, with dropout of what goes from one to the next.

    Args:
        layers: Of ``RNN`` or ``Bidirectional``, lowest first.
        dropout: Probability that a feature of a layer's output is dropped on its way to the next
            layer, drawn anew at each step. The last layer's output is whole.
        return_carry: Whether a call returns ``(carries, outputs)``.
        rngs: Draws the dropout, from the stream ``dropout``.

    Source: ``torch.nn.LSTM(num_layers=, dropout=)``.
    """

    def __init__(
        self,
        layers: Sequence[Any],
        *,
        dropout: float = 0.0,
        return_carry: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        check_stack(layers, dropout)
        self.layers = nnx.List(layers)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.return_carry = return_carry

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        initial_carry: Sequence[Any] | None = None,
        seq_lengths: ArrayLike | None = None,
        return_carry: bool | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Any:
        """Returns the last layer's outputs, or ``(carries, outputs)``, a carry for each layer.

        Raises:
            ValueError: If there is not one initial carry for each layer, or as in ``RNN``.
        """
        carries = carries_of_layers(self.layers, initial_carry)
        finals, ys = [], jnp.asarray(inputs)
        for number, (layer, carry) in enumerate(zip(self.layers, carries, strict=True)):
            ys = ys if number == 0 else self.dropout(ys, rngs=rngs)
            final, ys = layer(
                ys, initial_carry=carry, seq_lengths=seq_lengths, return_carry=True, rngs=rngs
            )
            finals.append(final)
        return_carry = self.return_carry if return_carry is None else return_carry
        return (tuple(finals), ys) if return_carry else ys


def dropout_stream(rngs: nnx.Rngs | nnx.RngStream | bool | None) -> nnx.RngStream | None:
    """Returns what dropout draws from, or None."""
    if isinstance(rngs, nnx.Rngs):
        return rngs.dropout.fork()
    return rngs if isinstance(rngs, nnx.RngStream) else None


def _carry_stream(rngs: nnx.Rngs | nnx.RngStream | bool | None) -> nnx.RngStream | None:
    """Returns what a first carry is drawn from, or None; for True a stream of its own, as Flax."""
    if isinstance(rngs, nnx.Rngs):
        return rngs.carry.fork()
    if rngs is True:
        return nnx.RngStream(0, tag="carry")
    return rngs if isinstance(rngs, nnx.RngStream) else None
