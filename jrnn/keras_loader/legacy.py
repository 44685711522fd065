"""Placing the arrays of the legacy layout: one list of arrays for each layer."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jrnn.keras_loader.arrays import expected_arrays, fill, has_arrays, listed, quoted
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.read import LegacyWeights, StoredArray
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model.basic import TimeDistributed
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.recurrent import Bidirectional


def from_layers(model: Model, weights: LegacyWeights) -> dict[str, Any]:
    """Returns the parameters with stored arrays as leaves; every array finds its place."""
    stored = {name: arrays for name, arrays in weights.layers.items() if arrays}
    owners = [layer for layer in model.layers if has_arrays(layer)]
    if set(stored) != {layer.name for layer in owners}:
        if len(stored) != len(owners):
            raise KerasFileError(
                f"the file holds arrays for {len(stored)} layers {quoted(stored)}, but the model "
                f"needs them for {len(owners)}: {quoted(layer.name for layer in owners)}"
            )
        # As Keras does where names differ: the k-th layer with arrays takes the k-th list.
        pairs = zip(owners, stored.values(), strict=True)
        stored = {layer.name: arrays for layer, arrays in pairs}
    return {layer.name: _from_list(layer, stored[layer.name]) for layer in owners}


def _from_list(layer: Layer, arrays: Sequence[StoredArray]) -> Any:
    if isinstance(layer, Bidirectional):
        forward, backward = _directions(layer, arrays)
        return BidirectionalParams(
            _from_list(layer.forward, forward), _from_list(layer.backward, backward)
        )
    if isinstance(layer, TimeDistributed):
        return _from_list(layer.layer, arrays)
    if isinstance(layer, Model):
        return _from_nested(layer, arrays)
    return fill(layer, arrays)


def _directions(
    layer: Bidirectional, arrays: Sequence[StoredArray]
) -> tuple[Sequence[StoredArray], Sequence[StoredArray]]:
    """Splits by the names: a frozen forward layer's arrays stand after the backward ones."""
    paths = [array.path.split("/") for array in arrays]
    folders = zip(*(path[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, folders))
    heads = [path[shared] for path in paths]
    forward = [a for a, head in zip(arrays, heads, strict=True) if head.startswith("forward")]
    backward = [a for a, head in zip(arrays, heads, strict=True) if head.startswith("backward")]
    if forward and backward and len(forward) + len(backward) == len(arrays):
        return forward, backward
    middle = len(expected_arrays(layer.forward)[1])
    first, second = arrays[:middle], arrays[middle:]
    if first and second and _counter(first[0]) > _counter(second[0]):
        return second, first  # Keras 2.0 counts "kernel:0", "kernel_1:0"; forward is made first
    return first, second


def _counter(array: StoredArray) -> int:
    found = re.search(r"_(\d+)(?::\d+)?$", array.path)
    return int(found[1]) if found else 0


def _from_nested(model: Model, arrays: Sequence[StoredArray]) -> dict[str, Any]:
    """A nested model's one list: all that is trained, however deep it is, then what is frozen."""
    trained, frozen = _owners(model)
    own, rest = {}, list(arrays)
    for layer in trained + frozen:
        count = _count(layer)
        own[id(layer)], rest = rest[:count], rest[count:]
    if rest:
        raise KerasFileError(f"layer {model.name!r}: arrays are left over: {listed(rest)}")
    return _placed(model, own)


def _owners(layer: Layer) -> tuple[list[Layer], list[Layer]]:
    """Returns the layers with arrays inside a layer: those that are trained, and the frozen."""
    if isinstance(layer, Model):
        parts = [_owners(inner) for inner in layer.layers]
    elif isinstance(layer, TimeDistributed):
        parts = [_owners(layer.layer)]
    else:
        parts = [([layer], [])]
    trained = [owner for part in parts for owner in part[0]]
    frozen = [owner for part in parts for owner in part[1]]
    return (trained, frozen) if layer.trainable else ([], trained + frozen)


def _placed(layer: Layer, own: Mapping[int, Sequence[StoredArray]]) -> Any:
    if isinstance(layer, Model):
        return {inner.name: _placed(inner, own) for inner in layer.layers if has_arrays(inner)}
    if isinstance(layer, TimeDistributed):
        return _placed(layer.layer, own)
    return _from_list(layer, own[id(layer)])


def _count(layer: Layer) -> int:
    if isinstance(layer, Bidirectional):
        return _count(layer.forward) + _count(layer.backward)
    return len(expected_arrays(layer)[1])
