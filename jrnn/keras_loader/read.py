"""A Keras model file of any kind, opened as inert data: a configuration and arrays.

Nothing here knows a layer. What kind of file it is comes from its bytes, never from its name.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from jrnn.keras_loader.archive import open_archive
from jrnn.keras_loader.errors import KerasFileError, reading, shown
from jrnn.keras_loader.hdf5 import Group, open_hdf5
from jrnn.keras_loader.json_text import LARGEST_TEXT, parse_json_object
from jrnn.keras_loader.layouts import (
    LegacyWeights,
    ObjectWeights,
    container_of,
    find_objects,
    numbered,
    read_legacy,
)
from jrnn.keras_loader.shards import read_shards
from jrnn.keras_loader.stored_array import StoredArray
from jrnn.keras_loader.window import Window

__all__ = [
    "KerasFile",
    "KerasFileError",
    "LegacyWeights",
    "ObjectWeights",
    "StoredArray",
    "open_keras",
]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = (b"PK\3\4", b"PK\5\6")
_STRANGERS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the real file with 'git lfs pull'",
    b"<": "an HTML or XML page; download the file itself, not the page about it",
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"\x80": "a Python pickle, which can run code; jrnn never opens one",
    b"\x93NUMPY": "a NumPy array; give the model file",
}


@dataclass(frozen=True)
class KerasFile:
    """An open model file.

    Attributes:
        path: the path as given.
        kind: "keras" (v3 zip), "legacy" (HDF5 with architecture), "legacy_weights", "weights" (v3
            weights alone), "sharded" (a `.weights.json` and its files) or "config" (JSON from
            `model.to_json()`).
        config: the architecture, {"class_name": ..., "config": ...}, or None.
        keras_version: the writer's version, as near as the file says.
        backend: the writer's backend, or None.
        weights: the arrays, or None for "config".
    """

    path: str
    kind: str
    config: dict | None
    keras_version: str | None
    backend: str | None
    weights: LegacyWeights | ObjectWeights | None


@contextmanager
def open_keras(path: str | os.PathLike[str]) -> Iterator[KerasFile]:
    """Yields what the file at `path` holds; its arrays can be read inside the with-block only.

    Raises:
        KerasFileError: for a file that is missing, damaged, hostile or of no kind known here.
    """
    name = os.fsdecode(os.fspath(path))
    with ExitStack() as stack:
        with reading(shown(name)):
            opened = _open(name, stack)
        yield opened


def _open(name: str, stack: ExitStack) -> KerasFile:
    source = _source(name, stack)
    start = source.read(64)
    source.seek(0)
    if start.startswith(_HDF5):
        return _from_hdf5(name, open_hdf5(source, shown(name), stack))
    if start.startswith(_ZIP):
        return _from_zip(name, source, stack)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return _from_json(name, source, stack)
    stranger = next((what for magic, what in _STRANGERS.items() if start.startswith(magic)), None)
    raise KerasFileError(
        f"{shown(name)}: expected an HDF5 file, a .keras zip or a JSON architecture, found "
        f"{stranger or f'bytes {start[:8]!r}; check that this is the model file'}"
    )


def _source(name: str, stack: ExitStack) -> Window:
    """The bytes of a regular file; anything else would block, or never end."""
    try:
        if os.path.isdir(name):
            raise _directory(name)
        mode = os.stat(name).st_mode
        if not stat.S_ISREG(mode):
            raise KerasFileError(f"{shown(name)}: expected a file, found a device or pipe; copy it")
        file = stack.enter_context(open(name, "rb", buffering=0))  # noqa: SIM115
        size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise KerasFileError(
            f"{shown(name)}: expected a readable file, found: {error.strerror}; "
            f"check the path and its permissions"
        ) from error
    if size == 0:
        raise KerasFileError(
            f"{shown(name)}: expected a model file, found an empty file; fetch or save it again"
        )
    return Window(file, 0, size)


def _directory(name: str) -> KerasFileError:
    if os.path.exists(os.path.join(name, "saved_model.pb")):
        hint = "a TensorFlow SavedModel; load it there and save it with model.save('name.keras')"
    elif os.path.exists(os.path.join(name, "config.json")):
        hint = "an unpacked .keras folder; save the model as one file 'name.keras'"
    else:
        hint = "a folder; give the path of the file in it"
    return KerasFileError(f"{shown(name)}: expected a model file, found {hint}")


def _from_hdf5(name: str, root: Group) -> KerasFile:
    config = _utf8(root, "model_config")
    version, backend = root.text("keras_version"), root.text("backend")
    if config is None and root.name_list("layer_names") is None:
        return KerasFile(name, "weights", None, version, backend, _object_weights(root))
    group = root if config is None else root.group("model_weights")
    if group is None:
        raise KerasFileError(
            f"{root.where}: expected a group 'model_weights' beside 'model_config', found none; "
            f"the file is incomplete: save the model again"
        )
    weights = read_legacy(group)
    return KerasFile(
        name,
        "legacy_weights" if config is None else "legacy",
        None if config is None else _architecture(config, f"{root.where}, model_config"),
        version or weights.keras_version,
        backend or weights.backend,
        weights,
    )


def _utf8(group: Group, name: str) -> bytes | None:
    """A text as bytes, a quarter of what Python takes for one with wide letters."""
    text = group.text(name)
    return None if text is None else text.encode()


def _object_weights(root: Group) -> ObjectWeights:
    container = container_of(root)
    if container is None:
        ancient = root.has_attribute("nb_layers")
        raise KerasFileError(
            f"{root.where}: expected a Keras model or its weights, found "
            + (
                "the layout of Keras 0.x; load and save it with Keras 1"
                if ancient
                else "an HDF5 file with neither; check that this is the model file"
            )
        )
    return numbered(find_objects(root, container), container, root.where)


def _from_zip(name: str, source: Window, stack: ExitStack) -> KerasFile:
    archive = open_archive(source, shown(name))
    config = _architecture(archive.config, f"{shown(name)}, config.json")
    version = None
    if archive.metadata is not None:
        where = f"{shown(name)}, metadata.json"
        version = _optional_text(parse_json_object(archive.metadata, where), "keras_version", where)
    root = open_hdf5(archive.weights, f"{shown(name)}, model.weights.h5", stack)
    return KerasFile(name, "keras", config, version, None, _object_weights(root))


def _from_json(name: str, source: Window, stack: ExitStack) -> KerasFile:
    if source.size > LARGEST_TEXT:
        raise KerasFileError(
            f"{shown(name)}: expected at most {LARGEST_TEXT} bytes of JSON, found {source.size}; "
            f"check that this is the architecture file"
        )
    parsed = parse_json_object(source.read(), shown(name))
    if "weight_map" in parsed:

        def open_shard(shard: str) -> Group:
            return open_hdf5(_source(shard, stack), shown(shard), stack)

        weights = read_shards(parsed["weight_map"], name, open_shard)
        return KerasFile(name, "sharded", None, None, None, weights)
    config = _checked_architecture(parsed, shown(name))
    version = _optional_text(parsed, "keras_version", shown(name))
    backend = _optional_text(parsed, "backend", shown(name))
    return KerasFile(name, "config", config, version, backend, None)


def _architecture(text: bytes, where: str) -> dict:
    return _checked_architecture(parse_json_object(text, where), where)


def _checked_architecture(parsed: dict, where: str) -> dict:
    named, held = isinstance(parsed.get("class_name"), str), parsed.get("config")
    if not named or not isinstance(held, dict | list):
        raise KerasFileError(
            f"{where}: expected an object with 'class_name' and 'config', found keys "
            f"{shown(list(parsed)[:8])}; this is not a Keras architecture"
        )
    return parsed


def _optional_text(parsed: dict, key: str, where: str) -> str | None:
    value = parsed.get(key)
    if value is not None and not isinstance(value, str):
        raise KerasFileError(
            f"{where}: expected text for {key!r}, found {shown(value)}; do not trust this file"
        )
    return value
