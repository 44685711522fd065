"""The largest or the mean of windows of steps or pixels, or of all of them."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jrnn.model.layer import Layer, Mask, Result

Mode = Literal["average", "max"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooling(Layer):
    """One number for each window; masks end here.

    Attributes:
        mode: Which number.
        pool_size: The window's sizes, one for each axis of steps or pixels.
        strides: How far it moves.
        padding: Whether it stays inside ("valid") or stands over every pixel ("same"); what lies
            outside counts neither for the largest nor for the mean.
        channels_first: Whether inputs are [B, C, *S], or else [B, *S, C].
    """

    mode: Mode
    pool_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Literal["valid", "same"] = "valid"
    channels_first: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, *S, C] or [B, C, *S] with ``S`` made smaller."""
        x = spatial(self, inputs[0], len(self.pool_size))
        if self.padding == "valid" and any(
            size < width for size, width in zip(x.shape[1:-1], self.pool_size, strict=True)
        ):
            raise ValueError(f"x {x.shape} is smaller than the window {self.pool_size}")
        if self.mode == "max":
            y = self._windows(x, -jnp.inf, jax.lax.max)
        else:
            y = self._windows(x, 0.0, jax.lax.add)
            y = y / self._windows(jnp.ones((1, *x.shape[1:-1], 1), x.dtype), 0.0, jax.lax.add)
        return Result((jnp.moveaxis(y, -1, 1) if self.channels_first else y,), (None,))

    def _windows(self, x, start, function):
        size, strides = (1, *self.pool_size, 1), (1, *self.strides, 1)
        return jax.lax.reduce_window(x, start, function, size, strides, self.padding.upper())


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalPooling(Layer):
    """One number for all steps or pixels; masks end here.

    Attributes:
        mode: Which number.
        rank: How many axes of steps or pixels there are.
        channels_first: Whether inputs are [B, C, *S], or else [B, *S, C].
        keepdims: Whether these axes stay, of size 1.
        uses_mask: Whether masked steps are left out of the mean.
    """

    mode: Mode
    rank: int
    channels_first: bool = False
    keepdims: bool = False
    uses_mask: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, C]."""
        x = spatial(self, inputs[0], self.rank)
        axes = tuple(range(1, self.rank + 1))
        if self.mode == "max":
            y = x.max(axes, keepdims=True)
        else:
            y = _mean(x, axes, masks[0] if self.uses_mask else None)
        if not self.keepdims:
            y = y.reshape(x.shape[0], x.shape[-1])
        elif self.channels_first:
            y = jnp.moveaxis(y, -1, 1)
        return Result((y,), (None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptivePooling(Layer):
    """One number for each of so many windows that share what there is; masks end here.

    Window k of N over S pixels is ``x[floor(k S / N) : ceil((k + 1) S / N)]``.

    Attributes:
        mode: Which number; a mean is one axis's mean of another's.
        output_size: How many windows, for each axis of steps or pixels.
        channels_first: Whether inputs are [B, C, *S], or else [B, *S, C].
    """

    mode: Mode
    output_size: tuple[int, ...]
    channels_first: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, *N, C] or [B, C, *N]."""
        y = spatial(self, inputs[0], len(self.output_size))
        for axis, count in enumerate(self.output_size, 1):
            y = self._over(y, axis, count)
        return Result((jnp.moveaxis(y, -1, 1) if self.channels_first else y,), (None,))

    def _over(self, x: jax.Array, axis: int, count: int) -> jax.Array:
        """Returns the numbers of ``count`` windows over one axis."""
        size, k = x.shape[axis], np.arange(count)
        starts, ends = k * size // count, -(-(k + 1) * size // count)
        # In jnp: a trace then holds no array of the size that a file declares.
        places = jnp.asarray(starts)[:, None] + jnp.arange((ends - starts).max())
        counts = places < jnp.asarray(ends)[:, None]
        found = jnp.take(x, jnp.minimum(places, size - 1), axis)  # [..., count, widest, ...]
        after = [1] * (x.ndim - axis - 1)
        counts = counts.reshape(*counts.shape, *after)
        if self.mode == "max":
            found = jnp.where(counts, found, -jnp.inf)
            # Of equal numbers the first gets the gradient, as in Keras.
            first = jnp.argmax(found, axis + 1, keepdims=True)
            return jnp.take_along_axis(found, first, axis + 1).squeeze(axis + 1)
        widths = jnp.asarray(ends - starts, x.dtype).reshape(count, *after)
        return jnp.where(counts, found, 0).sum(axis + 1) / widths


def _mean(x: jax.Array, axes: tuple[int, ...], mask: Mask) -> jax.Array:
    """Returns the mean over the axes, of what counts."""
    if mask is None:
        return x.sum(axes, keepdims=True) / math.prod(x.shape[axis] for axis in axes)
    counts = mask[..., None]
    total = jnp.where(counts, x, 0).sum(axes, keepdims=True)
    return total / counts.astype(x.dtype).sum(axes, keepdims=True)


def spatial(layer: Layer, x: jax.Array, rank: int) -> jax.Array:
    """Returns a layer's input as [B, *S, C], checked to have ``rank`` axes in ``S``."""
    if x.ndim != rank + 2:
        raise ValueError(f"x has shape {x.shape}, but {layer.kind} needs {rank + 2} axes")
    return jnp.moveaxis(x, 1, -1) if getattr(layer, "channels_first", False) else x
