"""Layers that Keras 1 or 2 had and Keras 3 has no more."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jrnn import activations
from jrnn.activations import Activation
from jrnn.layers.core import DenseParams
from jrnn.model.layer import Layer, Result


class HighwayParams(NamedTuple):
    """Parameters of a highway layer."""

    kernel: jax.Array  # [F, F]
    carry_kernel: jax.Array  # [F, F]
    bias: jax.Array | None = None  # [F]
    carry_bias: jax.Array | None = None  # [F]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Highway(Layer):
    """``t * activation(x @ W + b) + (1 - t) * x`` with ``t = sigmoid(x @ C + c)``.

    The mask ends here.
    """

    activation: Activation | str = "linear"
    use_bias: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, F]."""
        x = inputs[0]
        carry, y = x @ params.carry_kernel, x @ params.kernel
        if params.bias is not None:
            carry, y = carry + params.carry_bias, y + params.bias
        share = jax.nn.sigmoid(carry)
        y = share * activations.get(self.activation)(y) + (1 - share) * x
        return Result((y,), (None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaxoutDense(Layer):
    """The largest of several ``x @ W + b``, unit by unit; the mask ends here."""

    units: int
    choices: int
    use_bias: bool = True

    def call(self, params: DenseParams, inputs, masks, state=None) -> Result:
        """Returns [B, U], for a kernel [N, F, U] and a bias [N, U]."""
        y = jnp.einsum("bf,nfu->bnu", inputs[0], params.kernel)
        if params.bias is not None:
            y = y + params.bias
        return Result((y.max(axis=1),), (None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocallyConnected1D(Layer):
    """A convolution over steps with a kernel of its own for each window; the mask ends here.

    Attributes:
        units: Size of the output.
        width: How many steps a window has.
        stride: How many steps lie between the starts of two windows.
        activation: The activation.
        use_bias: Whether the parameters hold a bias.
    """

    units: int
    width: int
    stride: int = 1
    activation: Activation | str = "linear"
    use_bias: bool = True

    def call(self, params: DenseParams, inputs, masks, state=None) -> Result:
        """Returns [B, N, U], for N windows, a kernel [N, width * F, U] and a bias [N, U]."""
        x = inputs[0]
        count = (x.shape[1] - self.width) // self.stride + 1
        if count != params.kernel.shape[0]:
            raise ValueError(
                f"x {x.shape} has {max(count, 0)} windows, but the kernel {params.kernel.shape} "
                f"is for {params.kernel.shape[0]}"
            )
        steps = self.stride * jnp.arange(count)[:, None] + jnp.arange(self.width)
        windows = x[:, steps].reshape(x.shape[0], count, -1)
        y = jnp.einsum("bnf,nfu->bnu", windows, params.kernel)
        if params.bias is not None:
            y = y + params.bias
        return Result((activations.get(self.activation)(y),), (None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocallyConnected2D(Layer):
    """A convolution over images with a kernel of its own for each window; the mask ends here.

    Attributes:
        units: Number of output channels.
        kernel_size: The window's height and width.
        strides: How far apart two windows start, down and to the right.
        activation: The activation.
        use_bias: Whether the parameters hold a bias.
    """

    units: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    activation: Activation | str = "linear"
    use_bias: bool = True

    def counts(self, shape: Sequence[int]) -> tuple[int, int]:
        """Returns how many windows fit into images [B, H, W, C], down and to the right."""
        spans = zip(shape[1:3], self.kernel_size, self.strides, strict=True)
        down, right = (max((size - width) // stride + 1, 0) for size, width, stride in spans)
        return down, right

    def call(self, params: DenseParams, inputs, masks, state=None) -> Result:
        """Returns [B, M, N, U], for M x N windows [h, w, C]; kernel [M N, h w C, U]."""
        x = inputs[0]
        if x.ndim != 4:
            raise ValueError(f"x has shape {x.shape}, but {self.kind} needs 4 axes")
        down, right = self.counts(x.shape)
        if down * right != params.kernel.shape[0]:
            raise ValueError(
                f"x {x.shape} has {down} x {right} windows, but the kernel {params.kernel.shape} "
                f"is for {params.kernel.shape[0]}"
            )
        rows, columns = (
            stride * jnp.arange(count)[:, None] + jnp.arange(width)
            for count, stride, width in zip(
                (down, right), self.strides, self.kernel_size, strict=True
            )
        )
        windows = x[:, rows[:, None, :, None], columns[None, :, None, :]]  # [B, M, N, h, w, C]
        windows = windows.reshape(x.shape[0], down * right, -1)
        y = jnp.einsum("bnf,nfu->bnu", windows, params.kernel)
        y = y.reshape(x.shape[0], down, right, self.units)
        if params.bias is not None:
            y = y + params.bias
        return Result((activations.get(self.activation)(y),), (None,))
