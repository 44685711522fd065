"""Cells by name, with the arguments that Flax's have."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Required, TypedDict, Unpack

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

import jrnn
from jrnn.activations import Activation
from jrnn.flax_wrappers.carry import plain_function, windows
from jrnn.flax_wrappers.nnx.cell import Initializer, Metadata, RNNCell


class Shared(TypedDict, total=False):
    """What all the named cells and layers take, in Flax's words.

    Attributes:
        use_bias: Whether there is a bias; True unless said otherwise.
        kernel_init: ``(key, shape, dtype) -> array`` or a name, of the kernel, all gates at once;
            "lecun_normal" unless said otherwise, as in Flax.
        recurrent_kernel_init: Likewise, of the recurrent kernel; "orthogonal".
        bias_init: Likewise, of the bias; "zeros".
        dtype: Of the computation; None promotes parameters and inputs.
        param_dtype: Of the parameters, float32 unless said otherwise.
        carry_init: Of the first carry; None for zeros.
        kernel_metadata: What the kernel's ``nnx.Param`` is made with.
        recurrent_kernel_metadata: Likewise.
        bias_metadata: Likewise.
        rngs: Draws the parameters, from the stream ``params``.
    """

    use_bias: bool
    kernel_init: Initializer | str
    recurrent_kernel_init: Initializer | str
    bias_init: Initializer | str
    dtype: DTypeLike | None
    param_dtype: DTypeLike
    carry_init: Initializer | None
    kernel_metadata: Metadata
    recurrent_kernel_metadata: Metadata
    bias_metadata: Metadata
    rngs: Required[nnx.Rngs]


class SimpleCell(RNNCell):
    """Elman's cell, with the arguments of ``flax.nnx.SimpleCell``.

    Args:
        in_features: Size of the input.
        hidden_features: Size of the state.
        activation_fn: Of the state.
        **shared: See ``Shared``.

    Source: ``flax.nnx.SimpleCell``; ``jrnn.SimpleRNNCell``.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        activation_fn: Activation | str = "tanh",
        **shared: Unpack[Shared],
    ):
        choices = {"activation": plain_function(activation_fn)}
        _build(self, jrnn.SimpleRNNCell, choices, in_features, hidden_features, shared)


class GRUCell(RNNCell):
    """A GRU, with the arguments of ``flax.nnx.GRUCell``.

    Args:
        in_features: Size of the input.
        hidden_features: Size of the state.
        gate_fn: Of the two gates.
        activation_fn: Of the candidate.
        reset_after: As for ``jrnn.GRUCell``; Flax's GRU resets after the product.
        **shared: See ``Shared``.

    Source: ``flax.nnx.GRUCell``; ``jrnn.GRUCell``.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        gate_fn: Activation | str = "sigmoid",
        activation_fn: Activation | str = "tanh",
        reset_after: bool = True,
        **shared: Unpack[Shared],
    ):
        choices = {
            "activation": plain_function(activation_fn),
            "recurrent_activation": plain_function(gate_fn),
            "reset_after": reset_after,
        }
        _build(self, jrnn.GRUCell, choices, in_features, hidden_features, shared)


class LSTMCell(RNNCell):
    """An LSTM, with the arguments of ``flax.nnx.LSTMCell``; the carry is ``(c, h)``.

    Args:
        in_features: Size of the input.
        hidden_features: Size of the state.
        gate_fn: Of the three gates.
        activation_fn: Of the candidate and of the cell.
        unit_forget_bias: Whether the forget gate's bias starts at one; Flax's does not.
        peephole: As for ``jrnn.LSTMCell``.
        projection: As for ``jrnn.LSTMCell``.
        cell_clip: As for ``jrnn.LSTMCell``.
        **shared: See ``Shared``.

    Source: ``flax.nnx.LSTMCell``, ``flax.nnx.OptimizedLSTMCell``; ``jrnn.LSTMCell``.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        gate_fn: Activation | str = "sigmoid",
        activation_fn: Activation | str = "tanh",
        unit_forget_bias: bool = False,
        peephole: bool = False,
        projection: int | None = None,
        cell_clip: float | None = None,
        **shared: Unpack[Shared],
    ):
        choices = {
            "activation": plain_function(activation_fn),
            "recurrent_activation": plain_function(gate_fn),
            "unit_forget_bias": unit_forget_bias,
            "peephole": peephole,
            "projection": projection,
            "cell_clip": cell_clip,
        }
        _build(self, jrnn.LSTMCell, choices, in_features, hidden_features, shared)


