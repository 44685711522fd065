"""``jrnn inspect``: what a file holds, as tables."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from jrnn.cli.describe import notes, options
from jrnn.cli.loading import load_named, open_named
from jrnn.cli.terminal import say, show_table, text_of_shape
from jrnn.keras_loader.describe import Shapes, count_params, work_out
from jrnn.keras_loader.load import load_architecture
from jrnn.keras_loader.read import KerasFile, LegacyWeights
from jrnn.keras_loader.writer import Writer
from jrnn.model import Model
from jrnn.model.basic import TimeDistributed
from jrnn.model.layer import Layer
from jrnn.model.walk import inner_layers

_KINDS = {
    "config": "architecture without weights (JSON)",
    "keras": "model (.keras)",
    "legacy": "model (legacy HDF5)",
    "legacy_weights": "weights alone (legacy HDF5)",
    "sharded": "weights alone (sharded)",
    "weights": "weights alone (.weights.h5)",
}


def run(args: argparse.Namespace) -> int:
    """Prints the tables."""
    with open_named(args) as file:
        say(f"{args.file}: {_KINDS.get(file.kind, file.kind)}")
        whole = file.weights is not None or args.weights is not None
        described = file.config is not None or args.config is not None
        if not described:
            _show_arrays(file)
            return 0
        found = None if whole else load_architecture(file, file, args.backend)
    if found is None:
        loaded = load_named(args)
        _show_model(loaded.model, loaded.params, loaded.writer)
    else:
        _show_model(found[0], None, found[1])
    return 0


def _show_arrays(file: KerasFile) -> None:
    weights = file.weights
    assert weights is not None, "a file without architecture holds weights"
    groups = weights.layers if isinstance(weights, LegacyWeights) else weights.objects
    arrays = [array for group in groups.values() for array in group]
    if file.keras_version:
        say(f"written by: Keras {file.keras_version}")
    show_table(
        ("array", "shape", "dtype"),
        [(array.path, text_of_shape(array.shape), array.dtype) for array in arrays],
    )
    total = sum(int(np.prod(array.shape, dtype=object)) for array in arrays)
    say(f"{len(arrays)} arrays, {total:,} numbers")
    say("to see the layers, give the architecture: --config C.json or a model file")


def _show_model(model: Model, params: dict[str, Any] | None, writer: Writer | None) -> None:
    known = work_out(model, params)
    say(f"written by: {writer}")
    say(f"model: {model.name!r} ({model.kind})")
    for index, spec in enumerate(model.inputs):
        say(
            f"input x{index}: {spec.name!r} {text_of_shape(spec.shape)} {spec.dtype or ''}".rstrip()
        )
    columns = ("layer", "class", "options", "output shape", "parameters")
    show_table(columns, _rows(model, known), numbers=columns[-1:])
    for index, (name, ref) in enumerate(zip(_output_names(model), model.outputs, strict=True)):
        found = known.outputs.get((ref.layer, ref.node))
        say(f"output y{index}: {name!r} {text_of_shape(found[ref.tensor] if found else None)}")
    total = "?" if known.params is None else f"{count_params(known.params):,}"
    say(f"parameters: {total}")
    for note in notes(model, params, writer):
        say(f"note: {note}", style="yellow")


def _output_names(model: Model) -> list[str]:
    return list(model.output_names or [ref.layer for ref in model.outputs])


def _rows(model: Model, known: Shapes) -> Iterator[tuple[str, ...]]:
    for layer in inner_layers(model):
        calls = [shape for (name, _), shape in known.outputs.items() if name == layer.name]
        texts = [", ".join(map(text_of_shape, shapes_)) for shapes_ in calls]
        params = None if known.params is None else known.params.get(layer.name, ())
        yield _row(layer, "; ".join(dict.fromkeys(texts)) or "?", params)
        yield from _inner_rows(layer, params, "  ")


def _inner_rows(layer: Layer, params: Any, indent: str) -> Iterator[tuple[str, ...]]:
    """Yields the layers of a model in the model, without shapes."""
    if isinstance(layer, TimeDistributed):
        layer = layer.layer
    if not isinstance(layer, Model):
        return
    for inner in inner_layers(layer):
        held = None if params is None else params.get(inner.name, ())
        yield _row(inner, "", held, indent)
        yield from _inner_rows(inner, held, indent + "  ")


def _row(layer: Layer, shape: str, params: Any, indent: str = "") -> tuple[str, ...]:
    total = "?" if params is None else f"{count_params(params):,}"
    return indent + layer.name, layer.kind, options(layer), shape, total
