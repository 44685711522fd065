"""Placing the arrays of the legacy layout: one list of arrays for each layer."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jrnn.keras_loader.arrays import expected_arrays, fill, has_arrays, listed, own_arrays, quoted
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.more_arrays import frozen_arrays
from jrnn.keras_loader.read import LegacyWeights, StoredArray
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.operation import Operation
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.stacked import StackedRecurrent

Share = tuple[Layer, int | None]  # a layer, and how many of its arrays come next, if known


def from_layers(model: Model, weights: LegacyWeights) -> dict[str, Any]:
    """Returns the parameters with stored arrays as leaves; every array finds its place."""
    stored = {name: arrays for name, arrays in weights.layers.items() if arrays}
    owners = [layer for layer in model.layers if has_arrays(layer)]
    if len(owners) != len(stored):  # a layer of the caller's may have no arrays
        sure = [layer.name for layer in owners if has_arrays(layer, surely=True)]
        owners = [layer for layer in owners if layer.name in sure or layer.name in stored]
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
    if isinstance(layer, Model | StackedRecurrent):
        return _from_nested(layer, arrays)
    return fill(layer, _kernels_first(arrays))


def _kernels_first(arrays: Sequence[StoredArray]) -> Sequence[StoredArray]:
    """Quantised kernels are not trained and stand last; elsewhere each is before its bias."""
    if not any(array.dtype == "int8" for array in arrays):
        return arrays
    folders = list(dict.fromkeys(array.path.rpartition("/")[0] for array in arrays))
    order = ("kernel", "embeddings", "bias", "kernel_scale", "embeddings_scale")

    def place(array: StoredArray) -> tuple[int, int]:
        folder, _, leaf = array.path.rpartition("/")
        return folders.index(folder), order.index(leaf) if leaf in order else len(order)

    return sorted(arrays, key=place)


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
    middle = _count(layer.forward)
    if middle is None:
        middle = len(arrays) // 2
    first, second = arrays[:middle], arrays[middle:]
    if first and second and _counter(first[0]) > _counter(second[0]):
        return second, first  # Keras 2.0 counts "kernel:0", "kernel_1:0"; forward is made first
    return first, second


def _counter(array: StoredArray) -> int:
    found = re.search(r"_(\d+)(?::\d+)?$", array.path)
    return int(found[1]) if found else 0


def _from_nested(layer: Model | StackedRecurrent, arrays: Sequence[StoredArray]) -> Any:
    """One list for many owners: all that is trained, however deep it is, then what is frozen."""
    trained, frozen = _owners(layer)
    own: dict[int, list[StoredArray]] = {}
    rest = list(arrays)
    for owner, count in _counted(layer, trained + frozen, len(arrays)):
        own[id(owner)] = own.get(id(owner), []) + rest[:count]
        rest = rest[count:]
    if rest:
        raise KerasFileError(f"layer {layer.name!r}: arrays are left over: {listed(rest)}")
    return _placed(layer, own)


def _counted(layer: Layer, shares: list[Share], total: int) -> list[tuple[Layer, int]]:
    """Returns shares with all counts: layers of the caller's, if of one class, have equal ones."""
    open_ones = [owner for owner, count in shares if count is None]
    rest = total - sum(count or 0 for _, count in shares)
    each = rest // len(open_ones) if open_ones else 0
    if rest < 0 or len({one.kind for one in open_ones}) > 1 or each * len(open_ones) < rest:
        if not open_ones:  # told by whoever misses or is left with an array
            return [(owner, count or 0) for owner, count in shares]
        kinds = quoted(dict.fromkeys(one.kind for one in open_ones))
        raise KerasFileError(
            f"layer {layer.name!r}: the file does not say which of its {total} arrays belong to "
            f"{kinds}; save the model in the .keras format"
        )
    return [(owner, each if count is None else count) for owner, count in shares]


def _owners(layer: Layer) -> tuple[list[Share], list[Share]]:
    """Returns whose arrays stand in a layer's list: first what is trained, then the others."""
    if isinstance(layer, Model | StackedRecurrent):
        inside = layer.layers if isinstance(layer, Model) else layer.cells
        parts = [_owners(inner) for inner in inside]
    elif isinstance(layer, TimeDistributed):
        parts = [_owners(layer.layer)]
    else:
        _check_frozen(layer)
        statistics = frozen_arrays(layer)
        count = _count(layer)
        trained_count = None if count is None else count - statistics
        parts = [([(layer, trained_count)], [(layer, statistics)])]
    trained = [share for part in parts for share in part[0]]
    frozen = [share for part in parts for share in part[1]]
    return (trained, frozen) if layer.trainable else ([], trained + frozen)


