"""How the arrays of a recurrent layer were drawn when its writer's Keras made it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from jrnn import initializers
from jrnn.initializers import INITIALIZERS, Initializer
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.serialized import Unknown, read

_FIELDS = {
    "kernel_initializer": ("kernel_initializer", "init"),
    "recurrent_initializer": ("recurrent_initializer", "inner_init"),
    "bias_initializer": ("bias_initializer",),
}
_NOT_OURS = ("seed", "dtype")  # a key takes the seed's place; arrays have the layer's dtype


def _of_keras(name: str, **options: Any) -> Initializer:
    given = {key: value for key, value in options.items() if key not in _NOT_OURS}
    return initializers.get(name, **{key: v for key, v in given.items() if v is not None})


_MAKE: Mapping[str, Callable[..., Initializer]] = {
    spelled: functools.partial(_of_keras, name)
    for name in INITIALIZERS
    for spelled in (name, name.title().replace("_", ""), f"{name.title()}Initializer")
}
_normal = functools.partial(initializers.variance_scaling, distribution="untruncated_normal")
_MAKE_OF_KERAS1: Mapping[str, Callable[..., Initializer]] = _MAKE | {
    "glorot_normal": functools.partial(_normal, 1.0, "fan_avg"),
    "he_normal": functools.partial(_normal, 2.0, "fan_in"),
    "orthogonal": functools.partial(initializers.orthogonal, 1.1),
}
_GLOROT = "glorot_uniform"
_NAMES = {initializers.get(name): name for name in reversed([*INITIALIZERS])}


def cell_initializers(config: Config, gates: int) -> dict[str, Any]:
    """Returns the fields of a cell that say how its arrays are drawn, but for a forget gate.

    What jrnn does not know becomes ``Unknown``: a file that loads for inference always loads.

    Args:
        config: The layer's or cell's config.
        gates: How many blocks its kernel has; Keras 1 drew each by itself.
    """
    make = _MAKE if config.writer.major > 1 else _MAKE_OF_KERAS1
    found = {
        field: _named(read(key, config.values[key], make, {}))
        for field, keys in _FIELDS.items()
        for key in keys
        if config.values.get(key) is not None
    }
    return found if config.writer.major > 1 else _of_keras1(config, gates, found)


def forget_bias(config: Config, gates: int) -> dict[str, Any]:
    """Returns ``cell_initializers`` of a cell that has a forget gate as well."""
    found = cell_initializers(config, gates)
    start = config.values.get("forget_bias_init")
    if start in (None, "one", "zero"):
        flag = config.values.get("unit_forget_bias")
        return found | {"unit_forget_bias": start != "zero" and flag in (None, True, 1)}
    unknown = Unknown(f"forget_bias_init is {start!r:.80}")
    return found | {"unit_forget_bias": False, "bias_initializer": unknown}


def _named(initializer: Initializer) -> Initializer | str:
    """Returns an initializer's name if that says it all."""
    return _NAMES.get(initializer, initializer)


def _of_keras1(config: Config, gates: int, found: dict[str, Any]) -> dict[str, Any]:
    """Unless for the GPU, Keras 1 drew gate by gate, and 1.2 the recurrent kernel as the kernel."""
    if gates == 1 or config.values.get("consume_less") == "gpu":
        return found
    if config.writer.version >= (1, 2, 0) and config.kind in ("GRU", "LSTM") and found:
        found = {**found, "recurrent_initializer": found.get("kernel_initializer", _GLOROT)}
    return {
        field: initializers.per_block(initializers.get(one), gates) for field, one in found.items()
    }
