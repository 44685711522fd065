"""The layers in a layer, and their parameters."""

from collections.abc import Callable, Iterator
from typing import Any

from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model.basic import TimeDistributed
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.recurrent import Bidirectional
from jrnn.model.stacked import StackedRecurrent


def walk(layer: Layer) -> Iterator[Layer]:
    """Yields the layer and every layer in it."""
    yield layer
    for inner in inner_layers(layer):
        yield from walk(inner)


def inner_layers(layer: Layer) -> tuple[Layer, ...]:
    """Returns the layers that a layer holds, a model's operations among them."""
    if isinstance(layer, Model):
        called = [node.layer for node in layer.nodes]
        named = {inner.name: inner for inner in [*called, *layer.layers]}
        return tuple(named.values())
    if isinstance(layer, Bidirectional):
        return layer.forward, layer.backward
    if isinstance(layer, StackedRecurrent):
        return layer.cells
    return (layer.layer,) if isinstance(layer, TimeDistributed) else ()


def map_params(change: Callable[[Layer, Any], Any], layer: Layer, params: Any) -> Any:
    """Returns parameters with ``change(layer, own)`` for what each layer in a layer owns.

    What is frozen, by itself or by what it lies in, stays as it is.
    """
    if not layer.trainable:
        return params
    if isinstance(layer, Model):
        layers = {inner.name: inner for inner in layer.layers}
        return {
            name: map_params(change, layers[name], own) if name in layers else own
            for name, own in (params or {}).items()
        }
    if isinstance(layer, Bidirectional):
        forward, backward = params
        return BidirectionalParams(
            map_params(change, layer.forward, forward),
            map_params(change, layer.backward, backward),
        )
    if isinstance(layer, TimeDistributed):
        return map_params(change, layer.layer, params)
    if isinstance(layer, StackedRecurrent):
        pairs = zip(layer.cells, params, strict=True)
        return tuple(map_params(change, cell, own) for cell, own in pairs)
    return change(layer, params)
