"""Weights spread over several v3 files, tied together by a `.weights.json`."""

import os
from collections.abc import Callable

from jrnn.keras_loader.errors import KerasFileError, shown
from jrnn.keras_loader.hdf5 import Group
from jrnn.keras_loader.layouts import (
    CONTAINERS,
    FoundObjects,
    ObjectWeights,
    container_of,
    find_objects,
    numbered,
)

_MOST_SHARDS = 512


def read_shards(weight_map: object, path: str, open_shard: Callable[[str], Group]) -> ObjectWeights:
    """Returns the union of the shards that `weight_map` names.

    Args:
        weight_map: {"/layers/lstm/cell/vars": "name_00000.weights.h5" or a list of such}; the
            variables of one object may be spread over the files of its list.
        path: the JSON file; shards must lie beside it.
        open_shard: opens one shard by path.

    Raises:
        KerasFileError: if a shard is named by more than a file name, lies elsewhere through a
            link, or holds other variables than the map says.
    """
    where = shown(path)
    wanted = _wanted(weight_map, where)
    containers = {key.split("/", 1)[0] for key in wanted}
    if len(containers) != 1:
        raise KerasFileError(
            f"{where}: expected a 'weight_map' of one model's layers, found groups "
            f"{shown(sorted(containers))}; this is not a map Keras writes"
        )
    container = containers.pop()
    merged = FoundObjects({})
    for shard in sorted({shard for shards in wanted.values() for shard in shards}):
        root = open_shard(_beside(path, shard))
        if container_of(root) == container:
            _merge(merged, find_objects(root, container), shard, wanted, where)
    missing = sorted(set(wanted) - set(merged.variables))
    if missing:
        raise KerasFileError(
            f"{where}: expected variables of {shown(missing[0])} in "
            f"{shown(', '.join(wanted[missing[0]]))}, found none; the shards do not fit the map"
        )
    return numbered(merged, container, where)


def _wanted(weight_map: object, where: str) -> dict[str, list[str]]:
    """Object path to shard names, for the objects inside a container of layers."""
    wanted = {}
    for key, value in weight_map.items() if isinstance(weight_map, dict) else ():
        shards = value if isinstance(value, list) else [value]
        for shard in shards:
            _check_plain(shard, where)
        path = key.strip("/").removesuffix("/vars")
        if path.split("/", 1)[0] in CONTAINERS:
            wanted[path] = shards
    if len({shard for shards in wanted.values() for shard in shards}) > _MOST_SHARDS:
        raise KerasFileError(f"{where}: expected at most {_MOST_SHARDS} shards, found more")
    return wanted


def _check_plain(shard: object, where: str) -> None:
    special = not isinstance(shard, str) or shard in ("", ".", "..")
    if special or any(mark in shard for mark in "/\\:\0"):  # pyright: ignore[reportOperatorIssue]
        raise KerasFileError(
            f"{where}: expected plain shard file names in 'weight_map', found {shown(shard)}; "
            f"Keras writes no such map, do not trust it"
        )


def _beside(path: str, shard: str) -> str:
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.dirname(os.path.realpath(os.path.join(folder, shard))) != os.path.realpath(folder):
        raise KerasFileError(
            f"{shown(path)}: expected shard {shown(shard)} in the same folder, found a link out "
            f"of it; copy the files themselves into one folder"
        )
    return os.path.join(folder, shard)


def _merge(
    merged: FoundObjects,
    found: FoundObjects,
    shard: str,
    wanted: dict[str, list[str]],
    where: str,
) -> None:
    for path, variables in found.variables.items():
        have = merged.variables.setdefault(path, {})
        if shard not in wanted.get(path, ()) or have.keys() & variables.keys():
            raise KerasFileError(
                f"{where}: expected {shown(path)} once and where 'weight_map' says, found it in "
                f"{shown(shard)} too; the shards do not fit the map"
            )
        have.update(variables)
