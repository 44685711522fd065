"""``jrnn stream``: a model's answer to each sample of standard input, as soon as it is read.

Memory grows neither with the number of samples nor with the length of a line.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import jax
import numpy as np

import jrnn
from jrnn.cli.arrays import open_npz, save_npz
from jrnn.cli.loading import load_named
from jrnn.cli.run import in_order
from jrnn.cli.terminal import text_of_shape
from jrnn.keras_loader.whole_file import written_whole
from jrnn.model import Model
from jrnn.model.basic import Embedding
from jrnn.model.graph import Input
from jrnn.model.walk import walk

_LEAST_LIMIT, _WIDEST = 65536, 64  # bytes of a line, and of a number and what is around it


class Sample(NamedTuple):
    """What a line holds for one input of the model."""

    shape: tuple[int, ...]
    dtype: np.dtype
    rows: int | None = None  # of the embedding that reads it: ids go from 0 to rows - 1


def run(args: argparse.Namespace) -> int:
    """Answers until standard input ends."""
    if sys.stdin is None or sys.stdout is None:
        raise ValueError("expected standard input and output, found one of them closed")
    loaded = load_named(args)
    model, params = loaded.model, loaded.params
    stream = jrnn.stream(model)
    inputs = [_sample(model, spec) for spec in model.inputs]
    nothing = _given(model, [np.zeros(one.shape, one.dtype) for one in inputs])
    state = stream.initial_state(params, nothing)
    if args.state is not None and os.path.exists(args.state):
        state = _read_state(args.state, state)
    step = jax.jit(stream.step).lower(params, state, nothing).compile()

    def answer(state: Any, values: list[np.ndarray]) -> Any:
        state, y = step(params, state, _given(model, values))
        text = _text(in_order(model, y), args.format, model.output_names)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        return state

    # Opened now: a place that cannot be written is told soon.
    keeping = contextlib.nullcontext() if args.state is None else written_whole(args.state)
    with _Stop() as stop, keeping as file:
        samples = read_samples(sys.stdin.buffer, inputs)
        state, failure = _answer_all(samples, answer, state, stop)
        if file is not None:
            save_npz(file, {name: np.asarray(leaf, _stored(leaf)) for name, leaf in _named(state)})
    if failure is not None or stop.asked:
        raise failure or KeyboardInterrupt
    return 0


class _Stop:
    """Makes a request to end, such as a service manager's, an interrupt between two answers.

    One that comes while an answer is made, or the state is saved, waits for the end of that, so
    that the state kept is that after the last answer given; a second one does not wait, as nobody
    may be reading.
    """

    def __enter__(self) -> "_Stop":
        self.asked = self._reading = False
        main = threading.current_thread() is threading.main_thread()  # elsewhere no signal comes
        self._before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM)
            # Ignored as nohup and shells set it.
            if main and signal.getsignal(number) not in (signal.SIG_IGN, None)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def next(self, samples: Iterator[list[np.ndarray]]) -> list[np.ndarray] | None:
        """Returns the next sample, None after the last; a request to end interrupts it."""
        self._reading = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            return next(samples, None)
        finally:
            self._reading = False

    def _on_signal(self, *_: Any) -> None:
        if self.asked or self._reading:
            self._reading = False
            raise KeyboardInterrupt
        self.asked = True


def _answer_all(
    samples: Iterator[list[np.ndarray]],
    answer: Callable[[Any, list[np.ndarray]], Any],
    state: Any,
    stop: _Stop,
) -> tuple[Any, BaseException | None]:
    """Returns the state after the last answer given, and what was in the way of the next."""
    try:
        while (values := stop.next(samples)) is not None:
            state = answer(state, values)
    except (ValueError, OSError, KeyboardInterrupt) as failure:
        return state, failure
    return state, None


def _sample(model: Model, spec: Input) -> Sample:
    shape = None if spec.shape is None else spec.shape[2:]
    if shape is None or None in shape:
        raise ValueError(
            f"input {spec.name!r} has shape {text_of_shape(spec.shape)}, but its features must be "
            "known to be read from a line; use jrnn.stream in Python"
        )
    readers = [node.layer for node in model.nodes if node.inputs and node.inputs[0][0] == spec.name]
    inside = itertools.chain.from_iterable(map(walk, readers))
    rows = [layer.input_dim for layer in inside if isinstance(layer, Embedding)]
    dtype = jax.dtypes.canonicalize_dtype(spec.dtype or "float32")
    if not rows and jax.numpy.issubdtype(dtype, np.floating) and dtype.itemsize == 2:
        dtype = np.dtype(np.float32)  # the model narrows it
    sizes = tuple(size for size in shape if size is not None)
    return Sample(sizes, np.dtype(np.int32) if rows else dtype, min(rows, default=None))


def _given(model: Model, values: Sequence[np.ndarray]) -> Any:
    """Returns the inputs as ``model.apply`` takes them."""
    return values[0] if len(model.inputs) == 1 else tuple(values)


# --- lines of input -----------------------------------------------------------------------------


def read_samples(file: BinaryIO, inputs: Sequence[Sample]) -> Iterator[list[np.ndarray]]:
    """Yields the samples of a file's lines; empty lines and those that start with # hold none."""
    counts = [math.prod(one.shape) for one in inputs]
    limit = max(_LEAST_LIMIT, _WIDEST * sum(counts))
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        if len(line) > limit:
            raise ValueError(f"line {number}: expected at most {limit} bytes, found more")
        text = line.decode("utf-8-sig", errors="backslashreplace").strip()
        if not text or text.startswith("#"):
            continue
        words = re.split(r"\s*,\s*|\s+", text)
        if len(words) != sum(counts):
            raise ValueError(
                f"line {number}: expected {sum(counts)} numbers, found {len(words)}: {text[:60]!r}"
            )
        rest = iter(words)
        yield [
            _numbers(number, list(itertools.islice(rest, count)), one)
            for count, one in zip(counts, inputs, strict=True)
        ]


