"""``load_keras``: a file -> a model and its parameters."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.config import NOTHING
from jrnn.keras_loader.custom import checked
from jrnn.keras_loader.custom_arrays import with_places
from jrnn.keras_loader.errors import KerasFileError, shown
from jrnn.keras_loader.isolated import open_isolated
from jrnn.keras_loader.parse import parse_model
from jrnn.keras_loader.read import KerasFile, LegacyWeights, open_keras
from jrnn.keras_loader.size import check_size
from jrnn.keras_loader.writer import Writer, version_of_keras3, writer_of
from jrnn.model.graph import Model

BACKENDS = ("cntk", "jax", "numpy", "openvino", "tensorflow", "theano", "torch")

PathLike = str | os.PathLike[str]
CustomObjects = Mapping[str, Callable[..., Any]]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model read from files.

    Attributes:
        model: The model.
        params: Its parameters.
        writer: The Keras that wrote the architecture.
        kind: What the first file is (see ``KerasFile.kind``).
    """

    model: Model
    params: dict[str, Any]
    writer: Writer | None
    kind: str


def load_keras(
    path: PathLike,
    *,
    config: PathLike | Model | None = None,
    weights: PathLike | None = None,
    backend: str | None = None,
    custom_objects: CustomObjects | None = None,
    isolated: bool = False,
) -> tuple[Model, dict[str, Any]]:
    """Returns ``(model, params)`` for a model file of any Keras version.

    ``model.apply(params, *inputs)`` computes what the Keras that wrote the file computed. Neither
    Keras nor TensorFlow is needed, and nothing in the file is executed.

    Args:
        path: A ``.keras`` file, a legacy ``.h5`` file, or weights alone (``.weights.h5``, legacy
            weights, ``.weights.json`` of sharded weights); told apart by content.
        config: A file to take the architecture from (JSON from ``model.to_json()`` or any model
            file) or a ``Model``: where ``path`` holds weights alone, or in place of its own.
        weights: A file to take the weights from, where ``path`` holds the architecture.
        backend: What Keras ran on ("tensorflow", "jax", "torch", "theano", ...). Only needed
            where the file does not say and the numbers depend on it: a ``.keras`` file does not,
            and Keras 3 on JAX repeats the initial state, not zeros, at masked steps that come
            before all others; TensorFlow is assumed.
        custom_objects: By name, what Keras does not have itself. A file holds its name and its
            arrays alone, and is refused without an entry for it. What is a function in Keras is
            given as one, what is a class as a function of its config (a dict, with the name):

            - An activation: ``f(x)``.
            - A ``Lambda``, by its own name or its function's: ``f(*inputs, **arguments)``.
            - A layer's class: ``factory(config)``, which returns ``f(params, *inputs)`` or, where
              masks or a state matter, a ``jrnn.model.layer.Layer``.
            - The class of a cell in ``RNN``: ``factory(config)``, which returns a cell (see
              ``jrnn.Cell``). With constants [B, ...] its params are ``(arrays, constants)``.

            ``params`` and ``arrays`` are tuples of the arrays in the file's order; a layer's own
            come before those of layers inside it, which follow by name. A function may return
            several outputs in a tuple; masks end at it, as at a layer of Keras that does not say
            ``supports_masking``. Names may hold the package, "package>Name". As in Keras, an entry
            stands before what Keras has under its name, unless the file says that Keras's own is
            meant, which files of Keras 3 do; entries that the file does not ask for are ignored.
        isolated: Whether another process opens the files and hands over what they hold: then a
            file that crashes HDF5's C library, or keeps it busy for ever, is an error too. It
            takes about 0.15 s more a file.

    Raises:
        ValueError: If the backend is unknown, both ``config`` and ``weights`` are given, a custom
            object is not as above, or ``isolated`` where there is no Python interpreter to start.
        KerasFileError: If a file cannot be read, holds what jrnn does not know, or holds arrays
            that do not fit the architecture. Nothing is half-loaded.

    Source: the file formats of Keras 1 to 3; ``keras.saving.load_model``.
    """
    loaded = load(
        path,
        config=config,
        weights=weights,
        backend=backend,
        custom_objects=custom_objects,
        isolated=isolated,
    )
    return loaded.model, loaded.params


def load(
    path: PathLike,
    *,
    config: PathLike | Model | None = None,
    weights: PathLike | None = None,
    backend: str | None = None,
    custom_objects: CustomObjects | None = None,
    isolated: bool = False,
) -> Loaded:
    """Returns what ``load_keras`` does, together with what is known of the files."""
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, but one of {', '.join(BACKENDS)} is needed")
    if isinstance(config, Model) and (backend is not None or custom_objects is not None):
        raise ValueError(
            "config is a Model, which was read with a backend and custom_objects; give neither"
        )
    custom = checked(custom_objects)
    kinds = str | bytes | os.PathLike
    allowed = {"path": kinds, "config": kinds | Model | None, "weights": kinds | None}
    for name, given in (("path", path), ("config", config), ("weights", weights)):
        if not isinstance(given, allowed[name]):
            raise ValueError(f"{name} is a {type(given).__name__}, but a file's path is needed")
    if config is not None and weights is not None:
        raise ValueError("config and weights are both given; give the third file as the first")
    open_file = open_isolated if isolated else open_keras
    with ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        architecture, store = file, file
        if config is not None and not isinstance(config, Model):
            architecture = stack.enter_context(open_file(config))
        if weights is not None:
            store = stack.enter_context(open_file(weights))
        if store.weights is None:
            raise KerasFileError(
                f"{shown(store.path)}: expected weights, found an architecture alone; give the "
                "weights file as well"
            )
        writer = None
        if isinstance(config, Model):
            model = config
        else:
            model, writer = load_architecture(architecture, store, backend, custom)
        try:
            params = build_params(model, store.weights)
            model = with_places(model, store.weights)
        except KerasFileError as error:
            raise KerasFileError(f"{shown(store.path)}: {error}") from error
        return Loaded(model, params, writer, file.kind)


def load_architecture(
    file: KerasFile,
    store: KerasFile,
    backend: str | None,
    custom: CustomObjects = NOTHING,
) -> tuple[Model, Writer]:
    """Returns the model that an open file describes, and who wrote it."""
    if file.config is None:
        raise KerasFileError(
            f"{shown(file.path)}: expected a whole model, found weights alone; give the "
            "architecture as well (config=: the JSON of model.to_json(), or a model file)"
        )
    try:
        writer = _writer(file, store, backend)
        model = parse_model(file.config, writer, custom)
        check_size(model)
        return model, writer
    except KerasFileError as error:
        raise KerasFileError(f"{shown(file.path)}: {error}") from error


def _writer(file: KerasFile, store: KerasFile, backend: str | None) -> Writer:
    backend = backend or file.backend or store.backend
    if backend is None and isinstance(store.weights, LegacyWeights):
        # Keras 1 names no backend, but only on TensorFlow do its array names end in ":0".
        paths = [array.path for arrays in store.weights.layers.values() for array in arrays]
        backend = "tensorflow" if any(path.endswith(":0") for path in paths) else "theano"
    version = file.keras_version or store.keras_version
    if version is None and file.config is not None and "module" in file.config:
        version = version_of_keras3(file.config)
    return writer_of(version, backend)
