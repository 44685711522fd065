"""WHAT IS TIMED. The table of cells, the grid of shapes, and one case of it."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping

Shapes = dict[str, tuple[int, ...]]
MODES = ("forward", "gradient")
LAYOUTS = ("plain", "bidirectional", "lengths", "two_layers")


@dataclasses.dataclass(frozen=True)
class CellKind:
    """What the benchmark has to know of a cell; one row of ``CELLS``.

    ``variants`` maps the name of each function the peers' cells of this kind compute to the shapes
    of its parameters, as a function of (features, shape). The first is jrnn's default.
    """

    variants: Mapping[str, Callable[[int, "Shape"], Shapes]]
    gates: int
    convolves: bool = False  # its products are convolutions of images
    recurrent: bool = True  # it has a product with its state

    @property
    def default(self) -> str:
        return next(iter(self.variants))

    def step_product(self, shape: "Shape") -> tuple[int, int, int]:
        """Returns rows, inner size and columns of one step's product: the recurrent one, if any."""
        inner = shape.window_size * (shape.U if self.recurrent else shape.F)
        return shape.B * shape.pixels, inner, self.gates * shape.U

    def flops(self, features: int, shape: "Shape") -> int:
        """Returns the operations of all products in one step of one row."""
        inner = shape.window_size * (features + (shape.U if self.recurrent else 0))
        return 2 * shape.pixels * inner * self.gates * shape.U


def _gated(gates: int, bias_rows: tuple[int, ...] = ()) -> Callable[[int, "Shape"], Shapes]:
    def shapes(F: int, shape: "Shape") -> Shapes:
        columns = gates * shape.U
        return {
            "kernel": (*shape.window, F, columns),
            "recurrent_kernel": (*shape.window, shape.U, columns),
            "bias": (*bias_rows, columns),
        }

    return shapes


def _simple(F: int, shape: "Shape") -> Shapes:
    """An SRU's, with a projection of its input for any number of features."""
    return {"kernel": (F, 3 * shape.U), "bias": (2 * shape.U,), "highway_kernel": (F, shape.U)}


CELLS: dict[str, CellKind] = {
    "lstm": CellKind(variants={"standard": _gated(4)}, gates=4),
    "gru": CellKind(
        variants={
            "reset_after": _gated(3, bias_rows=(2,)),
            "reset_before": _gated(3),
            "input_bias": _gated(3),  # reset_after, but no bias inside the reset gate's product
        },
        gates=3,
    ),
    "simple_rnn": CellKind(variants={"tanh": _gated(1), "relu": _gated(1)}, gates=1),
    "sru": CellKind(variants={"projected": _simple}, gates=4, recurrent=False),
    "conv_lstm2d": CellKind(variants={"standard": _gated(4)}, gates=4, convolves=True),
}
LIBRARY_CELLS = tuple(name for name in CELLS if name != "sru")  # no peer's library has an SRU
MATMUL_CELLS = tuple(name for name in LIBRARY_CELLS if not CELLS[name].convolves)


@dataclasses.dataclass(frozen=True)
class Shape:
    """Steps, rows, input features and units; for images also their height, width and window."""

    T: int
    B: int
    F: int
    U: int
    H: int | None = None
    W: int | None = None
    K: int | None = None  # the window is K x K, and zeros keep the image's size

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Reads ``TxBxFxU`` or ``TxBxFxUxHxWxK``."""
        parts = text.split("x")
        if len(parts) not in (4, 7) or not all(
            part.isdecimal() and int(part) > 0 for part in parts
        ):
            raise ValueError(
                f"shape {text!r}, but TxBxFxU is needed, such as 100x1x64x64, or TxBxFxUxHxWxK"
            )
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return "x".join(str(size) for size in dataclasses.astuple(self) if size is not None)

    @property
    def image(self) -> tuple[int, ...]:
        """The axes between rows and features."""
        return () if self.H is None or self.W is None else (self.H, self.W)

    @property
    def window(self) -> tuple[int, ...]:
        """The axes of a kernel before its features."""
        return () if self.K is None else (self.K, self.K)

    @property
    def pixels(self) -> int:
        return math.prod(self.image)

    @property
    def window_size(self) -> int:
        return math.prod(self.window)


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
            "20x1x3x16x40x40x3",  # one film
            "12x4x8x16x24x24x3",
            "10x4x1x16x20x20x5",  # moving digits: one channel, a wide window
            "6x4x32x32x12x12x3",  # the middle of a network: many channels
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
        F, U = self.shape.F, self.shape.U
        return (F, U) if self.layout == "two_layers" else (F,)

    @property
    def flops(self) -> int:
        """Matmul operations of all T steps; the backward half counts as twice the forward one."""
        count = CELLS[self.cell].flops
        of_a_row = sum(count(F, self.shape) for F in self.layer_features) * self.directions
        return of_a_row * self.shape.T * self.shape.B * (3 if self.mode == "gradient" else 1)


def grid(
    cells: Iterable[str], modes: Iterable[str], layouts: Iterable[str], shapes: Iterable[Shape]
) -> list[Case]:
    """Returns every combination of cells and shapes that fit; a shape's cases stand together."""
    combined = itertools.product(layouts, shapes, cells, modes)
    return [
        Case(cell, mode, layout, shape)
        for layout, shape, cell, mode in combined
        if CELLS[cell].convolves == bool(shape.image)
    ]
