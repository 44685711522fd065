"""Activations with parameters, or with options of their own."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.model.layer import Layer, Result


class PReLUParams(NamedTuple):
    """Parameters of a PReLU layer."""

    alpha: jax.Array  # the input's shape without the batch, 1 on shared axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class PReLU(Layer):
    """A ReLU whose slope below zero is learnt.

    Attributes:
        shared_axes: Axes along which the slope is the same, the batch's being 0.
    """

    shared_axes: tuple[int, ...] = ()

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``x`` where it is positive, else ``alpha * x``; the mask passes through."""
        x = inputs[0]
        if params.alpha.ndim != x.ndim - 1:
            raise ValueError(
                f"alpha has shape {params.alpha.shape}, but inputs {x.shape} need {x.ndim - 1} axes"
            )
        return Result((jax.nn.relu(x) - params.alpha * jax.nn.relu(-x),), (masks[0],))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """Shares that add up to one; the mask, which broadcasts against the input, passes through.

    Attributes:
        axis: The axes that one sum runs over.
        mask_rule: "none": masked elements count as all others do. "add": they are made very small
            before, thus share by their own sizes where all are masked. "fitting": so by a mask with
            as many axes as the input, and any other does nothing. "zero": they are made very
            small, and zero in the end.
    """

    axis: tuple[int, ...] = (-1,)
    mask_rule: Literal["none", "fitting", "add", "zero"] = "zero"

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the shares."""
        x, mask = inputs[0], masks[0]
        ignored = self.mask_rule == "none"
        if mask is None or ignored or (self.mask_rule == "fitting" and mask.ndim < x.ndim):
            return Result((self._shares(x),), (mask,))
        if jnp.broadcast_shapes(mask.shape, x.shape) != x.shape:
            raise ValueError(f"the mask has shape {mask.shape}, which does not fit {x.shape}")
        lowest = -3e4 if x.dtype == jnp.float16 else -1e9
        if self.mask_rule in ("add", "fitting"):
            shares = self._shares(x + jnp.where(mask, 0, lowest).astype(x.dtype))
        else:
            shares = jnp.where(mask, self._shares(jnp.where(mask, x, lowest)), 0)
        return Result((shares,), (mask,))

    def _shares(self, x: jax.Array) -> jax.Array:
        if len(self.axis) == 1:
            return jax.nn.softmax(x, axis=self.axis)
        # As Keras does: what float32 drops beside -1e9 leaves shares of one where all are masked.
        return jnp.exp(x - jax.nn.logsumexp(x, axis=self.axis, keepdims=True))
