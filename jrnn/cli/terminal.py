"""What is printed: text from files made harmless, tables, warnings."""

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_LONGEST_LINE = 600
_PLAIN_WIDTH = 400  # away from a terminal a table is as wide as it needs


def printable(text: object) -> str:
    """Returns text from a file with whatever could steer a terminal escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def one_line(text: object) -> str:
    """Returns text for one line of a message."""
    line = printable(" ".join(str(text).split()))
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 3] + "..."


def console(stderr: bool = False) -> Console:
    """Returns where to print: coloured on a terminal, else plain and never wrapped."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leaves it to ``main``."""
        raise BrokenPipeError


def say(text: object = "", style: str | None = None) -> None:
    """Prints one line."""
    console().print(Text(printable(text), style=style or ""), soft_wrap=True)


def warn(text: object) -> None:
    """Prints one line on standard error."""
    sys.stderr.write(f"jrnn: warning: {one_line(text)}\n")


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[str] = ()
) -> None:
    """Prints a table; the columns in ``numbers`` are aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        right = name in numbers
        table.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell), style=_style(cell)) for cell in row))
    console().print(table)


def _style(cell: object) -> str:
    return {"ok": "green", "MISMATCH": "bold red"}.get(str(cell), "")


def text_of_shape(shape: Sequence[int | None] | None) -> str:
    """Returns a shape as a reader expects it."""
    return "?" if shape is None else str(tuple(shape))
