"""Arrays on meshes of explicit axes, on which JAX splits nothing by itself."""

import jax


def split_as(x: jax.Array, like: jax.Array) -> jax.Array:
    """Returns ``x`` split over a mesh of explicit axes as ``like`` is, which has its rank."""
    spec = jax.typeof(like).sharding.spec
    return x if jax.typeof(x).sharding.spec == spec else jax.sharding.reshard(x, spec)


def whole(x: jax.Array, axis: int) -> jax.Array:
    """Returns ``x`` with no part of the axis elsewhere, if a mesh of explicit axes splits it.

    Explicit axes slice nothing that is split, nor scan over it; automatic ones see to it alone.
    """
    spec = list(jax.typeof(x).sharding.spec)
    if spec[axis] is None:
        return x
    spec[axis] = None
    return jax.sharding.reshard(x, jax.sharding.PartitionSpec(*spec))
