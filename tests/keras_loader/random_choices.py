"""The choices that make a random model, and where a layer of it stands."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy as np
from keras import layers

Shape = tuple[int | None, ...]
LARGEST = 400  # numbers of one sample, which keeps a model of four layers small


class Choices:
    """What Hypothesis draws, kept so that the same model can be built again."""

    def __init__(self, draw: Callable[[st.SearchStrategy], Any]) -> None:
        self._draw = draw
        self.made: list[int] = []

    def size(self, smallest: int, largest: int) -> int:
        self.made.append(self._draw(st.integers(smallest, largest)))
        return self.made[-1]

    def coin(self) -> bool:
        return bool(self.size(0, 1))

    def one_in(self, n: int) -> bool:
        return self.size(1, n) == n

    def one_of(self, values: Sequence[Any]) -> Any:
        return values[self.size(0, len(values) - 1)]


class Seeded(Choices):
    """The choices of a seed, in which no two models are alike."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.made = []

    def size(self, smallest: int, largest: int) -> int:
        self.made.append(int(self._rng.integers(smallest, largest + 1)))
        return self.made[-1]


class Again(Choices):
    """The same choices as before."""

    def __init__(self, made: Sequence[int]) -> None:
        self.made = list(made)
        self._left = iter(made)

    def size(self, smallest: int, largest: int) -> int:
        return next(self._left)


class Spot(NamedTuple):
    """The tensor that a layer is to be called on."""

    shape: Shape  # with the batch; None where a size is left open
    mask_axes: int = 0  # of its mask, 0 if it has none

    @property
    def axes(self) -> int:
        return len(self.shape)

    @property
    def known(self) -> bool:
        """Whether all sizes but the batch's are."""
        return None not in self.shape[1:]


def spot_of(x: Any) -> Spot:
    found = getattr(x, "_keras_mask", None)
    return Spot(tuple(x.shape), 0 if found is None else len(found.shape))


class Entry(NamedTuple):
    """How one layer is drawn, and where it fits."""

    make: Callable[[Choices, Spot], layers.Layer]
    fits: Callable[[Spot], bool]


def of_axes(*counts: int) -> Callable[[Spot], bool]:
    return lambda spot: spot.axes in counts and spot.known


def anywhere(spot: Spot) -> bool:
    return spot.axes <= 5


def draw_axis(draw: Choices, spot: Spot) -> int:
    """An axis whose size is known, often the last."""
    last = spot.axes - 1
    found = [-1, *(axis for axis in range(1, last + 1) if spot.shape[axis] is not None)]
    return draw.one_of(found)


def draw_axes(draw: Choices, spot: Spot) -> Any:
    if spot.axes == 3 and draw.one_in(3):
        return [1, 2]
    return draw.one_of((-1, [-1]))
