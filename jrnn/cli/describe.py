"""What is worth telling about a model: each layer's options, and what may surprise."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jrnn.activations import BoundActivation
from jrnn.keras_loader.writer import Writer
from jrnn.model import Model
from jrnn.model.basic import Embedding, Masking, TimeDistributed
from jrnn.model.layer import Layer
from jrnn.model.operation import Slice
from jrnn.model.recurrent import Bidirectional, OneCell, Recurrent
from jrnn.model.spectral import SpectralNormalization
from jrnn.model.stacked import StackedRecurrent
from jrnn.model.walk import walk

_ALWAYS = {"activation", "recurrent_activation", "reset_after"}  # shown even where the default
_NEVER = {"name", "kind", "cell", "cells", "layers", "nodes", "inputs", "outputs", "input_names"}
_NEVER |= {"output_names", "unit_forget_bias"}
_NEVER |= {"regularizers", "constraints", "activity_regularizer"}  # which inference has no use for
_LONGEST = 120


def backend_matters(model: Model, between_calls: bool) -> bool:
    """Returns whether Keras 3's numbers for the model may depend on its backend.

    They do where a masked step precedes all others and a state was handed over (JAX repeats that,
    the others put out zeros), where a masked loop is unrolled, and, between calls of ``predict``,
    for stateful layers (JAX drops the state).
    """
    layers = list(walk(model))
    models = [layer for layer in layers if isinstance(layer, Model)]
    nodes = [node for one in models for node in one.nodes]
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    masked = any(node.masks for node in nodes) or any(
        isinstance(layer, Masking) or (isinstance(layer, Embedding) and layer.mask_zero)
        for layer in layers
    )
    stateful = any(layer.stateful for layer in recurrent)
    given_state = any(
        isinstance(node.layer, Recurrent | Bidirectional) and len(node.inputs) > 1 for node in nodes
    )
    unrolled = any(layer.unroll for layer in recurrent)
    return (stateful and between_calls) or (masked and (stateful or given_state or unrolled))


def options(layer: Layer) -> str:
    """Returns the options of a layer that matter: those without a default or unlike it."""
    parts = _options(layer)
    if isinstance(layer, StackedRecurrent):
        parts[:1] = [f"cells=({', '.join(map(_call, layer.cells))})"]  # each with its own units
    elif isinstance(layer, OneCell):
        own = [f"cell={type(layer.cell).__name__}"] if layer.kind == "RNN" else []
        parts[1:1] = own + _options(layer.cell)  # after units
    if isinstance(layer, Bidirectional):
        mirrored = dataclasses.replace(
            layer.forward, go_backwards=layer.backward.go_backwards, name=layer.backward.name
        )
        directions = {"forward": layer.forward, "backward": layer.backward}
        if mirrored == layer.backward and layer.backward.go_backwards:
            del directions["backward"]
        parts = [f"{key}={_call(inner)}" for key, inner in directions.items()]
        parts.append(f"merge={layer.merge}")
        parts += [] if layer.trainable else ["trainable=False"]
    if isinstance(layer, SpectralNormalization | TimeDistributed):
        parts = [f"layer={_call(layer.layer)}"]
    if isinstance(layer, Model):
        parts.insert(0, f"{len(layer.layers)} layers" if len(layer.layers) != 1 else "1 layer")
    return ", ".join(parts)


def _call(layer: Layer) -> str:
    return f"{layer.kind}({options(layer)})"


def _options(choices: Any) -> list[str]:
    parts = []
    for field in dataclasses.fields(choices):
        value = getattr(choices, field.name)
        hidden = field.name in _NEVER or field.name.endswith("_initializer")
        if not hidden and (field.name in _ALWAYS or value != field.default):
            parts.append(f"{field.name}={_text(value)}")
    # What every layer has comes last: dtype, trainable.
    return sorted(parts, key=lambda part: part.startswith(("dtype=", "trainable=")))


def _text(value: Any) -> str:
    if isinstance(value, Slice):
        ends = ["" if end is None else str(end) for end in value]
        return ":".join(ends if ends[2] else ends[:2])
    if type(value) is tuple:
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, BoundActivation):
        bound = ", ".join(f"{key}={number:g}" for key, number in value.options)
        return f"{value.function.__name__}({bound})"
    text = getattr(value, "__name__", str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def notes(model: Model, params: Any, writer: Writer | None) -> Iterator[str]:
    """Yields what may surprise whoever runs the model."""
    layers = list(walk(model))
    unnamed = writer is not None and writer.major >= 3 and writer.backend is None
    if unnamed and backend_matters(model, between_calls=True):
        yield (
            "the file does not name the backend that Keras 3 ran on, and the numbers depend on it "
            "(a state that meets masked steps, or is kept between calls): tensorflow is assumed, "
            "--backend says otherwise"
        )
    stateful = [x.name for x in layers if isinstance(x, Recurrent) and x.stateful]
    if stateful:
        yield f"stateful: {_listed(stateful)}; 'jrnn run' takes all rows as one batch, state zero"
    yield from _notes_on_hard_sigmoid(layers)
    yield from _notes_on_dtypes(layers)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        bad = int(np.sum(~np.isfinite(np.asarray(leaf))))
        if bad:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            yield f"{name} holds {bad} NaN or infinite numbers"


def _notes_on_hard_sigmoid(layers: list[Layer]) -> Iterator[str]:
    definitions = {
        "hard_sigmoid_keras2": "clip(0.2 x + 0.5, 0, 1), as Keras 1 and 2 define it",
        "hard_sigmoid": "clip(x / 6 + 0.5, 0, 1), as Keras 3 defines it",
    }
    for name, meaning in definitions.items():
        users = [x.name for x in layers if _uses(x, name)]
        if users:
            yield f"hard_sigmoid is {meaning}: {_listed(users)}"


def _uses(layer: Layer, activation: str) -> bool:
    choices = [layer, getattr(layer, "cell", None)]
    keys = ("activation", "recurrent_activation")
    return any(getattr(one, key, None) == activation for one in choices for key in keys)


def _notes_on_dtypes(layers: list[Layer]) -> Iterator[str]:
    for dtype in ("float16", "bfloat16"):
        users = [layer.name for layer in layers if layer.dtype == dtype]
        if users:
            yield f"computed in {dtype}, to about {'3' if dtype == 'float16' else '2'} digits: " + (
                _listed(users)
            )
    if (
        any(layer.dtype == "float64" for layer in layers)
        and jax.dtypes.canonicalize_dtype("float64") != "float64"
    ):
        yield "made for float64, computed in float32 unless JAX_ENABLE_X64=1 is set"


def _listed(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:8]) + (f" and {len(unique) - 8} more" if len(unique) > 8 else "")
