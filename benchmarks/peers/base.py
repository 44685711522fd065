"""What a peer is: something that computes a case, called again and again."""

import abc
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.data import Arrays, Data, Layers, flat

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class UnsupportedError(Exception):
    """The peer cannot do what the case asks; the message says what it lacks."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A case ready to be timed.

    ``call`` does the whole work once and returns when all of it is done; ``results`` does it too
    and returns the arrays under the names of ``result_arrays``.
    """

    call: Callable[[], Any]
    results: Callable[[], Arrays]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


class Peer(abc.ABC):
    """One library's recurrent layers."""

    @abc.abstractmethod
    def prepare(self, case: Case, data: Data) -> Prepared:
        """Builds the case with its data in the peer's own layout; may raise UnsupportedError."""
        ...

    def matmul_seconds(self, rows: int, inner: int, columns: int) -> float | None:
        """Returns the time of one plain product, or None if that is not known of this peer."""
        return None


def result_arrays(
    outputs: Any, hidden: list | None, gradients: tuple[Layers, Any] | None = None
) -> Arrays:
    """Names a peer's results alike: outputs and input gradient time-major, the rest as in Keras.

    ``hidden`` are the last hidden states [B, U], for each layer forward, then backward.
    """
    arrays = {"outputs": np.asarray(outputs)}
    for k, state in enumerate(hidden or []):
        arrays[f"hidden/{k}"] = np.asarray(state)
    if gradients is not None:
        layers, of_input = gradients
        arrays |= dict(flat(layers)) | {"gradient/input": np.asarray(of_input)}
    return arrays
