"""What all peers written in JAX share: compile a pure function of parameters and input, call it."""

import abc
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Data, Layers, Weights
from benchmarks.peers.base import Peer, Prepared, result_arrays

Apply = Callable[[Any, jax.Array, jax.Array | None], tuple[jax.Array, list]]
Run = Callable[..., tuple[jax.Array, Any]]


@dataclasses.dataclass(frozen=True)
class Built:
    """A peer's network as a pure function.

    ``apply(params, xs, lengths)`` gives the outputs of all steps and the last states, of which
    ``hidden`` picks the hidden ones [B, U]; ``to_layers`` turns gradients shaped like ``params``
    into Keras's layout.
    """

    params: Any
    apply: Apply
    to_layers: Callable[[Any], Layers]
    hidden: Callable[[Any], list] = lambda state: state


class JaxPeer(Peer):
    """A peer whose whole work is one jitted function of its parameters and its input."""

    time_major = True

    @abc.abstractmethod
    def build(self, case: Case, data: Data) -> Built: ...

    def prepare(self, case: Case, data: Data) -> Prepared:
        built = self.build(case, data)
        lengths = None if data.lengths is None else jnp.asarray(data.lengths)
        arguments = [jax.tree.map(jnp.asarray, built.params), self._own(data.xs), lengths]
        if case.mode == "gradient":
            arguments.append(self._own(data.cotangent))

        def gradient(params, xs, lengths, cotangent):
            outputs, pull = jax.vjp(lambda p, x: built.apply(p, x, lengths)[0], params, xs)
            return outputs, pull(cotangent)

        jax.clear_caches()
        start = time.perf_counter()
        function = jax.jit(gradient if case.mode == "gradient" else built.apply)
        compiled = function.lower(*arguments).compile()
        seconds = time.perf_counter() - start

        def call():
            return jax.block_until_ready(compiled(*arguments))

        def results():
            outputs, rest = call()
            if case.mode == "forward":
                return result_arrays(self._back(outputs), built.hidden(rest))
            gradients = built.to_layers(rest[0]), self._back(rest[1])
            return result_arrays(self._back(outputs), None, gradients)

        return Prepared(call, results, seconds, _temporary_bytes(compiled))

    def matmul_seconds(self, rows: int, inner: int, columns: int) -> float:
        """Returns the time of one product within a loop of them, so that no call is counted."""
        rng = np.random.default_rng(0)
        left = jnp.asarray(rng.standard_normal((rows, inner), np.float32))
        right = jnp.asarray(rng.standard_normal((inner, columns), np.float32))
        repeats = 50 if rows * inner * columns < 1e8 else 3

        @jax.jit
        def loop(left, right):
            def body(_, carry):
                left, product = carry
                # Each product needs the one before, by one number alone: none can be left out.
                left = left.at[0, 0].add(1e-30 * product[0, 0])
                return left, left @ right

            return jax.lax.fori_loop(0, repeats, body, (left, left @ right))

        jax.block_until_ready(loop(left, right))
        return _best(lambda: jax.block_until_ready(loop(left, right))) / repeats

    def _own(self, array: np.ndarray) -> jax.Array:
        """Puts a time-major array into the peer's own layout, before anything is timed."""
        return jnp.asarray(array if self.time_major else array.swapaxes(0, 1))

    def _back(self, array: jax.Array) -> np.ndarray:
        return np.asarray(array) if self.time_major else np.asarray(array).swapaxes(0, 1)


def _best(call: Callable[[], Any], seconds: float = 0.1) -> float:
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > end:
            return best


def _temporary_bytes(compiled: Any) -> int | None:
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)


def layered(run: Run) -> Apply:
    """Returns ``apply`` for parameters nested as in ``Data.layers``, made of one direction's run.

    ``run(params, xs, lengths=..., reverse=...)`` gives (outputs, state) of one layer in one
    direction; two directions are laid side by side.
    """

    def apply(params, xs, lengths):
        states = []
        for layer in params:
            runs = [
                run(own, xs, lengths=lengths, reverse=reverse)
                for own, reverse in zip(layer, (False, True), strict=False)
            ]
            states += [state for _, state in runs]
            outputs = [ys for ys, _ in runs]
            xs = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
        return xs, states

    return apply


def map_layers(change: Callable[[Any], Any], layers: list[list[Any]]) -> list[list[Any]]:
    """Applies a function to every direction of every layer."""
    return [[change(own) for own in layer] for layer in layers]


def numpy_weights(**arrays: Any) -> Weights:
    """Returns the arrays as NumPy's."""
    return {name: np.asarray(array) for name, array in arrays.items()}
