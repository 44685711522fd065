"""ConvLSTM: an LSTM whose two products are convolutions."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from jrnn import activations, initializers
from jrnn.cells.base import Masks, check_bias, check_type, narrowed, wide
from jrnn.cells.convolution import ConvCell
from jrnn.cells.gates import lstm_gates


class ConvLSTMParams(NamedTuple):
    """Parameters of a ConvLSTM, in Keras's layout; gate order i, f, c, o for both data formats.

    ``K`` and ``R`` stand for the sizes of the two windows, ``C`` for the input's channels.
    """

    kernel: jax.Array  # [*K, C, 4U]
    recurrent_kernel: jax.Array  # [*R, U, 4U]
    bias: jax.Array | None = None  # [4U]


class ConvLSTMState(NamedTuple):
    """State of a ConvLSTM: images of the size of the input's convolution."""

    hidden: jax.Array  # [..., *S, U], or [..., U, *S] with channels_first
    cell: jax.Array  # likewise


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvLSTMCell(ConvCell):
    """Long short-term memory over images of 1, 2 or 3 axes.

    With ``a = recurrent_activation``, ``*`` the convolution of the input and ``°`` that of the
    state, and the gates in the order i, f, c, o on the channels' axis::

        i, f, g, o = split(x * kernel + bias + h ° recurrent_kernel, 4)
        c' = a(f) c + a(i) activation(g)
        h' = a(o) activation(c')

    The output is ``h'``. Only the input's convolution strides, dilates and pads; the state's has
    a window for every pixel. Both are cross-correlations, as everywhere but in Theano.

    Args:
        rank: Number of axes of an image: 1, 2 or 3.
        kernel_size: Of both kernels that ``init`` draws: a size, or one for each axis.
        strides: Steps of the window, likewise.
        padding: "valid" (none) or "same" (zeros, so that strides of 1 keep the image's size).
        dilation: Distances of the pixels in a window, likewise.
        data_format: Whether inputs, states and outputs are [..., *S, C] ("channels_last") or
            [..., C, *S] ("channels_first"). Kernels are the same for both.
        same_rule: Where the windows of "same" padding start: "tensorflow" (half of the zeros
            needed come before the image, an odd one after it) or "theano" (half a window before
            the image).
        activation: Of the candidate and of the cell: a function or a name known to
            ``jrnn.activations.get``.
        recurrent_activation: Of the three gates.
        use_bias: Whether the parameters hold a bias.
        kernel_initializer: A function or name known to ``jrnn.initializers.get``.
        recurrent_initializer: Likewise, for the recurrent kernel.
        bias_initializer: Likewise, for the bias.
        unit_forget_bias: Whether ``init`` sets the forget gate's bias to one.

    Source: Shi et al., 2015 (arXiv:1506.04214), without peepholes; ``keras.layers.ConvLSTM2D``.
    """

    gates: ClassVar[int] = 4

    unit_forget_bias: bool = True

    def init(
        self, key: jax.Array, features: int, units: int, dtype: DTypeLike = jnp.float32
    ) -> ConvLSTMParams:
        """Returns fresh parameters for images of C = ``features`` channels: see the class."""
        kernel, recurrent, key = self._init_arrays(key, features, units, 4, dtype)
        if not self.use_bias:
            return ConvLSTMParams(kernel, recurrent)
        bias = initializers.get(self.bias_initializer)(key, (4 * units,), dtype)
        if self.unit_forget_bias:
            bias = bias.at[units : 2 * units].set(1)
        return ConvLSTMParams(kernel, recurrent, bias)

    def initial_state(self, params: ConvLSTMParams, z: jax.Array) -> ConvLSTMState:
        """Returns the zero state."""
        zeros = self._zeros(params, z, 4)
        return ConvLSTMState(zeros, zeros)

    def project(self, params: ConvLSTMParams, xs: ArrayLike, *, dropout: Masks = ()) -> jax.Array:
        """Returns the convolution and bias [..., *S, 4U] of images [..., *S, C]."""
        check_type("ConvLSTMCell", params, ConvLSTMParams)
        check_bias("ConvLSTMCell", params.bias, self.use_bias, params.kernel.shape[-1:])
        zs = self._of_input(params, xs, 4, dropout)
        zs = zs if params.bias is None else self._add_bias(zs, params.bias)
        return narrowed(zs, jnp.result_type(xs, params.kernel))

    def step(
        self, params: ConvLSTMParams, state: ConvLSTMState, z: jax.Array, *, dropout: Masks = ()
    ) -> tuple[ConvLSTMState, jax.Array]:
        """Returns the next state and the output [..., *S, U]."""
        pre, old_cell = wide(z), wide(state.cell)
        pre = pre + self._of_state(params.recurrent_kernel, state.hidden, dropout)
        activation = activations.get(self.activation)
        gate = activations.get(self.recurrent_activation)
        standard = activation is activations.tanh and gate is activations.sigmoid
        if standard and self.channel_axis == -1:
            hidden, cell = lstm_gates(pre, old_cell)
        else:
            i, f, g, o = self._split(pre, 4)
            cell = gate(f) * old_cell + gate(i) * activation(g)
            hidden = gate(o) * activation(cell)
        hidden, cell = narrowed((hidden, cell), state.hidden.dtype)
        return ConvLSTMState(hidden, cell), hidden
