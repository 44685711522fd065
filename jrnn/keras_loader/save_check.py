"""Whether Keras 3 computes from a config what a model does, and what differs where it does not."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jrnn.keras_loader.parse import parse_model
from jrnn.keras_loader.same_program import same_program
from jrnn.keras_loader.save_training import warn_of_training
from jrnn.keras_loader.write_custom import factories
from jrnn.keras_loader.writer import writer_of
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.operation import Operation
from jrnn.model.walk import with_layers

KERAS_VERSION = "3.15.1"  # what a file is written as: its numbers are those of this Keras
BACKENDS = ("tensorflow", "jax", "torch")


def check_same(model: Model, config: Mapping[str, Any], params: Any, backend: str) -> None:
    """Raises if Keras 3 would compute something else from a config than the model does."""
    entry = json.loads(json.dumps(config))
    custom = factories(model)
    read = parse_model(entry, writer_of(KERAS_VERSION, backend), custom)
    if read == model:
        return
    same = same_program(model, read, params)
    if same:
        return warn_of_training(model, read)
    differences = list(_differences(model, read))
    if same is not None:
        alone = [found for found in differences if _matters(model, found, params)]
        differences = alone or differences
    said = "; ".join(str(found) for found in differences[:2]) or "it is called in another way"
    others = [
        other
        for other in BACKENDS
        if same_program(model, parse_model(entry, writer_of(KERAS_VERSION, other), custom), params)
    ]
    hint = f"; on {others[0]} it would: save it with backend={others[0]!r}" if others else ""
    raise ValueError(
        f"save_keras: Keras 3 on {backend} would not compute what model {model.name!r} does"
        f"{'' if same is not None else ', as far as can be told for sizes that are left open'}: "
        f"{said}{hint}"
    )


@dataclasses.dataclass(frozen=True)
class _Difference:
    """One field in which a layer and what Keras 3 would make of it differ."""

    layer: Layer  # as in the model: what may lie in it, is in the path
    path: tuple[str, ...]
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        return (
            f"layer {self.layer.name!r} ({self.layer.kind}): {'.'.join(self.path)} is "
            f"{self.ours!r}, and there {self.theirs!r}"
        )


def _differences(model: Model, read: Model) -> Iterator[_Difference]:
    """Yields what differs, in layers of the model itself."""
    theirs = {layer.name: layer for layer in read.layers}
    for layer in model.layers:
        if not isinstance(layer, Operation) and layer.name in theirs:
            for path, own, other in _fields(layer, theirs[layer.name]):
                yield _Difference(layer, path, own, other)


def _fields(ours: Any, theirs: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yields the fields that differ in two objects of one class, and in those they hold."""
    for field in dataclasses.fields(ours):
        own, other = getattr(ours, field.name), getattr(theirs, field.name, None)
        if own == other or field.name in ("kind", "name"):
            continue
        if dataclasses.is_dataclass(own) and type(own) is type(other):
            for path, *values in _fields(own, other):
                yield (field.name, *path), *values
        else:
            yield (field.name,), own, other


def _matters(model: Model, found: _Difference, params: Any) -> bool:
    """Returns whether a difference alone changes what a model computes."""
    layers = {layer.name: layer for layer in model.layers}
    changed = _changed(found.layer, found.path, found.theirs)
    other = with_layers(model, {**layers, changed.name: changed})
    return same_program(model, other, params) is False


def _changed(holder: Any, path: tuple[str, ...], value: Any) -> Any:
    name, *inside = path
    if inside:
        value = _changed(getattr(holder, name), tuple(inside), value)
    return dataclasses.replace(holder, **{name: value})
