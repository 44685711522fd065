"""Layers as Linen modules: a cell over a sequence, both directions, layers on one another."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
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
from jrnn.flax_wrappers.checks import check_both, check_cell_module, check_stack
from jrnn.flax_wrappers.linen.cell import CellModule
from jrnn.flax_wrappers.linen.foreign import as_cell


class RNN(nn.Module):
    """A cell over a sequence: ``flax.linen.RNN`` run by ``jrnn.rnn``.

    Attributes:
        cell: A cell module: jrnn's, Flax's or one of one's own that has only "params".
        time_major: Whether time is the first axis of inputs and outputs.
        return_carry: Whether a call returns ``(carry, outputs)``.
        reverse: Whether to go from the last step to the first.
        keep_order: Whether, with ``reverse``, the outputs stand at their own steps; otherwise they
            are in the order computed, as in Flax.
        unroll: Steps of the loop per iteration.
        implementation: As for ``jrnn.rnn``.
        checkpoint: As for ``jrnn.rnn``: trades a second forward pass for memory.
        deterministic: Whether dropout is off. What cells draw is drawn from ``dropout``.

    Differences from Flax: with ``seq_lengths`` the outputs of steps that do not count are 0, a row
    of length 0 returns its initial carry, and what padding holds (NaN, say) reaches nothing.

    Source: ``flax.linen.RNN``.
    """

    cell: Any
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False
    unroll: int = 1
    implementation: Any = "auto"
    checkpoint: Any = None
    deterministic: bool = False

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        initial_carry: Any = None,
        init_key: jax.Array | None = None,
        seq_lengths: ArrayLike | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        deterministic: bool | None = None,
    ) -> Any:
        """Returns the outputs [B, T, U], or ``(carry, outputs)``.

        Args:
            inputs: [B, T, F], or [T, B, F] if ``time_major``; any number of batch axes.
            initial_carry: As a call returns it; None for ``cell.initialize_carry``.
            init_key: What that draws from.
            seq_lengths: Integers [B]: how many steps of each row count.
            return_carry: In the place of the module's own, like the four below.
            time_major: See there.
            reverse: See there.
            keep_order: See there.
            deterministic: See there.

        Raises:
            ValueError: If a shape, a dtype or a length does not fit.
        """
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order
        deterministic = self.deterministic if deterministic is None else deterministic
        check_cell_module("linen", self.cell)
        own = isinstance(self.cell, CellModule)
        x = cast(inputs, self.cell.dtype if own else None)
        axis = 0 if time_major else x.ndim - self.cell.num_feature_axes - 1
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        if own:
            plain, weights = self.cell.plain, self.cell.weights(x.shape[-1])
        else:
            plain, weights = as_cell(self.cell, shape, x.dtype)
        if initial_carry is None and not (own and self.cell.carry_init is None):
            key = jax.random.key(0) if init_key is None else init_key
            initial_carry = self.cell.initialize_carry(key, shape)
        is_random = draws(plain) and not deterministic and not self.is_initializing()
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
            key=self.make_rng("dropout") if is_random else None,
        )
        if reverse and not keep_order:
            ys = in_order_computed(ys, seq_lengths, axis)
        return_carry = self.return_carry if return_carry is None else return_carry
        return (carry_of(plain, state), ys) if return_carry else ys


class Bidirectional(nn.Module):
    """Two layers over the same sequence in opposite directions, as ``flax.linen.Bidirectional``.

    Attributes:
        forward_rnn: The layer that goes forward.
        backward_rnn: The layer that goes backward; its outputs stand at their own steps.
        merge_fn: Of the two outputs; None concatenates them.
        time_major: Whether time is the first axis.
        return_carry: Whether a call returns ``((carry forward, carry backward), outputs)``.

    Source: ``flax.linen.Bidirectional``.
    """

    forward_rnn: Any
    backward_rnn: Any
    merge_fn: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    time_major: bool = False
    return_carry: bool = False

    def __call__(
        self,
        inputs: ArrayLike,
        *,
        initial_carry: tuple[Any, Any] | None = None,
        init_key: jax.Array | None = None,
        seq_lengths: ArrayLike | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
    ) -> Any:
        """Returns the merged outputs, or ``(carries, outputs)``; arguments as for ``RNN``."""
        carries = (None, None) if initial_carry is None else initial_carry
        check_both(carries)
        keys = (None, None) if init_key is None else jax.random.split(init_key)
        options: Any = {
            "seq_lengths": seq_lengths,
            "return_carry": True,
            "time_major": self.time_major if time_major is None else time_major,
        }
        forward, ys = self.forward_rnn(
            inputs, initial_carry=carries[0], init_key=keys[0], reverse=False, **options
        )
        options |= {"reverse": True, "keep_order": True}
        backward, ys_back = self.backward_rnn(
            inputs, initial_carry=carries[1], init_key=keys[1], **options
        )
        merge = self.merge_fn or (lambda a, b: jnp.concatenate([a, b], axis=-1))
        outputs = merge(ys, ys_back)
        return_carry = self.return_carry if return_carry is None else return_carry
        return ((forward, backward), outputs) if return_carry else outputs


class StackedRNN(nn.Module):
    """Layers on one another, with dropout of what goes from one to the next.

    Attributes:
        layers: Of ``RNN`` or ``Bidirectional``, lowest first.
        dropout: Probability that a feature of a layer's output is dropped on its way to the next
            layer, drawn anew at each step, from ``dropout``. The last layer's output is whole.
        deterministic: Whether the dropout is off.
        return_carry: Whether a call returns ``(carries, outputs)``.

    Source: ``torch.nn.LSTM(num_layers=, dropout=)``.
    """

    layers: Sequence[Any]
    dropout: float = 0.0
    deterministic: bool = False
    return_carry: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: ArrayLike,
        *,
        initial_carry: Sequence[Any] | None = None,
        seq_lengths: ArrayLike | None = None,
        return_carry: bool | None = None,
        deterministic: bool | None = None,
    ) -> Any:
        """Returns the last layer's outputs, or ``(carries, outputs)``, a carry for each layer.

        Raises:
            ValueError: If there is no layer, there is not one initial carry for each, or as in
                ``RNN``.
        """
        check_stack(self.layers, self.dropout)
        carries = carries_of_layers(self.layers, initial_carry)
        off = self.deterministic if deterministic is None else deterministic
        finals, ys = [], jnp.asarray(inputs)
        for number, (layer, carry) in enumerate(zip(self.layers, carries, strict=True)):
            if number > 0 and self.dropout > 0:
                ys = nn.Dropout(self.dropout, deterministic=off or self.is_initializing())(ys)
            final, ys = layer(ys, initial_carry=carry, seq_lengths=seq_lengths, return_carry=True)
            finals.append(final)
        return_carry = self.return_carry if return_carry is None else return_carry
        return (tuple(finals), ys) if return_carry else ys
