"""Normalization by a batch's statistics, or by those moved in training."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jrnn.model.layer import Mask, Result, Training
from jrnn.model.normalization import Wide


class BatchNormalizationParams(NamedTuple):
    """Parameters of a batch normalization, each [F]."""

    moving_mean: jax.Array
    moving_variance: jax.Array
    gamma: jax.Array | None = None
    beta: jax.Array | None = None


class MovingStatistics(NamedTuple):
    """What training moves of a batch normalization, each [F]."""

    mean: jax.Array
    variance: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchNormalization(Wide):
    """Normalization by moving statistics, or in training by the batch's own.

    The state, if there is one, holds moving statistics in place of the parameters'. Training moves
    them by ``moving = momentum * moving + (1 - momentum) * batch``.

    Attributes:
        axis: The axis of the features, the batch's being 0.
        epsilon: What is added to the variance.
        scale: Whether the result is multiplied by gamma.
        center: Whether beta is added.
        momentum: How much of the moving statistics stays in training.
    """

    axis: int = -1
    epsilon: float = 1e-3
    scale: bool = True
    center: bool = True
    momentum: float = 0.99

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``; the mask passes.

        In training the statistics are the batch's, without what is masked, and the next state is
        the moved ones. A layer that is not trainable stays as it is.
        """
        x, mask = inputs[0], masks[0]
        moving = MovingStatistics(params.moving_mean, params.moving_variance)
        moving = moving if state is None else state
        if training is None or not self.trainable:
            return Result((self._normalized(x, params, moving),), (mask,), state)
        batch = self._statistics(x, mask)
        moved = jax.tree.map(
            lambda old, new: jax.lax.stop_gradient(self.momentum * old + (1 - self.momentum) * new),
            moving,
            batch,
        )
        return Result((self._normalized(x, params, batch),), (mask,), moved)

    def _statistics(self, x: jax.Array, mask: Mask) -> MovingStatistics:
        others = tuple(axis for axis in range(x.ndim) if axis != self.axis % x.ndim)
        if mask is None:
            return MovingStatistics(x.mean(others), x.var(others))
        counts = mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
        weights = jnp.broadcast_to(counts, x.shape).astype(x.dtype)
        number = weights.sum(others, keepdims=True) + 1e-7  # as Keras 3 does it
        mean = (weights * x).sum(others, keepdims=True) / number
        variance = (weights * jnp.square(x - mean)).sum(others, keepdims=True) / number
        return MovingStatistics(mean.reshape(-1), variance.reshape(-1))

    def _normalized(
        self, x: jax.Array, params: BatchNormalizationParams, statistics: MovingStatistics
    ) -> jax.Array:
        shape = [1] * x.ndim
        shape[self.axis] = x.shape[self.axis]
        scale = jax.lax.rsqrt(statistics.variance + self.epsilon)
        if params.gamma is not None:
            scale = scale * params.gamma
        shift = -statistics.mean * scale
        if params.beta is not None:
            shift = shift + params.beta
        return x * scale.reshape(shape) + shift.reshape(shape)
