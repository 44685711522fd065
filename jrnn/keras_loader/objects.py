"""Placing the arrays of the layout of Keras 3: one group for each object, by its path."""

import collections
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jrnn.keras_loader.arrays import fill, has_arrays, listed, own_arrays, quoted
from jrnn.keras_loader.classes import class_of, snake_case
from jrnn.keras_loader.cudnn import is_cudnn
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.layouts import NamedObject
from jrnn.keras_loader.multi_head import PROJECTIONS
from jrnn.keras_loader.read import ObjectWeights, StoredArray
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.operation import Operation
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.stacked import StackedRecurrent


def from_objects(model: Model, weights: ObjectWeights) -> dict[str, Any]:
    """Returns the parameters with stored arrays as leaves; every array finds its place."""
    objects = dict(weights.objects)
    params = _from_model(model, weights.container, objects, weights.container)
    if objects:
        path, arrays = next(iter(objects.items()))
        raise KerasFileError(
            f"arrays are left over that no layer of the model takes: {path!r} with {listed(arrays)}"
        )
    return params


def _from_model(
    model: Model, path: str, objects: dict[str, tuple[StoredArray, ...]], container: str
) -> dict[str, Any]:
    owners = [layer for layer in model.layers if has_arrays(layer)]
    params = _from_container(owners, path, objects, container)
    pairs = zip(owners, params, strict=True)
    return {layer.name: own for layer, own in pairs if own is not None}


def _from_container(
    owners: Sequence[Layer],
    path: str,
    objects: dict[str, tuple[StoredArray, ...]],
    container: str,
) -> list[Any]:
    """The k-th layer of a class takes the k-th group named after it; None where there is none."""
    prefix = f"{path}/"
    keys = {key[len(prefix) :].split("/")[0] for key in objects if key.startswith(prefix)}
    params: dict[int, Any] = {}
    for kind in dict.fromkeys(layer.kind for layer in owners):
        layers = [layer for layer in owners if layer.kind == kind]
        pattern = re.compile(rf"{snake_case(kind)}(?:_(\d+))?")
        found = sorted(
            (int(match[1] or 0), key) for key in keys if (match := pattern.fullmatch(key))
        )
        if len(found) != len(layers):  # a layer of the caller's may have no arrays
            layers = [layer for layer in layers if has_arrays(layer, surely=True)]
        if len(found) != len(layers):
            raise KerasFileError(
                f"the file holds arrays for {len(found)} layers of class {kind}, but the model "
                f"needs them for {len(layers)}: {quoted(layer.name for layer in layers)}"
            )
        for layer, (_, key) in zip(layers, found, strict=True):
            params[id(layer)] = _from_object(layer, prefix + key, objects, container)
    return [params.get(id(owner)) for owner in owners]


def _from_object(
    layer: Layer, path: str, objects: dict[str, tuple[StoredArray, ...]], container: str
) -> Any:
    if isinstance(layer, Bidirectional):
        return BidirectionalParams(
            _from_object(layer.forward, f"{path}/forward_layer", objects, container),
            _from_object(layer.backward, f"{path}/backward_layer", objects, container),
        )
    if isinstance(layer, TimeDistributed):
        return _from_object(layer.layer, f"{path}/layer", objects, container)
    if isinstance(layer, Model):
        return _from_model(layer, f"{path}/{container}", objects, container)
    if isinstance(layer, StackedRecurrent):
        cells = _from_container(layer.cells, f"{path}/cell/cells", objects, container)
        return tuple(() if own is None else own for own in cells)
    inside = "/cell" if isinstance(layer, Recurrent) and not is_cudnn(layer) else ""
    if isinstance(layer, MultiHeadAttention) or is_custom(layer):
        return fill(layer, _with_inner(layer, path + inside, objects))
    return fill(layer, objects.pop(path + inside, ()))


def _with_inner(
    layer: Layer, path: str, objects: dict[str, tuple[StoredArray, ...]]
) -> list[StoredArray]:
    """Returns the arrays of an object and of those inside it, its own first, then by name."""
    paths = [key for key in objects if key == path or key.startswith(f"{path}/")]
    if isinstance(layer, MultiHeadAttention):
        # In tf.keras and early Keras 3 the attributes' names start with "_".
        order = [f"{path}/{start}{name}_dense" for name in PROJECTIONS for start in ("", "_")]
        paths = [key for key in order if key in paths]
    return [array for key in paths for array in objects.pop(key)]


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
        if has_arrays(layer):
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
    else:
        inside = "/cell" if isinstance(layer, Recurrent) else ""
        arrays = tuple(own_arrays(layer, params).values())
        yield path + inside, NamedObject(layer.name, arrays)
