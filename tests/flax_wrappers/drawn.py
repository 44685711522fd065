"""NNX modules with parameters of which none is zero."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def randomized(module, seed=0):
    """The module with random parameters, biases too."""
    rng = np.random.default_rng(seed)
    state = nnx.state(module, nnx.Param)
    nnx.update(
        module, jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), state)
    )
    return module
