"""Layers that make one tensor of several."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp

from jrnn.model.layer import Layer, Mask, Result

MaskRule = Literal["all", "any", "none"]

_FUNCTIONS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = MappingProxyType(
    {
        "add": jnp.add,
        "average": jnp.add,
        "maximum": jnp.maximum,
        "minimum": jnp.minimum,
        "multiply": jnp.multiply,
        "subtract": jnp.subtract,
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merge(Layer):
    """Tensors combined element by element; axes that some lack are put in after the batch's.

    Attributes:
        mode: What combines them.
        mask_rule: "all": a step counts where all masks that there are say so (Keras 1 and 2).
            "any": where any of them does, and there is no mask if an input has none; a masked
            element then takes no part in "multiply", "maximum" and "minimum" (from Keras 3.4).
            "none": there is no mask (Keras 3.0 to 3.3).
    """

    mode: Literal["add", "average", "maximum", "minimum", "multiply", "subtract"]
    mask_rule: MaskRule = "all"

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the combination of all inputs."""
        if len(inputs) < 1 or (self.mode == "subtract" and len(inputs) != 2):
            raise ValueError(f"{self.kind} cannot be called on {len(inputs)} inputs")
        axes = max(x.ndim for x in inputs)
        xs = [x.reshape(*x.shape[:1], *[1] * (axes - x.ndim), *x.shape[1:]) for x in inputs]
        function = _FUNCTIONS[self.mode]
        if self.mask_rule == "any" and self.mode in _MASKED:
            # Keras gives an input that it reshapes no mask.
            own = [m if x.ndim == axes else None for x, m in zip(inputs, masks, strict=True)]
            y = _MASKED[self.mode](function, xs, own)
        else:
            y = functools.reduce(function, xs)
        if self.mode == "average":
            y = y / len(xs)
        return Result((y,), (self._merged(masks),))

    def _merged(self, masks: Sequence[Mask]) -> Mask:
        present = [mask for mask in masks if mask is not None]
        incomplete = self.mask_rule == "any" and len(present) < len(masks)
        if not present or incomplete or self.mask_rule == "none":
            return None
        either = jnp.logical_or if self.mask_rule == "any" else jnp.logical_and
        return functools.reduce(either, present)


def _product(function: Callable, xs: Sequence[jax.Array], masks: Sequence[Mask]) -> jax.Array:
    """A masked factor is one; what is masked in every factor is zero."""
    wide = [None if mask is None else mask[..., None] for mask in masks]
    factors = [x if m is None else jnp.where(m, x, 1) for x, m in zip(xs, wide, strict=True)]
    y = functools.reduce(function, factors)
    present = [mask for mask in wide if mask is not None]
    if len(present) < len(wide):
        return y
    return jnp.where(functools.reduce(jnp.logical_or, present), y, jnp.zeros_like(y))


def _extreme(function: Callable, xs: Sequence[jax.Array], masks: Sequence[Mask]) -> jax.Array:
    """A masked element stands back behind the other; Keras forgets masks once one is missing."""
    y, y_mask = xs[0], masks[0]
    for x, mask in zip(xs[1:], masks[1:], strict=True):
        if mask is not None:
            x = jnp.where(mask[..., None], x, y)
        if y_mask is not None:
            y = jnp.where(y_mask[..., None], y, x)
        y_mask = None if mask is None or y_mask is None else y_mask | mask
        y = function(y, x)
    return y


_MASKED = {"maximum": _extreme, "minimum": _extreme, "multiply": _product}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concatenate(Layer):
    """Tensors one after the other on an axis.

    Attributes:
        axis: The axis, the batch's being 0.
        mask_rule: Whether a step counts where all its features do, or any; features of an input
            without a mask count. With "none" there is no mask.
    """

    axis: int = -1
    mask_rule: MaskRule = "all"

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the inputs joined, and their masks joined likewise."""
        y = jnp.concatenate(inputs, axis=self.axis)
        if self.mask_rule == "none" or all(mask is None for mask in masks):
            return Result((y,), (None,))
        wide = [_like(mask, x) for mask, x in zip(masks, inputs, strict=True)]
        joined = jnp.concatenate(wide, axis=self.axis)
        return Result((y,), (joined.any(-1) if self.mask_rule == "any" else joined.all(-1),))


def _like(mask: Mask, x: jax.Array) -> jax.Array:
    """Returns a mask of the shape of ``x``."""
    if mask is None:
        return jnp.ones(x.shape, bool)
    return jnp.broadcast_to(mask[..., None] if mask.ndim < x.ndim else mask, x.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dot(Layer):
    """The products of two tensors' vectors along an axis of each; masks end here.

    Attributes:
        axes: The axis of the first tensor and that of the second.
        normalize: Whether the vectors are made of length 1 before.
        smallest: The length below which they are divided by this instead.
    """

    axes: tuple[int, int]
    normalize: bool = False
    smallest: float = 1e-7

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, axes of the first but its own, axes of the second but its own]."""
        if len(inputs) != 2 or min(x.ndim for x in inputs) < 2:
            shapes = [x.shape for x in inputs]
            raise ValueError(f"{self.kind} needs two inputs with a batch, got shapes {shapes}")
        x, y = inputs
        a, b = self.axes[0] % x.ndim, self.axes[1] % y.ndim
        if self.normalize:
            x, y = unit(x, a, self.smallest), unit(y, b, self.smallest)
        products = jax.lax.dot_general(x, y, (((a,), (b,)), ((0,), (0,))))
        return Result((products[:, None] if products.ndim == 1 else products,), (None,))


def unit(x: jax.Array, axis: int | tuple[int, ...], smallest: float) -> jax.Array:
    """Returns ``x / max(|x|, smallest)`` with the length |x| over an axis or several."""
    squares = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, smallest**2))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Layer):
    """The cosine of the angle of two vectors, as Keras 1 has it; masks end here."""

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, 1, 1] for two inputs [B, F]."""
        if len(inputs) != 2 or any(x.ndim != 2 for x in inputs):
            shapes = [x.shape for x in inputs]
            raise ValueError(f"mode 'cos' is known for two inputs [B, F] alone, got {shapes}")
        x, y = inputs
        lengths = jnp.sqrt(jnp.sum(x * x, axis=1) * jnp.sum(y * y, axis=1))
        cosine = jnp.sum(x * y, axis=1) / jnp.maximum(lengths, 1e-7)
        return Result((cosine[:, None, None],), (None,))
