"""Keras 1 stored each gate's arrays apart; this joins them as later versions pack them."""

import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np

from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.read import StoredArray

# Positions of the gates' (W, U, b) triples, in the packed order: LSTM stored i, c, f, o.
_TRIPLES = {12: (0, 2, 1, 3), 9: (0, 1, 2)}


@dataclasses.dataclass(frozen=True)
class JoinedArray:
    """Stored arrays side by side on the last axis."""

    parts: tuple[StoredArray, ...]

    @property
    def path(self) -> str:
        """Where the first part lies."""
        return self.parts[0].path

    @property
    def dtype(self) -> str:
        """The parts' dtype."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The joined shape."""
        first = self.parts[0].shape
        return (*first[:-1], sum(part.shape[-1] for part in self.parts))

    def read(self) -> np.ndarray:
        """Returns the joined array."""
        return np.concatenate([part.read() for part in self.parts], axis=-1)


def packed(layer: str, arrays: Sequence[StoredArray], wanted: int) -> Sequence:
    """Returns kernel, recurrent kernel and bias where the file holds them gate by gate."""
    order = _TRIPLES.get(len(arrays))
    if order is None or wanted != 3:
        return arrays
    joined = []
    for offset in range(3):
        parts = tuple(arrays[3 * gate + offset] for gate in order)
        if len({part.shape for part in parts}) != 1 or not parts[0].shape:
            shapes = [part.shape for part in parts]
            raise KerasFileError(
                f"layer {layer!r}: its gates' arrays have shapes {shapes}, which should be equal"
            )
        joined.append(JoinedArray(parts))
    return joined


def gates_together(arrays: Sequence[StoredArray]) -> list[tuple[StoredArray, ...]]:
    """Returns the arrays one by one, but all of a layer's gates as one and two blanks behind it.

    Thus every layer has as many as its kernel, recurrent kernel and bias are later.
    """
    pieces: list[tuple[StoredArray, ...]] = []
    for layer, group in itertools.groupby(arrays, _layer_of_gate):
        own = tuple(group)
        pieces += [(array,) for array in own] if layer is None else [own, (), ()]
    return pieces


def _layer_of_gate(array: StoredArray) -> str | None:
    """Returns the name in front of "_W_i", "_U_i", "_b_i" and so on; None of other arrays."""
    found = re.fullmatch(r"(.*)_[WUb]_[a-z](:\d+)?", array.path)
    return None if found is None else found[1]
