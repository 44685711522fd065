"""``save_keras``: a model and its parameters -> a file of Keras 3."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.core import Tracer

from jrnn.keras_loader.arrays import has_arrays
from jrnn.keras_loader.build import check_together
from jrnn.keras_loader.classes import is_chain
from jrnn.keras_loader.graph_order import in_keras_order
from jrnn.keras_loader.save_check import BACKENDS, KERAS_VERSION, check_same
from jrnn.keras_loader.whole_file import written_whole
from jrnn.keras_loader.write import write_layers, write_objects, write_zip
from jrnn.keras_loader.write_config import model_entry
from jrnn.keras_loader.write_legacy import check_arrays, to_layers
from jrnn.keras_loader.write_masks import with_masks_by_keyword
from jrnn.keras_loader.write_objects import to_objects
from jrnn.keras_loader.write_options import unsupported
from jrnn.model.basic import TimeDistributed
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.walk import walk, with_layers

SUFFIXES = (".keras", ".weights.h5", ".h5")


def save_keras(
    path: str | os.PathLike[str],
    model: Model,
    params: Mapping[str, Any],
    *,
    backend: str = "tensorflow",
    overwrite: bool = True,
) -> None:
    """Writes a model and its parameters as a file that Keras 3 opens.

    ``keras.models.load_model(path)(x)`` then gives the numbers of ``model.apply(params, x)``, and
    ``load_keras(path)`` the parameters bit for bit, whichever Keras the model was once read from.
    The name says in which format:

    - ``.keras``: the zip with architecture and weights.
    - ``.h5``: the same in the legacy layout.
    - ``.weights.h5``: the weights alone, for ``load_weights`` of a Keras 3 model with the same
      layers; what these compute is then not looked at.

    What acts in training alone goes along: penalties, constraints, dropout, how a recurrent layer's
    weights are drawn. What Keras 3 does otherwise there (masks of dropout that tf.keras draws at
    each step, say) is told in a ``UserWarning``; seeds, optimizers and the initializers of other
    layers are not in a model, and Keras takes its defaults.

    - ``hard_sigmoid`` of Keras 1 and 2, ``clip(0.2 x + 0.5, 0, 1)``, is none of Keras 3's
      activations. It is written as two layers of Keras in the activation's place (a ``Pipeline``
      of ``Rescaling`` and ``ReLU``), which compute it to the bit: no weight is scaled or rounded.
    - Quantised layers are written as such, with their 8-bit kernels and scales as they are.
    - Layers and cells of the caller's (``custom_objects``) are written as the file had them; Keras
      needs their classes to open them. A ``Lambda`` that holds code is refused.

    A file that is there already is replaced once the new one is complete.

    Args:
        path: Where to write.
        model: A model, as ``load_keras`` returns it.
        params: Its parameters; other values in the same shapes may stand in them.
        backend: What Keras will run on, "tensorflow", "jax" or "torch". Numbers depend on it in
            one case: on JAX, masked steps that come before all others repeat an initial state, and
            elsewhere they are zeros.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        ValueError: If the name has another ending or is taken, if the parameters do not fit the
            model, or if Keras 3 cannot compute what the model does; it says which layer differs
            in what. Differences that change no number (how masks are treated where nothing is
            masked) do not count. Nothing is written then.

    Source: ``keras.Model.save``, ``keras.Model.save_weights``.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ValueError(
            f"save_keras: path is a {type(path).__name__}, but a file's path is needed"
        )
    if not isinstance(model, Model):
        raise ValueError(
            f"save_keras: model is a {type(model).__name__}, but a Model is needed, as load_keras "
            "returns it"
        )
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(params)):
        raise ValueError(
            "save_keras: params are being traced (jax.jit, grad or vmap) and have no numbers; call "
            "it outside"
        )
    name = os.fsdecode(os.fspath(path))
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is None:
        raise ValueError(
            f"save_keras: {name!r} has no known ending, but one of {', '.join(SUFFIXES)} is needed"
        )
    if backend not in BACKENDS:
        raise ValueError(f"save_keras: backend is {backend!r}, but one of {BACKENDS} is needed")
    if not overwrite and os.path.exists(name):
        raise ValueError(
            f"save_keras: {name!r} is there already; give overwrite=True or a new name"
        )
    _check_params(model, params, check_arrays if suffix == ".h5" else to_objects)
    written = _as_keras_holds_it(model, params)
    config = {}
    if suffix != ".weights.h5":
        config = model_entry(written, params)
        check_same(model, config, params, backend)
    if suffix == ".h5":
        layers = to_layers(written, params)
        with written_whole(name) as file:
            write_layers(file, config, KERAS_VERSION, backend, layers)
        return
    objects = to_objects(written, params)
    with written_whole(name) as file:
        if suffix == ".keras":
            write_zip(file, config, KERAS_VERSION, objects)
        else:
            write_objects(file, objects)


def _check_params(model: Model, params: Any, check: Callable[[Model, Any], Any]) -> None:
    """Raises if parameters are missing or left over, or do not fit together."""
    for layer in walk(model):
        if getattr(getattr(layer, "cell", None), "peephole", False):
            raise unsupported(layer, "cell with peepholes")
    _check_names(model, params)
    check(model, params)
    try:
        check_together(model, params)
    except ValueError as error:
        raise ValueError(f"save_keras: {error}") from error


def _check_names(model: Model, params: Any) -> None:
    owners = {layer.name: layer for layer in model.layers if has_arrays(layer)}
    sure = {name for name, layer in owners.items() if has_arrays(layer, surely=True)}
    if not isinstance(params, Mapping) or not sure <= set(params) <= set(owners):
        held = sorted(params) if isinstance(params, Mapping) else type(params).__name__
        raise ValueError(
            f"save_keras: params of model {model.name!r} hold {held}, but arrays for the layers "
            f"{sorted(owners)} are needed, as load_keras returns them"
        )
    for name, layer in owners.items():
        while isinstance(layer, TimeDistributed):
            layer = layer.layer
        if isinstance(layer, Model):
            _check_names(layer, params.get(name, {}))


def _as_keras_holds_it(model: Model, params: Mapping[str, Any]) -> Model:
    """Returns a model with masks by keyword and layers in order, as are those inside it."""
    inner = {layer.name: _inside(layer, params.get(layer.name)) for layer in model.layers}
    model = with_layers(model, inner)
    if is_chain(model):
        return model
    model = with_masks_by_keyword(model, params)
    layers = {layer.name: layer for layer in model.layers}
    order = in_keras_order(model)
    if set(order) != set(layers):
        [name, *_] = sorted(set(layers) - set(order))
        raise ValueError(
            f"layer {name!r}: no output of model {model.name!r} depends on it, and Keras 3 would "
            "drop it"
        )
    return dataclasses.replace(model, layers=tuple(layers[name] for name in order))


def _inside(layer: Layer, params: Any) -> Layer:
    if isinstance(layer, Model):
        return _as_keras_holds_it(layer, params or {})
    if isinstance(layer, TimeDistributed):
        return dataclasses.replace(layer, layer=_inside(layer.layer, params))
    return layer
