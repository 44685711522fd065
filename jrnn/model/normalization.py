"""Shifting and scaling: by stored statistics, by the input's own, or by constants."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jrnn.model.layer import Layer, Mask, Result, Training
from jrnn.model.merging import unit

Numbers = float | tuple  # a number, or numbers in tuples of tuples


class LayerNormalizationParams(NamedTuple):
    """Parameters of a layer normalization, each of the sizes of its axes."""

    gamma: jax.Array | None = None
    beta: jax.Array | None = None


class NormalizationParams(NamedTuple):
    """Statistics of a feature-wise normalization, each of the sizes of its axes."""

    mean: jax.Array
    variance: jax.Array


class Wide(Layer):
    """A layer that computes in 32 bits at least, and puts out its own dtype."""

    def run(
        self,
        params: Any,
        inputs: Sequence[Any],
        masks: Sequence[Mask],
        state: Any = None,
        training: Training | None = None,
    ) -> Result:
        """Returns ``call`` or ``train`` on wide arrays, cast to the layer's dtype."""
        x = self.cast_inputs(inputs)[0]
        wide = jnp.result_type(x, jnp.float32, *jax.tree.leaves(params))
        params = jax.tree.map(lambda a: a.astype(wide), params)
        if training is None:
            result = self.call(params, [x.astype(wide)], masks, state)
        else:
            result = self.train(params, [x.astype(wide)], masks, state, training)
        result = result._replace(outputs=tuple(self.cast(list(result.outputs))))
        self.show_outputs(result)
        return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerNormalization(Wide):
    """Normalization of each sample, or of each of its steps, by its own statistics.

    Attributes:
        axis: The axes that the statistics are over, the batch's being 0.
        epsilon: What is added to the variance.
        scale: Whether the result is multiplied by gamma.
        center: Whether beta is added.
        rms_scaling: Whether the mean stays, and nothing is added.
    """

    axis: tuple[int, ...] = (-1,)
    epsilon: float = 1e-3
    scale: bool = True
    center: bool = True
    rms_scaling: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``; the mask passes."""
        x = inputs[0]
        shape = [1] * x.ndim
        for axis in self.axis:
            shape[axis] = x.shape[axis]
        mean = x.mean(self.axis, keepdims=True)
        scale = jax.lax.rsqrt(jnp.square(x - mean).mean(self.axis, keepdims=True) + self.epsilon)
        y = (x if self.rms_scaling else x - mean) * scale
        if params is not None and params.gamma is not None:
            y = y * params.gamma.reshape(shape)
        if params is not None and params.beta is not None:
            y = y + params.beta.reshape(shape)
        return Result((y,), (masks[0],))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupNormalization(Wide):
    """Normalization of each group of features of a sample by the group's own statistics.

    Attributes:
        groups: How many groups there are.
        axis: The axis of the features, the batch's being 0.
        epsilon: What is added to the variance.
        scale: Whether the result is multiplied by gamma.
        center: Whether beta is added.
    """

    groups: int
    axis: int = -1
    epsilon: float = 1e-3
    scale: bool = True
    center: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``; the mask passes."""
        x, axis = inputs[0], self.axis % inputs[0].ndim
        size = x.shape[axis]
        if size % self.groups:
            raise ValueError(f"{size} features of x {x.shape} do not make {self.groups} groups")
        wide = x.reshape(*x.shape[:axis], self.groups, size // self.groups, *x.shape[axis + 1 :])
        others = tuple(k for k in range(1, wide.ndim) if k != axis)
        far = wide - wide.mean(others, keepdims=True)
        scale = jax.lax.rsqrt(jnp.square(far).mean(others, keepdims=True) + self.epsilon)
        y = (far * scale).reshape(x.shape)
        shape = [1] * x.ndim
        shape[axis] = size
        if params is not None and params.gamma is not None:
            y = y * params.gamma.reshape(shape)
        if params is not None and params.beta is not None:
            y = y + params.beta.reshape(shape)
        return Result((y,), (masks[0],))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RMSNormalization(Wide):
    """Division by the root of the mean square.

    Attributes:
        axis: The axes that the mean is over, the batch's being 0; Keras needs the last ones.
        epsilon: What is added to the mean square.
    """

    axis: tuple[int, ...] = (-1,)
    epsilon: float = 1e-6

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``x / sqrt(mean(x^2) + epsilon) * gamma``; the mask ends here."""
        x = inputs[0]
        scale = jax.lax.rsqrt(jnp.square(x).mean(self.axis, keepdims=True) + self.epsilon)
        return Result((x * scale * params.gamma,), (None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnitNormalization(Layer):
    """Vectors made of length 1.

    Attributes:
        axis: The axes that a vector lies on, the batch's being 0.
        smallest: The length below which they are divided by this instead.
    """

    axis: tuple[int, ...] = (-1,)
    smallest: float = 1e-12

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``x / max(|x|, smallest)``; the mask passes through."""
        return Result((unit(inputs[0], self.axis, self.smallest),), (masks[0],))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalization(Layer):
    """Normalization by statistics of a data set.

    Attributes:
        axis: The axes with statistics of their own, the batch's being 0.
        mean: The means, if they are no parameters.
        variance: The variances likewise.
        invert: Whether it undoes a normalization.
        passes_mask: Whether the mask passes through.
    """

    axis: tuple[int, ...] = (-1,)
    mean: Numbers | None = None
    variance: Numbers | None = None
    invert: bool = False
    passes_mask: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``(x - mean) / sqrt(variance)``."""
        x = _floating(inputs[0], self.dtype)
        given = (params.mean, params.variance) if self.mean is None else (self.mean, self.variance)
        mean, variance = (self._aligned(jnp.asarray(array, x.dtype), x) for array in given)
        deviation = jnp.maximum(jnp.sqrt(variance), 1e-7)
        y = mean + x * deviation if self.invert else (x - mean) / deviation
        return Result((y,), (masks[0] if self.passes_mask else None,))

    def _aligned(self, array: jax.Array, x: jax.Array) -> jax.Array:
        """Returns statistics with their last axes on the last of ``axis``."""
        kept = sorted(axis % x.ndim for axis in self.axis)
        if array.ndim > len(kept):
            raise ValueError(f"statistics of shape {array.shape} do not fit axis {self.axis}")
        shape = [1] * x.ndim
        for size, axis in zip(array.shape[::-1], kept[::-1], strict=False):
            shape[axis] = size
        return array.reshape(shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rescaling(Layer):
    """``x * scale + offset``.

    Attributes:
        scale: A number, or one for each feature.
        offset: Likewise.
        passes_mask: Whether the mask passes through.
    """

    scale: Numbers
    offset: Numbers = 0.0
    passes_mask: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``x * scale + offset``, in floating-point numbers."""
        x = _floating(inputs[0], self.dtype)
        y = x * np.asarray(self.scale, x.dtype) + np.asarray(self.offset, x.dtype)
        if y.shape != x.shape:
            sizes = math.prod(np.shape(self.scale)), math.prod(np.shape(self.offset))
            raise ValueError(f"scale and offset of {sizes} numbers do not fit x {x.shape}")
        return Result((y,), (masks[0] if self.passes_mask else None,))


def _floating(x: jax.Array, dtype: str | None) -> jax.Array:
    """Returns integers as floating-point numbers, and these as they are."""
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(dtype or jnp.float32)
