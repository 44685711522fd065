"""Which parameters of a loaded Keras model training may change, and what it moves beside them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jrnn.model import Model
from jrnn.model.batch_normalization import BatchNormalizationParams, MovingStatistics
from jrnn.model.layer import Layer
from jrnn.model.walk import map_params

TRAINED, MOVED, FROZEN = "trained", "moved", "frozen"


def kinds(model: Model, params: Mapping[str, Any]) -> Any:
    """Returns the tree of parameters with the kind of each array in its place.

    ``MOVED`` are the moving statistics of BatchNormalization; ``FROZEN`` what the file says is not
    trainable, and integers.
    """

    def of_layer(layer: Layer, own: Any) -> Any:
        found = jax.tree.map(_of_array, own)
        if isinstance(own, BatchNormalizationParams):
            found = found._replace(moving_mean=MOVED, moving_variance=MOVED)
        return found

    found = map_params(of_layer, model, dict(params))
    return jax.tree.map(lambda leaf: leaf if isinstance(leaf, str) else FROZEN, found)


def _of_array(array: jax.Array) -> str:
    return TRAINED if jnp.issubdtype(array.dtype, jnp.floating) else FROZEN


def moved(params: Any, state: Any) -> tuple[Any, Any]:
    """Returns the parameters with the moving statistics of a state, and the rest of that state."""
    if isinstance(state, MovingStatistics) and isinstance(params, BatchNormalizationParams):
        own = params._replace(moving_mean=state.mean, moving_variance=state.variance)
        return own, None
    if not isinstance(state, Mapping) or not isinstance(params, Mapping):
        return params, state
    new, rest = dict(params), {}
    for name, own in state.items():
        changed, left = moved(new.get(name), own)
        if name in new:
            new[name] = changed
        if left is not None:
            rest[name] = left
    return new, rest
