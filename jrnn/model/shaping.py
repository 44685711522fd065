"""Steps or pixels repeated, put around or taken away; masks end here."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jrnn.model.layer import Layer, Result
from jrnn.model.pooling import spatial

Amounts = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpatialLayer(Layer):
    """A layer that changes the sizes ``S`` of [B, *S, C], or of [B, C, *S]."""

    channels_first: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the input with other sizes."""
        y = self.resized(spatial(self, inputs[0], self.rank))
        return Result((jnp.moveaxis(y, -1, 1) if self.channels_first else y,), (None,))

    @property
    def rank(self) -> int:
        """Number of axes of steps or pixels."""
        raise NotImplementedError(f"{type(self).__name__}.rank")

    def resized(self, x: jax.Array) -> jax.Array:
        """Returns [B, *S, C] with other sizes."""
        raise NotImplementedError(f"{type(self).__name__}.resized")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpSampling(SpatialLayer):
    """Every step or pixel several times, or numbers between them.

    Attributes:
        size: How many times larger each axis becomes.
        interpolation: Whether pixels repeat ("nearest") or lie on lines between their centres.
    """

    size: tuple[int, ...]
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    @property
    def rank(self) -> int:
        """Number of axes of steps or pixels."""
        return len(self.size)

    def resized(self, x: jax.Array) -> jax.Array:
        """Returns [B, *S, C] with larger sizes."""
        if self.interpolation == "bilinear":
            sizes = [n * times for n, times in zip(x.shape[1:-1], self.size, strict=True)]
            return jax.image.resize(x, (x.shape[0], *sizes, x.shape[-1]), "bilinear")
        for axis, times in enumerate(self.size, 1):
            x = jnp.repeat(x, times, axis=axis)
        return x


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroPadding(SpatialLayer):
    """Zeros around.

    Attributes:
        padding: How many before and after, for each axis.
    """

    padding: Amounts

    @property
    def rank(self) -> int:
        """Number of axes of steps or pixels."""
        return len(self.padding)

    def resized(self, x: jax.Array) -> jax.Array:
        """Returns [B, *S, C] with larger sizes."""
        return jnp.pad(x, ((0, 0), *self.padding, (0, 0)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cropping(SpatialLayer):
    """The inner steps or pixels alone.

    Attributes:
        cropping: How many go at the start and at the end, for each axis.
    """

    cropping: Amounts

    @property
    def rank(self) -> int:
        """Number of axes of steps or pixels."""
        return len(self.cropping)

    def resized(self, x: jax.Array) -> jax.Array:
        """Returns [B, *S, C] with smaller sizes."""
        if any(sum(ends) >= size for ends, size in zip(self.cropping, x.shape[1:-1], strict=True)):
            raise ValueError(f"nothing is left of x {x.shape} without {self.cropping}")
        for axis, (start, end) in enumerate(self.cropping, 1):
            x = jax.lax.slice_in_dim(x, start, x.shape[axis] - end, axis=axis)
        return x
