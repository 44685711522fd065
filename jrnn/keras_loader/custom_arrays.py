"""Where a file has the arrays of the caller's layers, kept so that they can be saved again."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jrnn.keras_loader.legacy import from_layers
from jrnn.keras_loader.objects import custom_places
from jrnn.keras_loader.read import LegacyWeights, ObjectWeights
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.recurrent import Bidirectional, OneCell
from jrnn.model.stacked import StackedRecurrent
from jrnn.model.walk import map_layers, walk

Places = Mapping[int, tuple[str, ...]]


def with_places(model: Model, weights: LegacyWeights | ObjectWeights) -> Model:
    """Returns a model whose custom layers know where the file has their arrays."""
    if not any(map(is_custom, walk(model))):
        return model
    if isinstance(weights, ObjectWeights):
        return _placed(model, custom_places(model, weights))
    stored = from_layers(model, weights)
    return _placed(model, {id(layer): _listed(own) for layer, own in _owned(model, stored)})


def _listed(arrays: Any) -> tuple[str, ...]:
    """Returns places in a list: those of Keras 3's layout if all arrays lie in one folder."""
    paths = [array.path for array in arrays]
    if len({path.rpartition("/")[0] for path in paths}) > 1:
        return tuple(paths)
    return tuple(f"vars/{k}" for k in range(len(paths)))


def _owned(layer: Layer, stored: Any) -> Iterator[tuple[Layer, Any]]:
    """Yields every layer or cell of the caller's with its arrays."""
    if is_custom(layer):
        yield layer, stored or ()
    elif isinstance(layer, Model):
        for inner in layer.layers:
            if inner.name in (stored or {}):
                yield from _owned(inner, stored[inner.name])
    elif isinstance(layer, Bidirectional):
        yield from _owned(layer.forward, stored[0])
        yield from _owned(layer.backward, stored[1])
    elif isinstance(layer, TimeDistributed):
        yield from _owned(layer.layer, stored)
    elif isinstance(layer, StackedRecurrent):
        for cell, own in zip(layer.cells, stored, strict=True):
            yield from _owned(cell, own)


def _placed(model: Model, places: Places) -> Model:
    """Returns a model in which the caller's layers know their places."""

    def place(layer: Any) -> Layer:
        if not is_custom(layer):
            return layer
        own = places.get(id(layer), ())
        if isinstance(layer, OneCell):
            cell: Any = layer.cell
            return dataclasses.replace(layer, cell=dataclasses.replace(cell, arrays=own))
        return dataclasses.replace(layer, arrays=own)

    return map_layers(place, model)
