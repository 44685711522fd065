"""The arrays of a model in the layout of Keras 3: one group for each object, by its path."""

import collections
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jrnn.keras_loader.arrays import has_arrays, own_arrays
from jrnn.keras_loader.classes import class_of, snake_case
from jrnn.keras_loader.layouts import NamedObject
from jrnn.keras_loader.spectral import own_and_inner
from jrnn.keras_loader.write_custom import custom_objects_at
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.operation import Operation
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.spectral import SpectralNormalization
from jrnn.model.stacked import StackedRecurrent


def to_objects(model: Model, params: Mapping[str, Any]) -> dict[str, NamedObject]:
    """Returns what is stored at every path of the layout: ``from_objects`` undone.

    The layers must be in the order in which Keras 3 holds them.
    """
    return dict(_model_objects(model, params, "layers"))


def _model_objects(
    model: Model, params: Mapping[str, Any], path: str
) -> Iterator[tuple[str, NamedObject]]:
    layers = [layer for layer in model.layers if not isinstance(layer, Operation)]
    for layer, key in zip(layers, _keys(layers), strict=True):
        if has_arrays(layer) and layer.name in params:
            yield from _own_objects(layer, params[layer.name], f"{path}/{key}")


def _keys(layers: Sequence[Layer]) -> Iterator[str]:
    """Yields each layer's name in its container: its class, from the second on with a number."""
    counts: collections.Counter[str] = collections.Counter()
    for layer in layers:
        name = snake_case(class_of(layer))
        yield f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1


def _own_objects(layer: Layer, params: Any, path: str) -> Iterator[tuple[str, NamedObject]]:
    if isinstance(layer, Bidirectional):
        yield from _own_objects(layer.forward, params[0], f"{path}/forward_layer")
        yield from _own_objects(layer.backward, params[1], f"{path}/backward_layer")
    elif isinstance(layer, TimeDistributed):
        yield from _own_objects(layer.layer, params, f"{path}/layer")
    elif isinstance(layer, Model):
        yield from _model_objects(layer, params, f"{path}/layers")
    elif isinstance(layer, StackedRecurrent):
        for cell, own, key in zip(layer.cells, params, _keys(layer.cells), strict=True):
            yield from _own_objects(cell, own, f"{path}/cell/cells/{key}")
    elif isinstance(layer, MultiHeadAttention):
        named = own_arrays(layer, params).items()
        for projection, pairs in itertools.groupby(named, lambda pair: pair[0].split("/")[0]):
            # Of its inner layers, Keras finds all but the gate by a public name first, and those
            # of GroupQueryAttention by none.
            is_private = projection == "gate" or layer.key_heads is not None
            name = f"{'_' if is_private else ''}{projection}_dense"
            yield f"{path}/{name}", NamedObject(projection, tuple(a for _, a in pairs))
    elif isinstance(layer, SpectralNormalization):
        own, inner = own_and_inner(own_arrays(layer, params))
        yield path, NamedObject(layer.name, own)
        yield f"{path}/layer", NamedObject(layer.layer.name, inner)
    elif is_custom(layer):
        inside = "/cell" if isinstance(layer, Recurrent) else ""
        yield from custom_objects_at(layer, params, path + inside)
    else:
        inside = "/cell" if isinstance(layer, Recurrent) else ""
        arrays = tuple(own_arrays(layer, params).values())
        yield path + inside, NamedObject(layer.name, arrays)
