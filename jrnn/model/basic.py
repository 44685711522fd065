"""Layers without a time loop."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jrnn import activations
from jrnn.activations import Activation
from jrnn.layers.core import EmbeddingParams, dense, embedding, masking
from jrnn.model.layer import Layer, Result, Training, steps_of
from jrnn.model.noise import drop


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dense(Layer):
    """``activation(x @ kernel + bias)`` on the last axis."""

    units: int
    activation: Activation | str = "linear"
    use_bias: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the dense layer's output [..., U]; the mask passes through."""
        return Result((dense(params, inputs[0], activation=self.activation),), (masks[0],))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding(Layer):
    """Rows of a table.

    Attributes:
        input_dim: Number of rows.
        output_dim: Number of features.
        mask_zero: Whether steps whose id is 0 are masked.
        dropout: Probability that a row is dropped, in training (Keras 1).
    """

    input_dim: int
    output_dim: int
    mask_zero: bool = False
    dropout: float = 0.0

    def cast_inputs(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Returns the inputs as they are: a large id would not survive in 16 bits."""
        return inputs

    def train(self, params, inputs, masks, state, training) -> Result:
        """Returns the rows [..., F] and, with ``mask_zero``, the mask ``ids != 0``."""
        table = drop(params.embeddings, self.dropout, training, (None, 1))
        ids = inputs[0]
        rows = embedding(EmbeddingParams(table), ids)
        return Result((rows,), (ids != 0 if self.mask_zero else None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masking(Layer):
    """Masks the steps whose features all equal ``mask_value``, and sets them to zero."""

    mask_value: float = 0.0

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the input with masked steps zeroed, and the mask [B, T]."""
        xs, mask = masking(inputs[0], self.mask_value)
        return Result((xs,), (mask,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActivationLayer(Layer):
    """An activation alone.

    Attributes:
        activation: The activation.
        passes_mask: Whether the mask passes through.
    """

    activation: Activation | str
    passes_mask: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns ``activation(x)``."""
        mask = masks[0] if self.passes_mask else None
        return Result((activations.get(self.activation)(inputs[0]),), (mask,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity(Layer):
    """What changes nothing, but for the mask if it does not pass."""

    passes_mask: bool = True

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the input."""
        return Result((inputs[0],), (masks[0] if self.passes_mask else None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """All axes but the batch's in one; the mask ends here."""

    channels_first: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, F]."""
        x = inputs[0]
        if self.channels_first and x.ndim > 2:
            x = jnp.moveaxis(x, 1, -1)
        return Result((x.reshape(x.shape[0], math.prod(x.shape[1:])),), (None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reshape(Layer):
    """Another shape for all axes but the batch's; the mask ends here.

    Attributes:
        target_shape: The sizes; one of them may be -1, for whatever is left.
        keeps_mask: Whether the mask passes where the shape stays the same (Keras 3 on JAX).
    """

    target_shape: tuple[int, ...]
    keeps_mask: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, *target_shape]; one size may be -1."""
        x = inputs[0]
        known = math.prod(size for size in self.target_shape if size != -1)
        rest = math.prod(x.shape[1:]) // known if known else 0
        target = tuple(rest if size == -1 else size for size in self.target_shape)
        same = self.keeps_mask and target == x.shape[1:]
        return Result((x.reshape(x.shape[0], *target),), (masks[0] if same else None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permute(Layer):
    """Axes in another order; the mask ends here.

    Attributes:
        dims: The axes in the new order, counted from 1 after the batch.
        keeps_mask: Whether the mask passes where the order stays the same (Keras 3 on JAX).
    """

    dims: tuple[int, ...]
    keeps_mask: bool = False

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the transposed input."""
        same = self.keeps_mask and list(self.dims) == sorted(self.dims)
        y = jnp.transpose(inputs[0], (0, *self.dims))
        return Result((y,), (masks[0] if same else None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatVector(Layer):
    """The same vector at ``n`` steps; the mask ends here."""

    n: int

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns [B, n, F] for [B, F]."""
        return Result((jnp.repeat(inputs[0][:, None], self.n, axis=1),), (None,))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeDistributed(Layer):
    """A layer applied to every step [:, t] with the same parameters.

    Attributes:
        layer: The layer.
        mask_to_inner: Whether a mask of more axes than [B, T] reaches the layer.
        mask_from_inner: Whether the layer's own mask goes on; otherwise the incoming one does.
    """

    layer: Layer
    mask_to_inner: bool = True
    mask_from_inner: bool = True

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns the inner layer's outputs [B, T, ...]."""
        batch, steps = inputs[0].shape[:2]

        def merge(a):
            return a.reshape(batch * steps, *a.shape[2:])

        def split(a):
            return a.reshape(batch, steps, *a.shape[1:])

        mask = masks[0]
        deep = self.mask_to_inner and mask is not None and mask.ndim > 2
        values = [merge(x) for x in inputs]
        inner_mask = merge(mask) if deep else None
        inner = self.layer.run(params, values, [inner_mask], None, training)
        if self.mask_from_inner and inner.masks[0] is not None:
            mask = split(inner.masks[0])
        elif self.mask_from_inner:
            mask = steps_of(mask)
        return Result(jax.tree.map(split, inner.outputs), (mask,) * len(inner.outputs))