def _check_frozen(layer: Layer) -> None:
    """Two directions stand in the list as one: they must be trained or frozen as a whole."""
    for one in (layer.forward, layer.backward) if isinstance(layer, Bidirectional) else ():
        cells = one.cells if isinstance(one, StackedRecurrent) else ()
        if len({cell.trainable for cell in cells}) > 1:
            raise KerasFileError(
                f"layer {layer.name!r}: some of its cells are frozen, and where their arrays stand "
                "in a model inside a model cannot be told; save it with all of them trainable"
            )


def _placed(layer: Layer, own: Mapping[int, Sequence[StoredArray]]) -> Any:
    if isinstance(layer, Model):
        return {inner.name: _placed(inner, own) for inner in layer.layers if has_arrays(inner)}
    if isinstance(layer, StackedRecurrent):
        return tuple(_placed(cell, own) for cell in layer.cells)
    if isinstance(layer, TimeDistributed):
        return _placed(layer.layer, own)
    return _from_list(layer, own[id(layer)])


def _count(layer: Layer) -> int | None:
    """Returns how many arrays a layer has; None where the caller alone knows."""
    if isinstance(layer, Bidirectional):
        return _sum([layer.forward, layer.backward])
    if isinstance(layer, StackedRecurrent):
        return _sum(layer.cells)
    if is_custom(layer):
        return None
    return len(expected_arrays(layer)[1])


def _sum(layers: Sequence[Layer]) -> int | None:
    counts = [_count(layer) for layer in layers]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


class _Named(NamedTuple):
    """One array that is written."""

    path: str
    array: np.ndarray
    owner: int
    is_statistic: bool


def to_layers(model: Model, params: Mapping[str, Any]) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Returns the named arrays of every layer: ``from_layers`` undone.

    The layers must be in the order in which Keras 3 holds them.

    Raises:
        ValueError: If Keras 3 would not read a layer's arrays, or in another order.
    """
    lists = {}
    for layer in model.layers:
        if not isinstance(layer, Operation):
            arrays = _to_list(layer, params[layer.name]) if has_arrays(layer) else []
            lists[layer.name] = [(named.path, named.array) for named in arrays]
    return lists


def _to_list(layer: Layer, params: Any) -> list[_Named]:
    """Returns the arrays as a Keras 3 that has just made the model from its config has them.

    There only statistics are known to be frozen. What a model held when it was saved is told by
    ``_owners``; where the two orders differ, Keras gives arrays to the wrong layers.
    """
    found = list(_walk(layer, params, layer.name))
    if layer.trainable:
        found.sort(key=lambda named: named.is_statistic)
    if any(named.array.dtype.name == "bfloat16" for named in found):
        raise ValueError(
            f"layer {layer.name!r} ({layer.kind}): Keras 3 cannot read bfloat16 from a .h5 file; "
            "save as .keras"
        )
    inner = layer
    while isinstance(inner, TimeDistributed):
        inner = inner.layer
    if isinstance(inner, Model | StackedRecurrent):
        trained, frozen = _owners(inner)
        wanted = [id(owner) for owner, count in trained + frozen for _ in range(count or 0)]
        if [named.owner for named in found] != wanted:
            raise ValueError(
                f"layer {layer.name!r} ({layer.kind}): some layers in it are frozen, and of a .h5 "
                "file Keras 3 gives their arrays to the wrong ones; save as .keras, or make them "
                "trainable"
            )
    return found


def _walk(layer: Layer, params: Any, path: str) -> Iterator[_Named]:
    """Yields the arrays layer by layer, each at a path of its own."""
    if isinstance(layer, Bidirectional):
        ways = {"forward": (layer.forward, params[0]), "backward": (layer.backward, params[1])}
        for way, (one, own) in ways.items():
            inside = f"{path}/{way}_{one.name.removeprefix(way + '_')}"
            yield from (named._replace(owner=id(layer)) for named in _walk(one, own, inside))
    elif isinstance(layer, TimeDistributed):
        yield from _walk(layer.layer, params, f"{path}/{layer.layer.name}")
    elif isinstance(layer, Model):
        for inner in layer.layers:
            if has_arrays(inner):
                yield from _walk(inner, params[inner.name], f"{path}/{inner.name}")
    elif isinstance(layer, StackedRecurrent):
        for k, (cell, own) in enumerate(zip(layer.cells, params, strict=True)):
            yield from _walk(cell, own, f"{path}/{k}_{cell.name}")
    else:
        inside = f"{path}/cell" if isinstance(layer, Recurrent) else path
        arrays = own_arrays(layer, params)
        statistics = len(arrays) - frozen_arrays(layer)
        for k, (name, array) in enumerate(arrays.items()):
            yield _Named(f"{inside}/{name}", array, id(layer), k >= statistics)
