"""Convolutions over steps or images."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jrnn import activations
from jrnn.activations import Activation
from jrnn.model.layer import Layer, Result

Padding = Literal["valid", "same", "causal", "full"]


class ConvolutionParams(NamedTuple):
    """Parameters of a convolution."""

    kernel: jax.Array  # [*K, C // groups, U]; depthwise [*K, C, M]
    bias: jax.Array | None = None  # [U]; depthwise [C M]


class SeparableConvolutionParams(NamedTuple):
    """Parameters of a depthwise convolution followed by one of single pixels."""

    depthwise_kernel: jax.Array  # [*K, C, M]
    pointwise_kernel: jax.Array  # [1, ..., C M, U]
    bias: jax.Array | None = None  # [U]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvolutionLayer(Layer):
    """What the convolutions below share: a window moves over ``S``, the axes of steps or pixels.

    Attributes:
        kernel_size: The window's sizes ``K``, one for each axis of ``S``.
        strides: How far it moves.
        padding: "valid": it stays inside; "same": it stands over every pixel; "causal": over
            every step and those before; "full": wherever it touches a pixel.
        dilation: Distances of the pixels that it sees.
        channels_first: Whether inputs and outputs are [B, C, *S], or else [B, *S, C].
        same_rule: What "same" puts on which side: with "theano" the window starts half its
            width before the first pixel.
        activation: What is applied at the end.
        use_bias: Whether a bias is added before.
    """

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Padding = "valid"
    dilation: tuple[int, ...]
    channels_first: bool = False
    same_rule: Literal["tensorflow", "theano"] = "tensorflow"
    activation: Activation | str = "linear"
    use_bias: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the convolution's output [B, *S, U] or [B, U, *S]; the mask ends here."""
        x, axes = inputs[0], len(self.kernel_size) + 2
        if x.ndim != axes:
            raise ValueError(f"x has shape {x.shape}, but {self.kind} needs {axes} axes")
        if self.channels_first:
            x = jnp.moveaxis(x, 1, -1)
        y = self.convolved(params, x)
        if params.bias is not None:
            y = y + params.bias
        if self.channels_first:
            y = jnp.moveaxis(y, -1, 1)
        return Result((activations.get(self.activation)(y),), (None,))

    def convolved(self, params: Any, x: jax.Array) -> jax.Array:
        """Returns [B, *S, U] for [B, *S, C], without the bias."""
        raise NotImplementedError(f"{type(self).__name__}.convolved")

    def over(self, x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
        """Returns the cross-correlation of [B, *S, C] with a kernel [*K, C // groups, U]."""
        if x.shape[-1] != kernel.shape[-2] * groups:
            raise ValueError(
                f"x has {x.shape[-1]} channels, but kernel {kernel.shape} in {groups} groups needs "
                f"{kernel.shape[-2] * groups}"
            )
        spans = zip(x.shape[1:-1], self.kernel_size, self.strides, self.dilation, strict=True)
        padding = [self._padding(*span) for span in spans]
        letters = "XYZ"[: len(self.kernel_size)]
        layout = f"N{letters}C"
        y = jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            self.strides,
            padding,
            rhs_dilation=self.dilation,
            dimension_numbers=(layout, f"{letters}IO", layout),
            feature_group_count=groups,
        )
        if 0 in y.shape[1:-1] and 0 not in x.shape:
            raise ValueError(f"x {x.shape} is smaller than the window {self.kernel_size}")
        return y

    def _padding(self, size: int, width: int, stride: int, dilation: int) -> tuple[int, int]:
        """Returns how many zeros stand before and after one axis."""
        reach = dilation * (width - 1)
        if self.padding == "causal":
            return reach, 0
        if self.padding == "full":
            return reach, reach
        if self.padding == "valid":
            return 0, 0
        total = (-(-size // stride) - 1) * stride + reach + 1 - size
        before = (reach + 1) // 2 if self.same_rule == "theano" else max(total, 0) // 2
        return before, max(total - before, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convolution(ConvolutionLayer):
    """Each output channel sees every input channel of its group."""

    filters: int
    groups: int = 1

    def convolved(self, params: ConvolutionParams, x: jax.Array) -> jax.Array:
        """Returns [B, *S, U] for [B, *S, C], without the bias."""
        return self.over(x, params.kernel, self.groups)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DepthwiseConvolution(ConvolutionLayer):
    """Each input channel alone makes ``depth_multiplier`` output channels."""

    depth_multiplier: int = 1

    def convolved(self, params: Any, x: jax.Array) -> jax.Array:
        """Returns [B, *S, C M] for [B, *S, C], without the bias."""
        return self.depthwise(params.kernel, x)

    def depthwise(self, kernel: jax.Array, x: jax.Array) -> jax.Array:
        """Returns each channel's convolutions with its own kernels of [*K, C, M]."""
        channels, multiplier = kernel.shape[-2:]
        return self.over(x, kernel.reshape(*self.kernel_size, 1, channels * multiplier), channels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparableConvolution(DepthwiseConvolution):
    """A depthwise convolution, and then every output channel sees all of one pixel."""

    filters: int

    def convolved(self, params: SeparableConvolutionParams, x: jax.Array) -> jax.Array:
        """Returns [B, *S, U] for [B, *S, C], without the bias."""
        pointwise = params.pointwise_kernel
        return self.depthwise(params.depthwise_kernel, x) @ pointwise.reshape(pointwise.shape[-2:])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransposedConvolution(ConvolutionLayer):
    """Each input pixel adds itself times the kernel [*K, U, C] to a window of the output.

    That is the gradient of a convolution in its input. Of S pixels and a window that spans W =
    ``dilation * (K - 1) + 1`` of them there come out, axis by axis,

        (S - 1) * stride + W + P        with padding "valid"
        (S - 1) * stride + W % 2 + P    with padding "same"

    Attributes:
        filters: Number of output channels.
        output_padding: P for each axis; None for what makes ``S * stride``, and with padding
            "valid" ``(S - 1) * stride + max(W, stride)``.
    """

    filters: int
    output_padding: tuple[int, ...] | None = None

    def convolved(self, params: ConvolutionParams, x: jax.Array) -> jax.Array:
        """Returns [B, *S, U] for [B, *S, C], without the bias."""
        kernel = params.kernel
        if x.shape[-1] != kernel.shape[-1]:
            raise ValueError(
                f"x has {x.shape[-1]} channels, but kernel {kernel.shape} needs {kernel.shape[-1]}"
            )
        more = self.output_padding or [None] * len(self.strides)
        spans = zip(self.kernel_size, self.strides, self.dilation, more, strict=True)
        letters = "XYZ"[: len(self.kernel_size)]
        layout = f"N{letters}C"
        return jax.lax.conv_general_dilated(
            x,
            jnp.flip(kernel, range(len(self.kernel_size))).astype(x.dtype),
            [1] * len(self.strides),
            [self._transposed_padding(*span) for span in spans],
            lhs_dilation=self.strides,
            rhs_dilation=self.dilation,
            dimension_numbers=(layout, f"{letters}OI", layout),
        )

    def _transposed_padding(
        self, width: int, stride: int, dilation: int, more: int | None
    ) -> tuple[int, int]:
        """Returns how many zeros stand before and after one axis, whose pixels are apart."""
        reach = dilation * (width - 1)
        if self.padding == "valid":
            return reach, reach + (max(stride - reach - 1, 0) if more is None else more)
        total = stride + reach - 1 if more is None else reach - 1 + (reach + 1) % 2 + more
        before = min(-(-total // 2), reach)
        return before, total - before
