"""Layers that act in training alone: dropout and noise."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jrnn.model.layer import Layer, Result, Training

# What a scaled exponential linear unit tends to for large negative numbers.
_SELU_LIMIT = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946


def drop(
    x: jax.Array,
    rate: float,
    training: Training | None,
    noise_shape: Sequence[int | None] | None = None,
) -> jax.Array:
    """Returns ``x``, in training with a part of it zero and the rest divided by what is kept.

    Where ``noise_shape`` is 1, all of an axis is dropped or none; None stands for ``x``'s size.
    """
    if training is None or rate == 0:
        return x
    kept = _kept(x, rate, training, noise_shape)
    return jnp.where(kept, x / (1 - rate), 0) if rate < 1 else jnp.zeros_like(x)


def _kept(
    x: jax.Array, rate: float, training: Training, noise_shape: Sequence[int | None] | None
) -> jax.Array:
    shape = x.shape
    if noise_shape is not None:
        given = list(zip(noise_shape, x.shape, strict=False))
        if len(noise_shape) != x.ndim or any(one not in (None, 1, size) for one, size in given):
            raise ValueError(f"noise_shape is {tuple(noise_shape)}, but x has shape {x.shape}")
        shape = tuple(1 if one == 1 else size for one, size in given)
    return jax.random.bernoulli(training.needed_key(), 1 - rate, shape)


class _Noise(Layer):
    """What returns its input, but in training."""

    def train(self, params, inputs, masks, state, training) -> Result:
        """Returns the input, changed in training, and its mask."""
        x = inputs[0]
        return Result((x if training is None else self._changed(x, training),), (masks[0],))

    def _changed(self, x: jax.Array, training: Training) -> jax.Array:
        raise NotImplementedError(f"{type(self).__name__}._changed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropout(_Noise):
    """Dropout, also of whole feature maps.

    Attributes:
        rate: Probability that a number is dropped.
        noise_shape: For each axis, the batch's first, 1 where all of it is dropped or none;
            None or the axis's size elsewhere.
    """

    rate: float
    noise_shape: tuple[int | None, ...] | None = None

    def _changed(self, x: jax.Array, training: Training) -> jax.Array:
        return drop(x, self.rate, training, self.noise_shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance of what a SELU puts out.

    Attributes:
        rate: As in ``Dropout``.
        noise_shape: Likewise.
    """

    rate: float
    noise_shape: tuple[int | None, ...] | None = None

    def _changed(self, x: jax.Array, training: Training) -> jax.Array:
        if self.rate == 0:
            return x
        kept = _kept(x, self.rate, training, self.noise_shape)
        scale = ((1 - self.rate) * (1 + self.rate * _SELU_LIMIT**2)) ** -0.5
        shift = -scale * _SELU_LIMIT * self.rate
        return scale * jnp.where(kept, x, _SELU_LIMIT) + shift


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianNoise(_Noise):
    """Normal noise, added or multiplied.

    Attributes:
        stddev: Its standard deviation.
        multiplies: Whether ``x`` is multiplied by one plus the noise, or else it is added.
    """

    stddev: float
    multiplies: bool = False

    @classmethod
    def of_rate(cls, rate: float, **options) -> "GaussianNoise":
        """Returns the noise that multiplies with the variance of a dropout."""
        return cls(stddev=math.sqrt(rate / (1 - rate)), multiplies=True, **options)

    def _changed(self, x: jax.Array, training: Training) -> jax.Array:
        if self.stddev == 0:
            return x
        noise = self.stddev * jax.random.normal(training.needed_key(), x.shape, x.dtype)
        return x * (1 + noise) if self.multiplies else x + noise
