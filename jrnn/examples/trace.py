"""What happened at each step, in a file, and its picture."""

import csv
import os
from pathlib import Path
from typing import Any, NamedTuple

from jrnn.demo import matplotlib_figure


class Row(NamedTuple):
    """One step; the metric is None where it was not measured. Exact: floats are read as written."""

    step: int
    loss: float
    metric: float | None


class Trace:
    """The rows of a run, kept in a CSV file, one line a step.

    Args:
        path: The file; None keeps the rows in memory alone.
        steps: How many of the rows in the file count; those after them are dropped.

    Raises:
        ValueError: If the file has fewer, or is damaged.
    """

    def __init__(self, path: Path | None, steps: int):
        self.rows: list[Row] = []
        self._file: Any = None
        if path is None:
            return
        if steps:
            self.rows = read_trace(path)[:steps]
        if len(self.rows) < steps:
            raise ValueError(
                f"jrnn train: {str(path)!r} has {len(self.rows)} steps, but the run was saved "
                f"after {steps}; bring the file back, or give another folder"
            )
        fresh = path.with_suffix(".new")
        with fresh.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([Row._fields, *self.rows])
        fresh.replace(path)
        self._file = path.open("a", newline="")

    def add(self, row: Row) -> None:
        """Adds a step."""
        self.rows.append(row)
        if self._file:
            csv.writer(self._file, lineterminator="\n").writerow(row)
            self._file.flush()  # survives the end of the process

    def keep(self) -> None:
        """Sees to it that the rows outlast a loss of power, too."""
        if self._file:
            self._file.flush()
            os.fsync(self._file.fileno())


def read_trace(path: Path) -> list[Row]:
    """Returns the whole lines of a trace.

    Raises:
        ValueError: If they are not those of steps 1, 2, 3, ...
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
        whole = [line for line in lines[1:] if line.endswith("\n")]
        rows = [
            Row(int(step), float(loss), float(metric) if metric else None)
            for step, loss, metric in csv.reader(whole)
        ]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"jrnn train: {str(path)!r} is damaged: {error}") from error
    if [row.step for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError(f"jrnn train: {str(path)!r} is damaged: it does not count 1, 2, 3, ...")
    return rows


def draw(rows: list[Row], metric: str, title: str, path: Path) -> None:
    """Draws the learning curve as a PNG: the loss of every step and the metric where measured."""
    figure = matplotlib_figure()(figsize=(8, 4.5), layout="constrained")
    losses = figure.subplots()
    losses.plot([row.step for row in rows], [row.loss for row in rows], color="#b8c9dd", lw=1)
    losses.set(title=title, xlabel="step", ylabel="training loss of the batch")
    measured = [(row.step, row.metric) for row in rows if row.metric is not None]
    metrics = losses.twinx()
    metrics.plot(*zip(*measured, strict=True), "o-", color="#e8731a", ms=4)
    metrics.set_ylabel(f"held out: {metric}", color="#e8731a")
    for axes in (losses, metrics):
        axes.spines["top"].set_visible(False)
    figure.savefig(path, dpi=130, format="png")