def _numbers(line: int, words: list[str], sample: Sample) -> np.ndarray:
    """Returns one input's numbers in its shape."""
    floating = np.issubdtype(sample.dtype, np.floating)
    kind = f"a number of {sample.dtype}"
    if sample.rows is not None:
        kind = f"an integer from 0 to {sample.rows - 1}"
    values = np.empty(len(words), sample.dtype)
    for k, word in enumerate(words):
        try:
            if "_" in word or not word.isascii():
                raise ValueError(word)
            value = float(word) if floating else int(word)
            with np.errstate(over="ignore"):
                values[k] = value
            beyond = floating and math.isfinite(value) and not np.isfinite(values[k])
            if beyond or (sample.rows is not None and not 0 <= value < sample.rows):
                raise ValueError(word)
        except (ValueError, OverflowError):
            raise ValueError(f"line {line}: expected {kind}, found {word[:60]!r}") from None
    return values.reshape(sample.shape)


# --- answers ------------------------------------------------------------------------------------


def _text(outputs: Sequence[Any], style: str, names: Sequence[str] | None) -> str:
    """Returns one line: all numbers, or one nested list, several, or named ones."""
    arrays = [np.asarray(y) for y in outputs]
    if style == "csv":
        return ",".join(_digits(value) for y in arrays for value in y.reshape(-1))
    texts = [_nested(y) for y in arrays]
    if names is not None:
        pairs = zip(names, texts, strict=True)
        return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in pairs) + "}"
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _nested(y: np.ndarray) -> str:
    """Returns a nested list in JSON, which has no number for what is not finite."""
    if y.ndim:
        return f"[{', '.join(map(_nested, y))}]"
    return _digits(y) if np.isfinite(y) else "null"


def _digits(value: Any) -> str:
    """Returns the shortest text that reads as the same number of the same dtype."""
    if value.dtype.kind in "biu":
        return str(int(value))
    wide = value.dtype if value.dtype.kind == "f" and value.dtype.itemsize > 2 else np.float32
    return str(value.astype(wide)[()])


# --- the state ----------------------------------------------------------------------------------


def _named(state: Any) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_flatten_with_path(state)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in paths]


def _stored(leaf: Any) -> np.dtype:
    """Returns the dtype that a file has an array of the state in."""
    return np.dtype(np.float32) if leaf.dtype == jax.numpy.bfloat16 else leaf.dtype


def _read_state(path: str, fresh: Any) -> Any:
    """Returns a state that an earlier run left, checked to be one of this model's."""
    leaves = []
    with open_npz(path) as archive:
        if set(archive.names) != {name for name, _ in _named(fresh)}:
            raise ValueError(
                f"{path!r}: expected this model's state, arrays "
                f"{', '.join(name for name, _ in _named(fresh))}, found "
                f"{', '.join(archive.names) or 'none'}"
            )
        for name, leaf in _named(fresh):
            shape, dtype = archive.declared(name)
            stored = _stored(leaf)
            if shape != leaf.shape or dtype.newbyteorder("=") != stored:
                raise ValueError(
                    f"{path!r}: expected {leaf.shape} {stored} for {name!r}, found {shape} {dtype}"
                )
            array = archive.read(name).astype(stored, copy=False)
            leaves.append(jax.numpy.asarray(array, leaf.dtype))
    return jax.tree.unflatten(jax.tree.structure(fresh), leaves)