OptimizedLSTMCell = LSTMCell
"""`LSTMCell`: Flax has two, which compute the same."""


class SRUCell(RNNCell):
    """A simple recurrent unit; the carry is its cell state.

    Args:
        in_features: Size of the input.
        hidden_features: Size of the state.
        activation_fn: Of the cell's state.
        **shared: See ``Shared``; there is no recurrent kernel.

    Source: ``jrnn.SRUCell``.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        activation_fn: Activation | str = "tanh",
        **shared: Unpack[Shared],
    ):
        choices = {"activation": plain_function(activation_fn)}
        _build(self, jrnn.SRUCell, choices, in_features, hidden_features, shared)


class ConvLSTMCell(RNNCell):
    """A convolutional LSTM; inputs are [..., *S, C], the carry is ``(c, h)``.

    Args:
        in_features: Channels of the input.
        features: Channels of the state.
        kernel_size: Of the windows: a size for each axis of an image, which are 1, 2 or 3.
        strides: Of the input's windows.
        padding: "same" or "valid", in any case.
        gate_fn: Of the three gates.
        activation_fn: Of the candidate and of the cell.
        unit_forget_bias: Whether the forget gate's bias starts at one; Linen's adds one, always.
        **shared: See ``Shared``; the recurrent kernel starts as "lecun_normal", too.

    Source: ``flax.linen.ConvLSTMCell``; ``jrnn.ConvLSTMCell``.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        kernel_size: Sequence[int] = (3, 3),
        *,
        strides: int | Sequence[int] = 1,
        padding: str = "SAME",
        gate_fn: Activation | str = "sigmoid",
        activation_fn: Activation | str = "tanh",
        unit_forget_bias: bool = True,
        **shared: Unpack[Shared],
    ):
        choices = {
            **windows(kernel_size, strides, padding),
            "activation": plain_function(activation_fn),
            "recurrent_activation": plain_function(gate_fn),
            "unit_forget_bias": unit_forget_bias,
        }
        shared.setdefault("recurrent_kernel_init", "lecun_normal")
        _build(self, jrnn.ConvLSTMCell, choices, in_features, features, shared)


def _build(
    module: RNNCell,
    kind: type,
    choices: dict[str, Any],
    in_features: Any,
    hidden_features: Any,
    shared: Shared,
) -> None:
    """Initialises the module with a cell made of Flax's words."""
    given: dict[str, Any] = dict(shared)
    options = {field.name for field in dataclasses.fields(kind)}
    drawn = {
        option: given.pop(word, default)
        for option, (word, default) in _INITIALIZERS.items()
        if option in options
    }
    cell = kind(use_bias=given.pop("use_bias", True), **drawn, **choices)
    words = [word for word in given if word.endswith("_metadata")]
    metadata = {word.removesuffix("_metadata"): given.pop(word) for word in words}
    given.setdefault("param_dtype", jnp.float32)
    RNNCell.__init__(module, cell, in_features, hidden_features, metadata=metadata, **given)


_INITIALIZERS = {  # an option of jrnn's cells, Flax's word for it and its default there
    "kernel_initializer": ("kernel_init", "lecun_normal"),
    "recurrent_initializer": ("recurrent_kernel_init", "orthogonal"),
    "bias_initializer": ("bias_init", "zeros"),
}
