"""Devices: a mesh of two axes, rows over one and hidden units over the other."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jrnn.examples.task import Batch, Task

DATA, HIDDEN = "data", "hidden"


def split(*axes: str | None) -> dict[str, Any]:
    """Returns a parameter's metadata: each of its axes lies over an axis of the mesh, or over none.

    The model can be made without a mesh, too: what is said is done when a run places its state.
    """
    return {"out_sharding": axes, "eager_sharding": False}


# What a cell's arguments say of its parameters: the last axis is that of the packed gates [G].
SPLIT = {
    "kernel_metadata": split(None, HIDDEN),
    "recurrent_kernel_metadata": split(None, HIDDEN),
    "bias_metadata": split(HIDDEN),
}


def make_mesh(task: Task, hidden_shards: int) -> Mesh:
    """Returns all devices of all processes: ``hidden_shards`` hold a layer together.

    Raises:
        ValueError: If devices, units or rows cannot be divided so.
    """
    devices = jax.device_count()
    if hidden_shards < 1 or devices % hidden_shards:
        raise ValueError(f"jrnn train: {devices} devices cannot be split into {hidden_shards}")
    if task.units % hidden_shards:
        raise ValueError(f"jrnn train: {task.units} units cannot be split into {hidden_shards}")
    if task.batch_size % (devices // hidden_shards):
        raise ValueError(
            f"jrnn train: {task.batch_size} rows cannot be split over {devices // hidden_shards} "
            "devices; give a batch size that can, or more hidden shards"
        )
    shape = (devices // hidden_shards, hidden_shards)
    return jax.make_mesh(shape, (DATA, HIDDEN), axis_types=(AxisType.Auto, AxisType.Auto))


def place(batch: Batch, mesh: Mesh, *axes: str) -> tuple[jax.Array, ...]:
    """Returns the arrays on the mesh, rows split over ``axes``; each process places its part."""
    sharding = NamedSharding(mesh, PartitionSpec(*axes))
    return tuple(
        jax.make_array_from_callback(array.shape, sharding, lambda rows, array=array: array[rows])
        for array in batch
    )
