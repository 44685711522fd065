"""``jrnn run``: a model on arrays of a file, in batches.

Memory: what is held at once is the parameters, the inputs, the outputs, one batch's intermediate
values and what Python, JAX and the compiler take (``CONSTANT_MEBIBYTES``).
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jrnn.cli.arrays import as_jax_reads, open_npz, save_npz
from jrnn.cli.loading import load_named
from jrnn.cli.terminal import console, say, text_of_shape
from jrnn.keras_loader.whole_file import written_whole
from jrnn.model import Model
from jrnn.model.operation import Operation
from jrnn.model.recurrent import Recurrent
from jrnn.model.walk import walk

CONSTANT_MEBIBYTES = 512  # imports, compilation and a batch's intermediate values
_MANY = 4  # batches, from which on a progress bar is worth it


def run(args: argparse.Namespace) -> int:
    """Writes the outputs."""
    with written_whole(args.output) as file:  # first: a place that cannot be written is told soon
        loaded = load_named(args)
        xs = _inputs(args.input, loaded.model)
        ys = predict(loaded.model, loaded.params, xs, args.batch_size)
        save_npz(file, {f"y{i}": y for i, y in enumerate(ys)})
    for i, y in enumerate(ys):
        say(f"y{i} {text_of_shape(y.shape)} {y.dtype} -> {args.output}")
    return 0


def _inputs(path: str, model: Model) -> list[np.ndarray]:
    with open_npz(path) as archive:
        names = archive.expect("x", len(model.inputs))
        xs = [as_jax_reads(archive.read(name), f"{path!r}: {name}") for name in names]
    shapes = [x.shape for x in xs]
    if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(
            f"{path!r}: expected arrays with the same number of rows, the size of the first axis, "
            f"found {dict(zip(names, shapes, strict=True))}"
        )
    return xs


def predict(
    model: Model, params: Any, xs: Sequence[np.ndarray], batch_size: int
) -> list[np.ndarray]:
    """Returns the outputs in order for all rows of the inputs, computed batch by batch.

    Equals the concatenation of ``model.apply(params, *batch)``. Where rows cannot be told apart
    (a stateful or time-major layer, an output whose first axis is not the batch) all rows make
    one batch. The last batch is filled up by repeating its last row, so that one program is
    compiled; not so in a model with operations, which might see other rows.
    """
    rows = xs[0].shape[0]
    size = max(1, min(batch_size, rows))
    apply = jax.jit(lambda p, *batch: in_order(model, model.apply(p, *batch)))
    shapes = _shapes(apply, params, xs, size)
    layers = list(walk(model))
    if _rows_matter(layers) or any(y.shape[:1] != (size,) for y in shapes) or rows <= size:
        return [np.asarray(y) for y in apply(params, *xs)]
    fill = not any(isinstance(layer, Operation) for layer in layers)
    ys = [np.empty((rows, *y.shape[1:]), y.dtype) for y in shapes]
    for start in _progress(range(0, rows, size)):
        batch = [
            _filled(x[start : start + size], size) if fill else x[start : start + size] for x in xs
        ]
        for y, part in zip(ys, apply(params, *batch), strict=True):
            y[start : start + size] = np.asarray(part)[: rows - start]
    return ys


def in_order(model: Model, outputs: Any) -> tuple[jax.Array, ...]:
    """Returns what ``model.apply`` returned as a tuple in the order of the model's outputs."""
    if model.output_names is not None:
        return tuple(outputs[name] for name in model.output_names)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _shapes(
    apply: Callable, params: Any, xs: Sequence[np.ndarray], size: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
    canonical = jax.dtypes.canonicalize_dtype
    batch = [jax.ShapeDtypeStruct((size, *x.shape[1:]), canonical(x.dtype)) for x in xs]
    return jax.eval_shape(apply, params, *batch)


def _rows_matter(layers: Sequence[Any]) -> bool:
    recurrent = [layer for layer in layers if isinstance(layer, Recurrent)]
    return any(layer.stateful or layer.time_major for layer in recurrent)


def _filled(batch: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def _progress(starts: range) -> Iterator[int]:
    """Yields the starts; a bar on standard error if that is a terminal and there are many."""
    bar = console(stderr=True)
    columns = (TextColumn("batch"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    hidden = len(starts) < _MANY or not bar.is_terminal
    with Progress(*columns, console=bar, transient=True, disable=hidden) as progress:
        yield from progress.track(starts)
