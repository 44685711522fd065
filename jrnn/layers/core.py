"""The layers around recurrent ones: dense, embedding, masking."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jrnn import activations
from jrnn.activations import Activation


class DenseParams(NamedTuple):
    """Parameters of a dense layer."""

    kernel: jax.Array  # [F, U]
    bias: jax.Array | None = None  # [U]


class EmbeddingParams(NamedTuple):
    """Parameters of an embedding."""

    embeddings: jax.Array  # [V, F]


def dense(
    params: DenseParams, xs: ArrayLike, *, activation: Activation | str = "linear"
) -> jax.Array:
    """Returns ``activation(xs @ kernel + bias)`` [..., U] for ``xs`` [..., F].

    Raises:
        ValueError: If the last axis of ``xs`` is not the kernel's first.

    Source: ``keras.layers.Dense``.
    """
    xs = jnp.asarray(xs)
    if xs.ndim == 0 or xs.shape[-1] != params.kernel.shape[0]:
        raise ValueError(
            f"jrnn.layers.dense: xs has shape {xs.shape}, but kernel {params.kernel.shape} needs "
            f"{params.kernel.shape[0]} features on its last axis"
        )
    ys = xs @ params.kernel
    return activations.get(activation)(ys if params.bias is None else ys + params.bias)


def embedding(params: EmbeddingParams, ids: ArrayLike) -> jax.Array:
    """Returns ``embeddings[ids]`` [..., F]; an id from V on gives NaN, -1 is the last row.

    Source: ``keras.layers.Embedding``.
    """
    return jnp.take(params.embeddings, jnp.asarray(ids).astype(jnp.int32), axis=0)


def masking(xs: ArrayLike, mask_value: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """Returns ``xs`` [..., F] with masked steps set to zero, and the mask [...].

    ``mask = any(xs != mask_value, axis=-1)``: a step is masked when all its features have the
    value.

    Source: ``keras.layers.Masking``.
    """
    xs = jnp.asarray(xs)
    mask = jnp.any(xs != mask_value, axis=-1)
    return jnp.where(mask[..., None], xs, jnp.zeros_like(xs)), mask
