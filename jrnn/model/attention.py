"""Attention of one sequence to the steps of another."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.model.layer import Layer, Mask, Result, Training
from jrnn.model.noise import drop


class AttentionParams(NamedTuple):
    """Parameters of an attention layer."""

    scale: jax.Array | None = None  # [], of additive scores [F]
    concat_score_weight: jax.Array | None = None  # []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attention(Layer):
    """Means of a sequence's steps, weighted for each step of another by their scores.

    Attributes:
        score: "dot": ``scale * query . key``; "concat": ``weight * sum(tanh(scale * (query +
            key)))``; "additive": ``sum(scale * tanh(query + key))``.
        use_scale: Whether there is a scale, or else 1.
        dropout: Probability that a weight is dropped, in training.
        causal: Whether a step attends to those before it and itself alone.
        returns_scores: Whether the weights [B, Q, V] follow the output.
        passes_mask: Whether the query's mask passes through.
    """

    score: Literal["dot", "concat", "additive"] = "dot"
    use_scale: bool = False
    dropout: float = 0.0
    causal: bool = False
    returns_scores: bool = False
    passes_mask: bool = True

    def train(self, params, inputs, masks, state, training: Training | None) -> Result:
        """Returns [B, Q, F] for the inputs query [B, Q, D], value [B, V, F] and key [B, V, D]."""
        if len(inputs) not in (2, 3):
            raise ValueError(f"{self.kind} cannot be called on {len(inputs)} inputs")
        query, value, key = inputs[0], inputs[1], inputs[-1]
        scores = self._scores(params or AttentionParams(), query, key)
        counts = self._counting(scores, masks[1])
        if counts is not None:
            distance = 65504.0 if scores.dtype == jnp.float16 else 1e9
            scores = jnp.where(counts, scores, scores - distance)
        weights = drop(jax.nn.softmax(scores, axis=-1), self.dropout, training)
        y = weights @ value
        if masks[0] is not None:
            y = jnp.where(masks[0][..., None], y, 0)
        mask = masks[0] if self.passes_mask else None
        return Result((y, weights), (mask, None)) if self.returns_scores else Result((y,), (mask,))

    def _scores(self, params: AttentionParams, query: jax.Array, key: jax.Array) -> jax.Array:
        """Returns [B, Q, V]."""
        scale = 1 if params.scale is None else params.scale
        if self.score == "dot":
            return query @ jnp.swapaxes(key, -2, -1) * scale
        both = query[..., :, None, :] + key[..., None, :, :]
        if self.score == "additive":
            return jnp.sum(scale * jnp.tanh(both), axis=-1)
        weight = 1 if params.concat_score_weight is None else params.concat_score_weight
        return weight * jnp.sum(jnp.tanh(scale * both), axis=-1)

    def _counting(self, scores: jax.Array, mask: Mask) -> Mask:
        """Returns which scores count, [B, 1, V] or [B, Q, V]; None if all do."""
        counts = None if mask is None else mask[..., None, :]
        if not self.causal:
            return counts
        before = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        return before if counts is None else counts & before
