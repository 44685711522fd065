"""What the caller gave to load a file with -> the entries and the places of arrays it had there."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jrnn.keras_loader.layouts import NamedObject
from jrnn.model.custom import CustomCell, CustomLayer, Lambda
from jrnn.model.layer import Layer
from jrnn.model.recurrent import OneCell
from jrnn.model.walk import walk


def as_read(layer: Layer) -> dict[str, Any]:
    """Returns the entry that a file had for a layer or cell of the caller's.

    Raises:
        ValueError: If there is none, or if it holds code.
    """
    if not _held(layer).source:
        code = isinstance(layer, Lambda)
        raise ValueError(
            f"layer {layer.name!r} ({layer.kind}): "
            + ("its function is Python code" if code else "it was not read from a file")
            + ", for which jrnn can write no config; save as .weights.h5"
        )
    entry = json.loads(_held(layer).source)
    options = entry["config"]
    if not isinstance(layer, OneCell):  # what the typed layer says counts
        said = {"name": layer.name, "trainable": layer.trainable}
        options |= {key: value for key, value in said.items() if key in options}
    return entry


def factories(model: Layer) -> dict[str, Callable[..., Any]]:
    """Returns what reads again what ``as_read`` wrote: the functions and cells of the model."""
    made: dict[str, Any] = {}
    names: set[str] = set()
    for layer in walk(model):
        held: Any = _held(layer)
        if isinstance(held, CustomLayer | CustomCell) and held.source:
            entry = as_read(layer)
            options = {"name": layer.name, **entry["config"]}
            kept = held.function if isinstance(held, CustomLayer) else held.cell
            made[json.dumps(options)] = kept
            names.add(entry["class_name"].rsplit(">")[-1])
    found: dict[str, Any] = dict.fromkeys(names, lambda options: made[json.dumps(options)])
    return found | {
        layer.name: layer.function for layer in walk(model) if isinstance(layer, Lambda)
    }


def places(layer: Layer) -> tuple[str, ...]:
    """Returns where below a layer or cell of the caller's its arrays lie."""
    return _held(layer).arrays or ()


def custom_arrays(layer: Layer, params: Any) -> dict[str, np.ndarray]:
    """Returns arrays by their places below a layer or cell of the caller's: "dense/vars/0".

    Raises:
        ValueError: If the places are not known, or are not as many.
    """
    arrays = [np.asarray(array) for array in params or ()]
    known = places(layer)
    if len(known) != len(arrays):
        raise ValueError(
            f"layer {layer.name!r} ({layer.kind}): params hold {len(arrays)} arrays, but the file "
            f"that it was read from has places for {len(known)}"
        )
    return dict(zip(known, arrays, strict=True))


def custom_objects_at(layer: Layer, params: Any, path: str) -> Iterator[tuple[str, NamedObject]]:
    """Yields the objects of Keras 3's layout for a layer or cell that stands at a path."""
    named = custom_arrays(layer, params)
    if any("vars/" not in place for place in named):
        raise ValueError(
            f"layer {layer.name!r} ({layer.kind}): it was read from a .h5 file with layers inside "
            "it, and where a .keras file has their arrays is not known; save as .h5"
        )
    folders = itertools.groupby(named.items(), lambda pair: pair[0].rpartition("vars/")[0])
    for folder, pairs in folders:
        yield f"{path}/{folder}".rstrip("/"), NamedObject(layer.name, tuple(a for _, a in pairs))


def custom_list(layer: Layer, params: Any) -> Mapping[str, np.ndarray]:
    """Returns the arrays in the order in which a .h5 file has them."""
    named = custom_arrays(layer, params)
    if len({place.rpartition("vars/")[0] for place in named}) > 1 and any(
        "vars/" in place for place in named
    ):
        raise ValueError(
            f"layer {layer.name!r} ({layer.kind}): it was read from a .keras file with layers "
            "inside it, and in which order a .h5 file has their arrays is not known; save as .keras"
        )
    return named


def _held(layer: Layer) -> Any:
    """Returns what has the source: the layer itself, or its cell."""
    return layer.cell if isinstance(layer, OneCell) else layer
