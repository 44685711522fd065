"""Attention with several heads, each over its own projections of query, key and value."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.model.layer import Layer, Mask, Result, Training
from jrnn.model.noise import drop
from jrnn.model.quantized import quantized_product


class ProjectionParams(NamedTuple):
    """Parameters of one projection, from features F to heads N of size K, or back."""

    kernel: jax.Array  # [F, N, K]; of the output [N, K, *F]; int8 where there is a scale
    bias: jax.Array | None = None  # [N, K]; of the output [*F]
    kernel_scale: jax.Array | None = None  # the bias's shape, with or without ones in front


class MultiHeadAttentionParams(NamedTuple):
    """Parameters of a multi-head attention layer."""

    query: ProjectionParams
    key: ProjectionParams
    value: ProjectionParams
    output: ProjectionParams
    gate: ProjectionParams | None = None


def project(params: ProjectionParams, x: jax.Array, axes: int = 1) -> jax.Array:
    """Returns ``tensordot(x, kernel, axes) + bias``."""
    if params.kernel_scale is None:
        y = jnp.tensordot(x, params.kernel, axes)
    else:
        y = quantized_product(x, params.kernel, params.kernel_scale, axes)
    return y if params.bias is None else y + params.bias


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiHeadAttention(Layer):
    """Dot-product attention, by every head for itself, projected together at the end.

    Attributes:
        heads: How many heads.
        key_dim: Size of a head's queries and keys.
        value_dim: Size of a head's values.
        use_bias: Whether the projections have biases.
        output_shape: The features that come out; None for as many as the query has.
        axes: The axes that attention runs over; None for all between batch and features.
        gated: Whether ``sigmoid(gate(query))`` multiplies what the heads put out.
        window: How far apart a step and one that it attends to may be, exclusive; None for any.
        dropout: Probability that a weight is dropped, in training; see also ``zeroes_masked``.
        causal: Whether a step attends to those before it and itself alone.
        returns_scores: Whether the heads' weights [B, N, T, S] follow the output.
        arguments: What each input is: "query", "value" and maybe "key" and "attention_mask".
        uses_masks: Whether the masks of its inputs count (not in TensorFlow to 2.9).
        removes_masks: Whether its inputs have no mask for what is called on them later (Keras
            from 3.8, unless the file says so itself).
        key_heads: How many heads keys and values have, each for as many of the others, in order;
            None for all.
        zeroes_masked: Whether a step for which nothing counts gets zeros; otherwise the mean of
            all values, and always where Keras hands the work to a kernel of its backend: for
            sequences of vectors, without dropout and scores.
    """

    heads: int
    key_dim: int
    value_dim: int
    use_bias: bool = True
    output_shape: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None
    gated: bool = False
    window: int | None = None
    dropout: float = 0.0
    causal: bool = False
    returns_scores: bool = False
    arguments: tuple[str, ...] = ("query", "value")
    uses_masks: bool = True
    removes_masks: bool = False
    key_heads: int | None = None
    zeroes_masked: bool = False

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns [B, T, F] for query [B, T, D], value [B, S, E] and key [B, S, C].

        The query's mask passes through.
        """
        if len(inputs) != len(self.arguments):
            raise ValueError(f"{self.kind} got {len(inputs)} inputs, but needs {self.arguments}")
        given = dict(zip(self.arguments, inputs, strict=True))
        own = dict(zip(self.arguments, masks, strict=True)) if self.uses_masks else {}
        query, value = given["query"], given["value"]
        weights, combine = self._weights(params, given, own)
        values = self._for_all_heads(self._project(params.value, value))
        y = combine(drop(weights, self.dropout, training), values)
        if self.gated:
            y = y * self._shown(jax.nn.sigmoid(project(params.gate, query)))
        y = self._project(params.output, y, axes=2)
        outputs, no_mask = ((y, weights), (None,)) if self.returns_scores else ((y,), ())
        attended = [given[name] for name in self.arguments if name != "attention_mask"]
        unmasked = tuple(attended) if self.removes_masks else ()
        return Result(outputs, (own.get("query"), *no_mask), None, unmasked)

    def _weights(self, params: Any, given: Mapping[str, Any], own: Mapping[str, Mask]) -> Any:
        """Returns the weights [B, N, T, S] and the function that takes means of values by such."""
        query, key = given["query"], given.get("key", given["value"])
        rank, span = query.ndim + 1, self._span(query.ndim)
        # Axes of a projected query, numbered; those of key and value, where attention runs.
        here = list(range(rank))
        there = [rank + axis if axis in span else axis for axis in here]
        shared = [axis for axis in here[:-1] if axis not in span]
        both = [*shared, *span, *(rank + axis for axis in span)]
        queries = self._project(params.query, query) * self.key_dim**-0.5
        keys = self._for_all_heads(self._project(params.key, key))
        scores = jnp.einsum(queries, here, keys, there, both)
        counts = self._counting(given, own, len(both), len(span))
        over = tuple(range(-len(span), 0))
        if counts is None:
            weights = jax.nn.softmax(scores, axis=over)
        else:
            lowest = -3e4 if scores.dtype == jnp.float16 else -1e9
            weights = jax.nn.softmax(jnp.where(counts, scores, lowest), axis=over)
            if self.zeroes_masked and (self.dropout or self.returns_scores or query.ndim != 3):
                weights = jnp.where(counts, weights, 0)
        return weights, lambda used, values: jnp.einsum(used, both, values, there, here)

    def _project(self, params: ProjectionParams, x: jax.Array, axes: int = 1) -> jax.Array:
        return self._shown(project(params, x, axes))

    def _shown(self, projected: jax.Array) -> jax.Array:
        """Returns a projection, on which an activity regularizer is a penalty."""
        super().show_outputs(Result((projected,), (None,)))
        return projected

    def show_outputs(self, result: Result) -> None:
        """Shows no output but those of projections: Keras has the penalty on these alone.

        With heads that share keys it has it on both.
        """
        if self.key_heads is not None:
            super().show_outputs(result)

    def _for_all_heads(self, projected: jax.Array) -> jax.Array:
        """Returns keys or values [..., N, K], repeated where several heads share them."""
        if self.key_heads is None:
            return projected
        return jnp.repeat(projected, self.heads // self.key_heads, axis=-2)

    def _span(self, rank: int) -> tuple[int, ...]:
        """Returns the axes that attention runs over, for inputs of ``rank`` axes."""
        if self.axes is None:
            return tuple(range(1, rank - 1))
        span = tuple(axis % rank for axis in self.axes)
        if not all(1 <= axis < rank - 1 for axis in span) or len(set(span)) != len(span):
            raise ValueError(f"attention_axes {self.axes} do not fit inputs of {rank} axes")
        return span

    def _counting(
        self, given: Mapping[str, Any], own: Mapping[str, Mask], rank: int, span: int
    ) -> Mask:
        """Returns which scores count, to be broadcast against them; None if all do."""
        parts = [given["attention_mask"].astype(bool)] if "attention_mask" in given else []
        for name, axis in (("query", -1), ("value", -2), ("key", -2)):
            mask = own.get(name)
            if mask is not None:
                parts.append(jnp.expand_dims(mask, axis))
        steps = jnp.arange(given["query"].shape[1])[:, None] - jnp.arange(given["value"].shape[1])
        if self.causal:
            parts.append((steps >= 0)[None])
        if self.window is not None:
            parts.append((jnp.abs(steps) < self.window)[None])
        if not parts:
            return None
        counts = functools.reduce(jnp.logical_and, parts)
        missing = rank - counts.ndim  # the heads' axis, and others before it
        return jnp.expand_dims(counts, tuple(range(-2 * span - missing, -2 * span)))
