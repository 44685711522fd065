"""Cells by name, with the arguments that Flax's have."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

import jrnn
from jrnn.flax_wrappers.carry import plain_function, windows
from jrnn.flax_wrappers.linen.cell import CellModule, Initializer


class SimpleCell(CellModule):
    """``jrnn.SimpleRNNCell`` with the attributes of ``flax.linen.SimpleCell``; see ``LSTMCell``."""

    features: int
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "orthogonal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True

    @property
    def plain(self) -> jrnn.SimpleRNNCell:
        """The cell of jrnn."""
        return jrnn.SimpleRNNCell(plain_function(self.activation_fn), **_initializers(self))


class GRUCell(CellModule):
    """A GRU, with the attributes of ``flax.linen.GRUCell``; see ``LSTMCell``.

    Attributes:
        reset_after: As for ``jrnn.GRUCell``; Flax's GRU resets after the product.

    Source: ``flax.linen.GRUCell``; ``jrnn.GRUCell``.
    """

    features: int
    gate_fn: Any = "sigmoid"
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "orthogonal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True
    reset_after: bool = True

    @property
    def plain(self) -> jrnn.GRUCell:
        """The cell of jrnn."""
        return jrnn.GRUCell(*_functions(self), reset_after=self.reset_after, **_initializers(self))


class LSTMCell(CellModule):
    """An LSTM, with the attributes of ``flax.linen.LSTMCell``; the carry is ``(c, h)``.

    Attributes:
        features: Size of the state.
        gate_fn: Of the three gates: a function or a name.
        activation_fn: Of the candidate and of the cell.
        kernel_init: ``(key, shape, dtype) -> array`` or a name, of the kernel, all gates at once;
            ``nn.with_partitioning`` adds axis names.
        recurrent_kernel_init: Likewise, of the recurrent kernel.
        bias_init: Likewise, of the bias.
        dtype: Of the computation; None promotes parameters and inputs.
        param_dtype: Of the parameters.
        carry_init: ``(key, shape, dtype) -> array``, of the first carry.
        use_bias: Whether there is a bias.
        unit_forget_bias: Whether the forget gate's bias starts at one; Flax's does not.
        peephole: As for ``jrnn.LSTMCell``.
        projection: As for ``jrnn.LSTMCell``.
        cell_clip: As for ``jrnn.LSTMCell``.

    Source: ``flax.linen.LSTMCell``, ``flax.linen.OptimizedLSTMCell``; ``jrnn.LSTMCell``.
    """

    features: int
    gate_fn: Any = "sigmoid"
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "orthogonal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True
    unit_forget_bias: bool = False
    peephole: bool = False
    projection: int | None = None
    cell_clip: float | None = None

    @property
    def plain(self) -> jrnn.LSTMCell:
        """The cell of jrnn."""
        own = ("unit_forget_bias", "peephole", "projection", "cell_clip")
        options = {name: getattr(self, name) for name in own}
        return jrnn.LSTMCell(*_functions(self), **options, **_initializers(self))


OptimizedLSTMCell = LSTMCell
"""`LSTMCell`: Flax has two, which compute the same."""


class SRUCell(CellModule):
    """``jrnn.SRUCell``; the carry is its cell state; attributes as ``SimpleCell`` has."""

    features: int
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    bias_init: Initializer = "zeros"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    use_bias: bool = True

    @property
    def plain(self) -> jrnn.SRUCell:
        """The cell of jrnn."""
        return jrnn.SRUCell(plain_function(self.activation_fn), **_initializers(self))


class ConvLSTMCell(CellModule):
    """A convolutional LSTM, with the attributes of ``flax.linen.ConvLSTMCell``.

    Inputs are [..., *S, C], the carry is ``(c, h)``.

    Attributes:
        features: Channels of the state.
        kernel_size: Of the windows: a size for each axis of an image, which are 1, 2 or 3.
        strides: Of the input's windows; None for 1.
        padding: "SAME" or "VALID", in any case.
        use_bias: Whether there is a bias.
        unit_forget_bias: Whether the forget gate's bias starts at one; Flax's adds one, always.

    Source: ``flax.linen.ConvLSTMCell``; ``jrnn.ConvLSTMCell``.
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sequence[int] | int | None = None
    padding: str = "SAME"
    use_bias: bool = True
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    carry_init: Initializer = nn.initializers.zeros_init()
    gate_fn: Any = "sigmoid"
    activation_fn: Any = "tanh"
    kernel_init: Initializer = "lecun_normal"
    recurrent_kernel_init: Initializer = "lecun_normal"
    bias_init: Initializer = "zeros"
    unit_forget_bias: bool = True

    @property
    def plain(self) -> jrnn.ConvLSTMCell:
        """The cell of jrnn."""
        activation, gate = _functions(self)
        return jrnn.ConvLSTMCell(
            **windows(self.kernel_size, self.strides, self.padding),
            activation=activation,
            recurrent_activation=gate,
            unit_forget_bias=self.unit_forget_bias,
            **_initializers(self),
        )


def _functions(module: Any) -> tuple[Any, Any]:
    return plain_function(module.activation_fn), plain_function(module.gate_fn)


def _initializers(module: Any) -> dict[str, Any]:
    words = {
        "kernel_initializer": "kernel_init",
        "recurrent_initializer": "recurrent_kernel_init",
        "bias_initializer": "bias_init",
    }
    given = {option: getattr(module, word, None) for option, word in words.items()}
    return {"use_bias": module.use_bias} | {k: v for k, v in given.items() if v is not None}
