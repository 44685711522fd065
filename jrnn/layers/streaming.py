"""STREAMS. What goes forward alone, sample by sample or some steps at a time."""

import abc
import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jrnn.cells.base import Cell, check_cell
from jrnn.cells.noise import draws
from jrnn.layers.arguments import check_key, check_lengths, flags
from jrnn.layers.bidirectional import BidirectionalParams, BidirectionalState, bidirectional
from jrnn.layers.recurrent import rnn


@dataclasses.dataclass(frozen=True)
class Stream(abc.ABC):
    """A cell or model that answers at every step; ``jrnn.stream`` makes it.

    Its methods are pure functions under ``jax.jit``, compiled once for a shape, and work in
    ``jax.vmap``, ``jax.shard_map``, ``jax.lax.scan`` and ``jax.jit``. It is hashable and holds
    choices alone. However a sequence is cut, the answers are those of the whole::

        state = stream.initial_state(params, xs[:, 0])
        for t in range(T):
            state, y = stream.step(params, state, xs[:, t])
            # is ys[:, t] of
            _, ys = stream.chunk(params, None, xs)

    Attributes:
        causal: The cell or model.
    """

    causal: Any

    def __post_init__(self) -> None:
        self._check()

    def __hash__(self) -> int:
        return self._hash  # asked for at every call, of a model that may have many layers

    @functools.cached_property
    def _hash(self) -> int:
        return hash((type(self), self.causal))

    def __reduce__(self) -> tuple[Any, ...]:  # without the hash, another one in each process
        return type(self), (self.causal,)

    def draw(self, key: jax.Array, params: Any, x: Any) -> Any:
        """Returns the parameters with what training draws once for a sequence.

        In place of ``params`` they make ``step`` and ``chunk`` do what ``rnn(key=key)`` does.

        Args:
            key: The PRNG key, as for ``jrnn.rnn``.
            params: The cell's parameters.
            x: One sample [B, F], of which only shape and dtype count, as a rule.

        Raises:
            ValueError: If nothing is drawn: the cell has no dropout, or a model is given, whose
                stream is one of inference.
        """
        raise ValueError(
            f"jrnn.stream: a key is given, but a {type(self.causal).__name__} draws nothing in a "
            "stream; leave draw out, or wrap a cell, as in DropoutCell(LSTMCell(), dropout=0.1)"
        )

    def initial_state(self, params: Any, x: Any) -> Any:
        """Returns the state before the first sample.

        Args:
            params: The parameters.
            x: One sample [B, F], of which only the shape and the dtype count; or these alone, as
                ``jax.ShapeDtypeStruct``.
        """
        return _initial_state(self, params, jax.tree.map(_array, x))

    def step(
        self, params: Any, state: Any, x: Any, *, mask: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Returns the state after one sample and the answer to it: a chunk of one step.

        Args:
            params: The parameters.
            state: The state before it; None for the initial one.
            x: The sample [B, F]; any number of batch axes, none too.
            mask: [B], True where the sample counts, as for ``chunk``.
        """
        x = jax.tree.map(_array, x)
        if mask is not None:
            mask = _flags(mask, _shape(x)[: self._batch_ndim(x, 0)])
        return _step(self, params, state, x, mask)

    def chunk(
        self,
        params: Any,
        state: Any,
        xs: Any,
        *,
        mask: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> tuple[Any, Any]:
        """Returns the state after some steps and the answers to all of them.

        Args:
            params: The parameters.
            state: The state before the first of them; None for the initial one. A cell's is what
                ``rnn`` takes as such, a model's what a call returned.
            xs: The samples [B, T, F], also T = 0; any number of batch axes, none too.
            mask: [B, T], True where a step counts. Elsewhere a cell leaves its state as it was
                and answers zeros; a model does what Keras does with a mask of its inputs.
            lengths: Integers [B], from 0 to T: only the first ``lengths`` steps of a row count.

        Returns:
            ``(state, ys)``, the answers [B, T, ...].

        Raises:
            ValueError: If a shape or a dtype does not fit.
        """
        xs = jax.tree.map(_array, xs)
        axes = self._batch_ndim(xs, 1)
        batch, steps = _shape(xs)[:axes], _shape(xs)[axes]
        mask = _flags(mask, (*batch, steps))
        if lengths is not None:
            check_lengths(lengths, batch, steps, "jrnn.stream: lengths")
            within = jnp.arange(steps) < jnp.asarray(lengths)[..., None]
            mask = within if mask is None else mask & within
        return _chunk(self, params, state, xs, mask)

    @abc.abstractmethod
    def _check(self) -> None:
        """Raises ``ValueError`` if it cannot stream."""

    @abc.abstractmethod
    def _batch_ndim(self, xs: Any, steps: int) -> int:
        """Returns the number of batch axes of samples, which have ``steps`` axes of time."""

    @abc.abstractmethod
    def _fresh(self, params: Any, x: Any) -> Any:
        """Returns the state before the first sample ``x``."""

    @abc.abstractmethod
    def _run(self, params: Any, state: Any, xs: Any, mask: jax.Array | None) -> tuple[Any, Any]:
        """Returns the state and the answers for some steps."""


class CellStream(Stream):
    """A cell, as a stream."""

    def draw(self, key: jax.Array, params: Any, x: Any) -> Any:
        """Returns the parameters with the masks that ``rnn(key=key)`` draws."""
        if not draws(self.causal):
            return super().draw(key, params, x)
        check_key(key, self.causal)
        return _draw(self, key, params, jax.tree.map(_array, x))

    def _check(self) -> None:
        check_cell("jrnn.stream", self.causal)

    def _batch_ndim(self, xs: Any, steps: int) -> int:
        return _batch_ndim(xs, steps, getattr(self.causal, "feature_ndim", 1))

    def _fresh(self, params: Any, x: Any) -> Any:
        return self.causal.initial_state(params, self.causal.project(params, x))

    def _run(self, params: Any, state: Any, xs: Any, mask: jax.Array | None) -> tuple[Any, Any]:
        return rnn(self.causal, params, xs, initial_state=state, mask=mask)


class Streamable(Protocol):
    """What knows how it streams: a loaded model."""

    def as_stream(self) -> Stream:
        """Returns the stream."""
        ...


def stream(causal: Cell | Streamable) -> Stream:
    """Returns a cell or a loaded model as ``step(params, state, x) -> (state, y)``.

    For a cell, ``chunk`` is ``rnn(cell, params, xs, initial_state=state)``. For a model the answer
    to a sample is what ``model.apply`` returns for all samples so far: the last step of a
    sequence, or, where the model puts out one thing for a whole sequence, that.

    Args:
        causal: A cell (``jrnn.Cell``), or a model of ``jrnn.load_keras``.

    Raises:
        ValueError: If it is neither; if a layer of the model sees later steps (a bidirectional
            one), or all of them at once.
    """
    if isinstance(causal, type) or not hasattr(causal, "as_stream"):
        _check_direction(causal)
        return CellStream(causal)
    known: Any = causal
    return known.as_stream()


def _check_direction(causal: Any) -> None:
    """Raises ``ValueError`` for what is bidirectional, and for a model with its parameters."""
    function = causal.func if isinstance(causal, functools.partial) else causal
    if function is bidirectional or isinstance(causal, BidirectionalParams | BidirectionalState):
        raise ValueError(
            "jrnn.stream: a bidirectional layer has no answer before the last step, from which one "
            "of its directions starts; use a cell that goes forward, or jrnn.bidirectional on "
            "whole sequences"
        )
    if isinstance(causal, tuple) and any(hasattr(part, "as_stream") for part in causal):
        raise ValueError(
            "jrnn.stream: a tuple is given, but the model alone is needed; the parameters are "
            "handed to step and chunk"
        )


def _array(x: Any) -> jax.Array | np.ndarray:
    """Returns an array, zeros for what is a shape alone."""
    if isinstance(x, np.ndarray | jax.Array):  # jit takes NumPy's sooner than jnp.asarray does
        return x
    return jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else jnp.asarray(x)


def _flags(mask: ArrayLike | None, expected: tuple[int, ...]) -> jax.Array | None:
    mask = flags("mask", mask, expected)
    return None if mask is None else mask.astype(bool)


def _shape(xs: Any) -> tuple[int, ...]:
    """Returns the shape of the leaf with most axes."""
    leaves = jax.tree.leaves(xs)
    if not leaves:
        raise ValueError("jrnn.stream: x holds no array, but samples are needed")
    return max(leaves, key=lambda leaf: leaf.ndim).shape


def check_one_array(x: Any) -> None:
    """Raises ``ValueError`` for a list or a tuple, of which JAX makes many arrays."""
    if isinstance(x, list | tuple):
        raise ValueError(
            f"jrnn.stream: x is a {type(x).__name__}, but one array is needed; make it one "
            "(jnp.asarray)"
        )


def _batch_ndim(xs: Any, steps: int, feature_ndim: int) -> int:
    shape = _shape(xs)
    axes = len(shape) - feature_ndim - steps
    if axes < 0:
        check_one_array(xs)
        time = "T, " if steps else ""
        raise ValueError(
            f"jrnn.stream: x has shape {shape}, but [..., {time}F] with {feature_ndim} feature "
            "axes is needed; step takes one sample, chunk several"
        )
    return axes


@functools.partial(jax.jit, static_argnums=0)
def _draw(stream, key, params, x):
    return stream.causal.draw(key, params, x)


@functools.partial(jax.jit, static_argnums=0)
def _initial_state(stream, params, x):
    return stream._fresh(params, x)


@functools.partial(jax.jit, static_argnums=0)
def _step(stream, params, state, x, mask):
    axis = stream._batch_ndim(x, 0)
    xs = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, axis), x)
    mask = None if mask is None else mask[..., None]
    state, ys = stream._run(params, state, xs, mask)
    return state, jax.tree.map(lambda leaf: jnp.squeeze(leaf, axis), ys)


@functools.partial(jax.jit, static_argnums=0)
def _chunk(stream, params, state, xs, mask):
    return stream._run(params, state, xs, mask)
