"""The bytes of a Keras 3 file: the only code that writes HDF5 and zip."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from jrnn.keras_loader.hdf5_checks import h5py
from jrnn.keras_loader.layouts import NamedObject

LARGEST_ATTRIBUTE = 64512  # bytes of a list of names, as Keras splits it: HDF5 holds 64 KiB
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # equal models make equal files


def write_zip(
    file: BinaryIO, config: Mapping[str, Any], version: str, objects: Mapping[str, NamedObject]
) -> None:
    """Writes a ``.keras`` zip: the architecture, who wrote it, and the weights."""
    with zipfile.ZipFile(file, "w") as archive:
        _add_text(archive, "metadata.json", {"keras_version": version})
        _add_text(archive, "config.json", config)
        with tempfile.TemporaryFile() as weights:
            write_objects(weights, objects)
            weights.seek(0)
            member = zipfile.ZipInfo("model.weights.h5", _FIXED_TIME)
            with archive.open(member, "w", force_zip64=True) as place:
                shutil.copyfileobj(weights, place, 2**20)


def _add_text(archive: zipfile.ZipFile, name: str, content: Mapping[str, Any]) -> None:
    archive.writestr(zipfile.ZipInfo(name, _FIXED_TIME), json.dumps(content))


def write_objects(file: Any, objects: Mapping[str, NamedObject]) -> None:
    """Writes ``.weights.h5``: every object's variables by its path."""
    with h5py.File(file, "w") as root:
        root.create_group("vars")  # the model's own, which it has none of
        root.create_group("layers")
        for path, found in objects.items():
            group = root.create_group(f"{path}/vars")
            group.attrs["name"] = found.name
            for number, array in enumerate(found.arrays):
                dataset = group.create_dataset(str(number), data=array)
                if array.dtype.name == "bfloat16":
                    dataset.attrs["dtype"] = "bfloat16"


def write_layers(
    file: Any,
    config: Mapping[str, Any],
    version: str,
    backend: str,
    layers: Mapping[str, Sequence[tuple[str, np.ndarray]]],
) -> None:
    """Writes a legacy ``.h5``: the architecture, and a list of named arrays for each layer."""
    with h5py.File(file, "w") as root:
        weights = root.create_group("model_weights")
        for group in (root, weights):
            group.attrs["keras_version"] = version.encode()
            group.attrs["backend"] = backend.encode()
        root.attrs["model_config"] = json.dumps(config).encode()
        _write_names(weights, "layer_names", list(layers))
        for name, arrays in layers.items():
            group = weights.create_group(name)
            _write_names(group, "weight_names", [path for path, _ in arrays])
            for path, array in arrays:
                group.create_dataset(path, data=array)
        _write_names(weights.create_group("top_level_model_weights"), "weight_names", [])


def _write_names(group: Any, attribute: str, names: Sequence[str]) -> None:
    """Writes a list of names, a long one as ``attribute0``, ``attribute1``, ... as Keras does."""
    encoded = [name.encode() for name in names]
    parts = [np.asarray(encoded, dtype=None if encoded else "S1")]
    while any(part.nbytes > LARGEST_ATTRIBUTE for part in parts):
        parts = np.array_split(np.asarray(encoded), len(parts) + 1)
    for k, part in enumerate(parts):
        group.attrs[attribute if len(parts) == 1 else f"{attribute}{k}"] = part
