"""The two ways Keras lays out weights in HDF5: named lists per layer, and paths of objects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jrnn.keras_loader.errors import KerasFileError, shown
from jrnn.keras_loader.hdf5 import Group
from jrnn.keras_loader.stored_array import StoredArray

# TensorFlow 2.12 to 2.14 call the container by the second name.
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
# Training state, and keys of random generators; only below these, a child's name is a class's.
_SKIPPED = {"optimizer", "metrics", "compile_metrics", "loss_tracker", "seed_generator"}
_NAMED_BY_CLASS = {*CONTAINERS, "cells"}
_DEEPEST = 64
_INDEX = re.compile(r"0|[1-9][0-9]{0,6}")


@dataclass(frozen=True)
class LegacyWeights:
    """Keras 1, Keras 2, tf.keras and Keras 3 `.h5`: an ordered list of arrays for each layer.

    Attributes:
        layers: layer name to its arrays, in `layer_names` and `weight_names` order; a layer
            without weights is there with ().
        keras_version: as the weights group says; None means Keras 1 (Keras's own rule).
        backend: as the weights group says.
    """

    layers: Mapping[str, tuple[StoredArray, ...]]
    keras_version: str | None
    backend: str | None


@dataclass(frozen=True)
class ObjectWeights:
    """Format v3 (`.weights.h5`, inside `.keras`, shards): arrays by path through the model.

    Attributes:
        objects: "layers/lstm/cell" to its variables 0, 1, ...; objects without any are left out.
        container: the one of `CONTAINERS` the paths start with.
    """

    objects: Mapping[str, tuple[StoredArray, ...]]
    container: str


@dataclass(frozen=True)
class NamedObject:
    """What is written for one object of format v3.

    Attributes:
        name: the layer's name.
        arrays: its variables in order.
    """

    name: str
    arrays: tuple[np.ndarray, ...]


def read_legacy(group: Group) -> LegacyWeights:
    """Returns the weights listed in a `model_weights` group (or a root that is one)."""
    listed = group.name_list("layer_names")
    if listed is None:
        raise KerasFileError(
            f"{group.where}: expected attribute 'layer_names', found none; "
            f"this is not the layout Keras writes"
        )
    layers = {name: _layer_arrays(group, name) for name in listed}
    return LegacyWeights(layers, group.text("keras_version"), group.text("backend"))


def _layer_arrays(group: Group, layer: str) -> tuple[StoredArray, ...]:
    inside = group.group(layer)
    names = None if inside is None else inside.name_list("weight_names")
    if inside is None or (names is None and inside.names()):
        raise KerasFileError(
            f"{group.where}: expected a group with 'weight_names' for layer {shown(layer)}, found "
            f"{'no group' if inside is None else 'no such list'}; the file is incomplete"
        )
    arrays = [(name, inside.array(name, name)) for name in names or ()]
    return tuple(_present(array, inside, name) for name, array in arrays)


def _present(array: StoredArray | None, group: Group, name: str) -> StoredArray:
    if array is None:
        raise KerasFileError(
            f"{group.where}: expected an array {shown(name)}, found none; the file is incomplete"
        )
    return array


@dataclass(frozen=True)
class FoundObjects:
    """What one v3 file holds, its numbered variables not yet checked for gaps."""

    variables: dict[str, dict[int, StoredArray]]


def container_of(root: Group) -> str | None:
    """The name of the group of layers in a v3 file, or None if this is no such file."""
    return next((name for name in CONTAINERS if root.group(name) is not None), None)


def find_objects(root: Group, container: str) -> FoundObjects:
    """Returns every variable below `container`, with training state left out."""
    found = FoundObjects({})
    waiting = [container]
    while waiting:
        path = waiting.pop()
        group = root.group(path)
        if group is None or path.count("/") > _DEEPEST - 2:
            raise KerasFileError(
                f"{root.where}: expected groups at most {_DEEPEST - 2} deep, found "
                f"{shown(path)}; no Keras model needs that"
            )
        by_class = path.rsplit("/", 1)[-1] in _NAMED_BY_CLASS
        children = []
        for name in group.names():
            if name == "vars":
                _collect(root, path, found)
            elif by_class or name not in _SKIPPED:
                children.append(f"{path}/{name}")
        waiting += reversed(children)
    return found


def _collect(root: Group, path: str, found: FoundObjects) -> None:
    group = root.group(f"{path}/vars")
    assert group is not None, "listed by its parent"
    variables = {}
    for key in group.names():
        if not _INDEX.fullmatch(key):
            raise KerasFileError(
                f"{group.where}: expected variables named 0, 1, ..., found {shown(key)}; "
                f"jrnn knows no layer that stores that"
            )
        variables[int(key)] = _present(group.array(key, f"{path}/vars/{key}"), group, key)
    if variables:
        found.variables[path] = variables


def numbered(found: FoundObjects, container: str, where: str) -> ObjectWeights:
    """Returns the variables of each object in order, if none is missing."""
    objects = {}
    for path, variables in found.variables.items():
        if sorted(variables) != list(range(len(variables))):
            raise KerasFileError(
                f"{where}: expected variables 0..{len(variables) - 1} at {shown(path)}, found "
                f"{shown(sorted(variables))}; the file is incomplete"
            )
        objects[path] = tuple(variables[k] for k in range(len(variables)))
    return ObjectWeights(objects, container)
