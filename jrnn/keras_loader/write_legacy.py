"""The arrays of a model in the legacy layout of Keras: a list for each layer, by name."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jrnn.keras_loader.arrays import expected_arrays, has_arrays, own_arrays
from jrnn.keras_loader.more_arrays import frozen_arrays
from jrnn.keras_loader.spectral import VECTOR
from jrnn.keras_loader.write_custom import custom_list, places
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.operation import Operation
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.spectral import SpectralNormalization
from jrnn.model.stacked import StackedRecurrent


class _Named(NamedTuple):
    """One array that is written."""

    path: str
    array: np.ndarray
    owner: int
    is_frozen: bool


def to_layers(model: Model, params: Mapping[str, Any]) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Returns the named arrays of every layer: ``from_layers`` undone.

    The layers must be in the order in which Keras 3 holds them.

    Raises:
        ValueError: If Keras 3 would not read a layer's arrays, or in another order.
    """
    lists = {}
    for layer in model.layers:
        if not isinstance(layer, Operation):
            own = params.get(layer.name)
            arrays = [] if own is None else _to_list(layer, own)
            lists[layer.name] = [(named.path, named.array) for named in arrays]
    return lists


def check_arrays(model: Model, params: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if parameters are not those that the layers need."""
    for _ in _walk(model, params, model.name):
        pass


def _to_list(layer: Layer, params: Any) -> list[_Named]:
    """Returns the arrays as a Keras 3 that has just made the model from its config has them.

    There statistics are frozen, and the arrays of layers that are made so and hold them themselves.
    What a model held when it was saved is told by ``_owners``; where the two orders differ, Keras
    gives arrays to the wrong layers.
    """
    found = list(_walk(layer, params, layer.name))
    if layer.trainable:
        found.sort(key=lambda named: named.is_frozen)
    if any(named.array.dtype.name == "bfloat16" for named in found):
        raise ValueError(
            f"layer {layer.name!r} ({layer.kind}): Keras 3 cannot read bfloat16 from a .h5 file; "
            "save as .keras"
        )
    inner = layer
    while isinstance(inner, TimeDistributed):
        inner = inner.layer
    if isinstance(inner, Bidirectional | Model | StackedRecurrent):
        trained, frozen = _owners(inner)
        if [named.owner for named in found] != trained + frozen:
            raise ValueError(
                f"layer {layer.name!r} ({layer.kind}): some arrays in it are frozen, and of a .h5 "
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
            yield from _walk(one, own, inside)
    elif isinstance(layer, TimeDistributed):
        yield from _walk(layer.layer, params, f"{path}/{layer.layer.name}")
    elif isinstance(layer, Model):
        for inner in layer.layers:
            if has_arrays(inner) and inner.name in params:
                yield from _walk(inner, params[inner.name], f"{path}/{inner.name}")
    elif isinstance(layer, StackedRecurrent):
        for k, (cell, own) in enumerate(zip(layer.cells, params, strict=True)):
            yield from _walk(cell, own, f"{path}/{k}_{cell.name}")
    elif isinstance(layer, SpectralNormalization):
        named, inside = own_arrays(layer, params), f"{path}/{layer.layer.name}"
        kernel, *rest = named  # of which Keras has the vector first where nothing is trained
        for name in (kernel, rest[-1], *rest[:-1]):
            place = path if name == VECTOR else inside
            yield _Named(f"{place}/{name}", named[name], id(layer), name == VECTOR)
    elif is_custom(layer):
        for name, array in custom_list(layer, params).items():
            yield _Named(f"{path}/{name}", array, id(layer), False)
    else:
        inside = f"{path}/cell" if isinstance(layer, Recurrent) else path
        arrays = own_arrays(layer, params)
        frozen = _frozen(layer, arrays)
        # The layers inside an attention are made anew, and trained.
        made_so = not layer.trainable and not isinstance(layer, MultiHeadAttention)
        for name in _in_order(arrays, frozen):
            yield _Named(f"{inside}/{name}", arrays[name], id(layer), made_so or name in frozen)


def _frozen(layer: Layer, arrays: Mapping[str, Any]) -> set[str]:
    """Returns the names of what is never trained: quantised kernels and their scales, too."""
    scales = {name for name in arrays if name.endswith("_scale")}
    if scales:
        return scales | {name.removesuffix("_scale") for name in scales}
    return set([*arrays][len(arrays) - frozen_arrays(layer) :])


def _in_order(names: Iterable[str], frozen: set[str]) -> list[str]:
    """Returns names in Keras's order, in each of a layer's inner layers what is trained first."""
    folders = list(dict.fromkeys(name.rpartition("/")[0] for name in names))
    return sorted(names, key=lambda n: (folders.index(n.rpartition("/")[0]), n in frozen))


def _owners(layer: Layer) -> tuple[list[int], list[int]]:
    """Returns whose every array in a layer's list is: of the trained ones, then of the others."""
    if isinstance(layer, Model | StackedRecurrent):
        inside = layer.layers if isinstance(layer, Model) else layer.cells
        parts = [_owners(inner) for inner in inside]
    elif isinstance(layer, TimeDistributed):
        parts = [_owners(layer.layer)]
    elif isinstance(layer, Bidirectional):
        parts = [_owners(layer.forward), _owners(layer.backward)]
    else:
        statistics = frozen_arrays(layer)
        parts = [([id(layer)] * (_count(layer) - statistics), [id(layer)] * statistics)]
    trained = [owner for part in parts for owner in part[0]]
    frozen = [owner for part in parts for owner in part[1]]
    return (trained, frozen) if layer.trainable else ([], trained + frozen)


def _count(layer: Layer) -> int:
    """Returns how many arrays a layer has that holds no others."""
    return len(places(layer)) if is_custom(layer) else len(expected_arrays(layer)[1])
