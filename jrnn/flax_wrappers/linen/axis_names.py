"""Names of axes of a cell's parameters, where each gate has arrays of its own or all have one."""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict


def with_axis_names(params: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arrays in the boxes of others: of the other kernel, recurrent kernel or bias.

    Args:
        params: Arrays of a cell, jrnn's or Flax's.
        given: Those it was made of; boxed, such as by ``nn.with_partitioning``, or not.
    """
    boxes: dict[str, Any] = {}
    for path, leaf in flatten_dict(dict(given)).items():
        if isinstance(leaf, nn.Partitioned):
            boxes.setdefault(_role(path), leaf)

    def boxed(path: tuple[str, ...], array: Any) -> Any:
        box = boxes.get(_role(path))
        if box is None:
            return array
        names = ((None,) * array.ndim + tuple(box.names))[-array.ndim :]
        return box.replace(value=array, names=names)

    flat = flatten_dict(dict(params))
    return unflatten_dict({path: boxed(path, array) for path, array in flat.items()})


def _role(path: tuple[str, ...]) -> str:
    """Returns the field of jrnn's that an array stands in, or is a gate of."""
    if len(path) == 1 or path[-1] == "bias":
        return path[-1]
    return "kernel" if path[0].startswith("i") else "recurrent_kernel"
