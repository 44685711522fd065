"""``jrnn verify``: recorded inputs replayed, outputs compared with the recorded ones."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jrnn.cli.arrays import Archive, as_jax_reads, open_npz
from jrnn.cli.describe import backend_matters
from jrnn.cli.loading import load_named
from jrnn.cli.run import in_order
from jrnn.cli.terminal import say, show_table, text_of_shape
from jrnn.keras_loader.load import Loaded
from jrnn.model import Model


class Difference(NamedTuple):
    """How far an output is from the recorded one."""

    shape: tuple[int, ...]
    absolute: float  # largest
    relative: float  # largest, to the recorded value where that is not 0
    fits: bool
    remark: str = ""


class Reading(NamedTuple):
    """What may be meant by a file that does not say which backend wrote it."""

    backend: str
    keeps_state: bool
    text: str


# In the order of likelihood. Keras 3 on JAX loses the state of stateful layers between calls of
# `predict`, which is how recorded outputs may have been made.
READINGS = (
    Reading("tensorflow", True, "tensorflow"),
    Reading("jax", True, "jax"),
    Reading("jax", False, "jax, whose predict drops the state between calls"),
)


def run(args: argparse.Namespace) -> int:
    """Returns 0 if every output fits, else 1."""
    if args.reset_before and not args.calls:
        raise ValueError("--reset-before needs --calls")
    loaded = load_named(args)
    with open_npz(args.data) as archive:
        xs, ys = _recorded(archive, loaded.model, args)
    found, reading = _best(args, loaded, xs, ys)
    if reading:
        say(f"reading: as Keras 3 on {reading.text} (the file does not name its backend)")
    _report(found)
    fits = all(difference.fits for difference in found)
    outcome = "verified" if fits else "MISMATCH"
    what = f"{len(ys)} outputs" if len(ys) != 1 else "1 output"
    say(f"{outcome}: {what}, rtol {args.rtol:g}, atol {args.atol:g}")
    return 0 if fits else 1


def _recorded(
    archive: Archive, model: Model, args: argparse.Namespace
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    x_names = archive.expect("x", len(model.inputs))
    y_names = archive.expect("y", len(archive.numbered("y")))
    if not y_names:
        raise ValueError(f"{archive.path!r}: expected recorded outputs y0, y1, ..., found none")
    xs = [as_jax_reads(archive.read(name), f"{archive.path!r}: {name}") for name in x_names]
    ys = [archive.read(name) for name in y_names]
    if args.calls:
        _check_calls(archive, dict(zip(x_names + y_names, xs + ys, strict=True)), args.reset_before)
    return xs, ys


def _check_calls(
    archive: Archive, arrays: dict[str, np.ndarray], reset_before: Sequence[int]
) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    counts = {shape[0] if shape else 0 for shape in shapes.values()}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(
            f"{archive.path!r}: expected the same number of calls, the size of the first axis, in "
            f"every array, found {shapes}"
        )
    (calls,) = counts
    if any(index >= calls for index in reset_before):
        raise ValueError(f"--reset-before {max(reset_before)}: there are only {calls} calls")


def _best(
    args: argparse.Namespace, loaded: Loaded, xs: list[np.ndarray], ys: list[np.ndarray]
) -> tuple[list[Difference], Reading | None]:
    """Returns the differences under the first reading that fits, else under the first of all."""
    first = None
    for reading, model in _readings(args, loaded):
        outputs = _replay(model, loaded.params, xs, args, reading is None or reading.keeps_state)
        found = [_compare(got, want, args) for got, want in zip(outputs, ys, strict=False)]
        found += [
            Difference(y.shape, np.nan, np.nan, False, "not recorded") for y in outputs[len(ys) :]
        ]
        found += [
            Difference(y.shape, np.nan, np.nan, False, "no such output") for y in ys[len(outputs) :]
        ]
        if all(difference.fits for difference in found):
            return found, reading
        first = first or (found, reading)
    assert first is not None, "there is always a reading"
    return first


def _readings(args: argparse.Namespace, loaded: Loaded) -> Iterator[tuple[Reading | None, Model]]:
    """Yields the readings that can differ in their numbers, each when it is needed."""
    writer = loaded.writer
    unnamed = writer is not None and writer.major >= 3 and writer.backend is None
    if not unnamed or not backend_matters(loaded.model, args.calls):
        yield None, loaded.model
        return
    yield READINGS[0], loaded.model  # what the loader assumes
    on_jax = load_named(args, "jax").model
    for reading in READINGS[1:]:
        if reading.keeps_state or args.calls:
            yield reading, on_jax


def _replay(
    model: Model, params: Any, xs: list[np.ndarray], args: argparse.Namespace, keeps_state: bool
) -> list[np.ndarray]:
    """Returns the outputs; with --calls those of every call, stacked."""

    @jax.jit
    def call(params: Any, state: Any, *inputs: Any) -> tuple[Any, tuple[jax.Array, ...]]:
        state, outputs = model.apply(params, *inputs, state=state, return_state=True)
        return state, in_order(model, outputs)

    if not args.calls:
        return [np.asarray(y) for y in call(params, None, *xs)[1]]
    state, outputs = None, []
    for index, inputs in enumerate(zip(*xs, strict=True)):
        fresh = index in args.reset_before or not keeps_state
        state, ys = call(params, None if fresh else state, *inputs)
        outputs.append([np.asarray(y) for y in ys])
    return [np.stack(ys) for ys in zip(*outputs, strict=True)]


def _compare(got: np.ndarray, want: np.ndarray, args: argparse.Namespace) -> Difference:
    if got.shape != want.shape:
        return Difference(got.shape, np.nan, np.nan, False, f"recorded: {want.shape}")
    got, want = got.astype(np.float64), want.astype(np.float64)
    same = (got == want) | (np.isnan(got) & np.isnan(want))  # the only ways for NaN, infinity
    comparable = np.isfinite(got) & np.isfinite(want)
    error = np.abs(np.where(comparable, got - want, 0.0))
    size = np.abs(np.where(comparable, want, 0.0))
    relative = np.divide(error, size, out=np.zeros_like(error), where=size > 0)
    fits = same | (comparable & (error <= args.atol + args.rtol * size))
    odd, unlike = int(np.sum(~comparable)), int(np.sum(~same & ~comparable))
    return Difference(
        shape=got.shape,
        absolute=np.nan if unlike else float(np.max(error, initial=0.0)),
        relative=np.nan if unlike else float(np.max(relative, initial=0.0)),
        fits=bool(fits.all()),
        remark=f"{odd} NaN or infinite, {unlike} unlike" if odd else "",
    )


def _report(found: Sequence[Difference]) -> None:
    rows = [
        (
            f"y{index}",
            text_of_shape(one.shape),
            f"{one.absolute:.2e}",
            f"{one.relative:.2e}",
            "ok" if one.fits else "MISMATCH",
            one.remark,
        )
        for index, one in enumerate(found)
    ]
    columns = ["output", "shape", "largest absolute error", "relative", "result"]
    columns.append("remark" if any(one.remark for one in found) else "")
    show_table(columns, rows, numbers=columns[2:4])
