"""WHAT IS TIMED. The table of cells, the grid of shapes, and one case of it."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping

Shapes = dict[str, tuple[int, ...]]
MODES = ("forward", "gradient")
LAYOUTS = ("plain", "bidirectional", "lengths", "two_layers")


@dataclasses.dataclass(frozen=True)
class CellKind:
    """What the benchmark has to know of a cell; one row of ``CELLS``.

    ``variants`` maps the name of each function the peers' cells of this kind compute to the shapes
    of its parameters, as a function of (features, units). The first is jrnn's default.
    """

    variants: Mapping[str, Callable[[int, int], Shapes]]
    step_columns: Callable[[int], int]  # units -> columns of the product that a step needs
    flops: Callable[[int, int], int]  # features, units -> of one step of one row

    @property
    def default(self) -> str:
        return next(iter(self.variants))


def _gated(gates: int, bias_rows: tuple[int, ...] = ()) -> Callable[[int, int], Shapes]:
    def shapes(F: int, U: int) -> Shapes:
        return {
            "kernel": (F, gates * U),
            "recurrent_kernel": (U, gates * U),
            "bias": (*bias_rows, gates * U),
        }

    return shapes


def _products(gates: int) -> Callable[[int, int], int]:
    return lambda F, U: 2 * gates * U * (F + U)


CELLS: dict[str, CellKind] = {
    "lstm": CellKind(
        variants={"standard": _gated(4)}, step_columns=lambda U: 4 * U, flops=_products(4)
    ),
    "gru": CellKind(
        variants={
            "reset_after": _gated(3, bias_rows=(2,)),
            "reset_before": _gated(3),
            "input_bias": _gated(3),  # reset_after, but no bias inside the reset gate's product
        },
        step_columns=lambda U: 3 * U,
        flops=_products(3),
    ),
    "simple_rnn": CellKind(
        variants={"tanh": _gated(1), "relu": _gated(1)},
        step_columns=lambda U: U,
        flops=_products(1),
    ),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """Steps, rows, input features and units."""

    T: int
    B: int
    F: int
    U: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Reads ``TxBxFxU``."""
        parts = text.split("x")
        if len(parts) != 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ValueError(f"shape {text!r}, but TxBxFxU is needed, such as 100x1x64x64")
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return f"{self.T}x{self.B}x{self.F}x{self.U}"


GRID = tuple(
    map(
        Shape.parse,
        (
            "100x1x64x64",  # one small sequence: what a call and a step cost apart from arithmetic
            "100x1x128x256",  # one sequence: matrix times vector
            "100x32x128x256",
            "784x32x1x128",  # pixel by pixel: nothing but recurrence
            "64x256x64x128",  # reinforcement learning: many rows
            "1024x16x64x128",  # long
            "128x64x512x512",  # large: mostly matmul
            "25x16x1024x1024",  # weights larger than the caches
        ),
    )
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing every peer is asked to do."""

    cell: str
    mode: str
    layout: str
    shape: Shape

    @property
    def key(self) -> str:
        return f"{self.cell}/{self.mode}/{self.layout}/{self.shape}"

    @classmethod
    def parse(cls, key: str) -> "Case":
        cell, mode, layout, shape = key.split("/")
        return cls(cell, mode, layout, Shape.parse(shape))

    @property
    def directions(self) -> int:
        return 2 if self.layout == "bidirectional" else 1

    @property
    def layer_features(self) -> tuple[int, ...]:
        """The features that each layer takes, lowest first."""
        _, _, F, U = dataclasses.astuple(self.shape)
        return (F, U) if self.layout == "two_layers" else (F,)

    @property
    def flops(self) -> int:
        """Matmul operations of all T steps; the backward half counts as twice the forward one."""
        count = CELLS[self.cell].flops
        of_a_row = sum(count(F, self.shape.U) for F in self.layer_features) * self.directions
        return of_a_row * self.shape.T * self.shape.B * (3 if self.mode == "gradient" else 1)


def grid(
    cells: Iterable[str], modes: Iterable[str], layouts: Iterable[str], shapes: Iterable[Shape]
) -> list[Case]:
    """Returns every combination; a shape's cases stand together."""
    combined = itertools.product(layouts, shapes, cells, modes)
    return [Case(cell, mode, layout, shape) for layout, shape, cell, mode in combined]
