"""The layers in a layer, and their parameters."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jrnn.layers.arguments import check_checkpoint
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model.basic import TimeDistributed
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.spectral import SpectralNormalization
from jrnn.model.stacked import StackedRecurrent
from jrnn.scan import Checkpoint

_HOLDERS = Model | StackedRecurrent | Bidirectional | SpectralNormalization | TimeDistributed


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
    holds_one = isinstance(layer, TimeDistributed | SpectralNormalization)
    return (layer.layer,) if holds_one else ()


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
    if isinstance(layer, SpectralNormalization):
        return params._replace(layer=map_params(change, layer.layer, params.layer))
    if isinstance(layer, StackedRecurrent):
        pairs = zip(layer.cells, params, strict=True)
        return tuple(map_params(change, cell, own) for cell, own in pairs)
    return change(layer, params)


def with_layers(model: Model, layers: Mapping[str, Layer]) -> Model:
    """Returns a model with other layers of the same names."""
    return dataclasses.replace(
        model,
        layers=tuple(layers[layer.name] for layer in model.layers),
        nodes=tuple(
            node._replace(layer=_called_as(layers[node.layer.name], node.layer))
            for node in model.nodes
        ),
    )


def _called_as(layer: Layer, called: Layer) -> Layer:
    """Returns a layer with what another one says of a single call."""
    if not isinstance(called, MultiHeadAttention):
        return layer
    of_call = {name: getattr(called, name) for name in ("arguments", "causal", "returns_scores")}
    return dataclasses.replace(layer, **of_call)


def map_layers(change: Callable[[Layer], Layer], layer: Any) -> Any:
    """Returns a layer with ``change(inner)`` in place of each in it that holds no other."""
    if not isinstance(layer, _HOLDERS):
        return change(layer)
    return _map_held(functools.partial(map_layers, change), layer)


def checkpointed(layer: Any, checkpoint: Checkpoint) -> Any:
    """Returns a layer whose loops over time have another ``checkpoint``, at any depth."""
    check_checkpoint(checkpoint, 0)
    if isinstance(layer, Recurrent):
        return dataclasses.replace(layer, checkpoint=checkpoint)
    return _map_held(lambda inner: checkpointed(inner, checkpoint), layer)


def _map_held(change: Callable[[Layer], Layer], layer: Any) -> Any:
    """Returns a layer with ``change(inner)`` in place of each that it holds itself."""
    if isinstance(layer, Model):
        return with_layers(layer, {inner.name: change(inner) for inner in inner_layers(layer)})
    if isinstance(layer, StackedRecurrent):
        return dataclasses.replace(layer, cells=tuple(map(change, layer.cells)))
    held = ("forward", "backward") if isinstance(layer, Bidirectional) else ("layer",)
    if not isinstance(layer, _HOLDERS):
        return layer
    return dataclasses.replace(layer, **{name: change(getattr(layer, name)) for name in held})
