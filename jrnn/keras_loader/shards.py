"""Weights spread over several v3 files, tied together by a `.weights.json`."""

import os
import re
from collections.abc import Callable
from typing import Any

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
_NUMBERED = re.compile(r"(.*)_([0-9]{5})\.weights\.h5", re.DOTALL)


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
    named = weight_map if isinstance(weight_map, dict) else {}
    wanted = _wanted(_spread(named), where)
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
    if isinstance(list(named.values())[-1], str):
        _continue(merged, wanted, container, path, open_shard)
    missing = sorted(set(wanted) - set(merged.variables))
    if missing:
        raise KerasFileError(
            f"{where}: expected variables of {shown(missing[0])} in "
            f"{shown(', '.join(wanted[missing[0]]))}, found none; the shards do not fit the map"
        )
    return numbered(merged, container, where)


def _spread(weight_map: dict[str, Any]) -> dict[str, Any]:
    """Completes a map of Keras 3.10, which names the first shard of each object alone.

    The others, if there are any, reach as far as the first shard of the next object.
    """
    names = list(weight_map.values())
    found = [_NUMBERED.fullmatch(name) for name in names if isinstance(name, str)]
    numbers = [int(match[2]) for match in found if match]
    alike = len({match[1] for match in found if match}) == 1 and len(numbers) == len(names)
    if not alike or numbers != sorted(numbers) or numbers[-1] - numbers[0] >= _MOST_SHARDS:
        return weight_map
    ends = [*numbers[1:], numbers[-1]]
    return {
        key: [_with_number(name, k) for k in range(start, end + 1)]
        for key, name, start, end in zip(weight_map, names, numbers, ends, strict=True)
    }


def _with_number(shard: str, number: int) -> str:
    return _NUMBERED.sub(rf"\g<1>_{number:05}.weights.h5", shard)


def _continue(
    merged: FoundObjects,
    wanted: dict[str, list[str]],
    container: str,
    path: str,
    open_shard: Callable[[str], Group],
) -> None:
    """Adds the rest of the last object from shards that a map of Keras 3.10 does not name."""
    last = list(wanted)[-1]
    match = _NUMBERED.fullmatch(wanted[last][-1]) if wanted[last] else None
    start = int(match[2]) + 1 if match else 0
    for number in range(start, start + _MOST_SHARDS if match else 0):
        shard = _beside(path, _with_number(wanted[last][-1], number))
        if not os.path.exists(shard):
            return
        found = find_objects(open_shard(shard), container).variables
        have = merged.variables.get(last, {})
        if list(found) != [last] or min(found[last]) != len(have):  # of another, older model
            return
        have.update(found[last])


def _wanted(weight_map: dict[str, Any], where: str) -> dict[str, list[str]]:
    """Object path to shard names, for the objects inside a container of layers."""
    wanted = {}
    for key, value in weight_map.items():
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
