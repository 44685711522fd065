"""LONGER AND LONGER. Small layers over sequences that double in length: what doubles with them."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.cases import Case, Shape, grid
from benchmarks.markdown import describe_runs, table
from benchmarks.results import read

STEPS = (1024, 2048, 4096, 8192, 16384)
SIZES = ((1, 16), (4, 32))  # rows, units (and features)


def cases(cells: Iterable[str], modes: Iterable[str], steps: Iterable[int]) -> list[Case]:
    """Returns the cases of every size for every number of steps."""
    shapes = [Shape(T, rows, units, units) for rows, units in SIZES for T in steps]
    return grid(cells, modes, ["plain"], shapes)  # of a cell on images there is none


def write_report(results: Path) -> Path:
    """Writes the tables beside the results, and returns their file."""
    content = read(results)
    series: dict[tuple, dict[int, dict]] = {}
    for record in content["cases"].values():
        shape = record["shape"]
        size = f"B={shape['B']}, F={shape['F']}, U={shape['U']}"
        for name, row in record["peers"].items():
            key = (name, record["cell"], record["mode"], size)
            series.setdefault(key, {})[shape["T"]] = row
    lines = ["# Growth with the number of steps", "", *describe_runs(content), ""]
    for (name, cell, mode, size), by_steps in series.items():
        lines += [f"## {name}, {cell}, {mode}, {size}", "", *_table(by_steps), ""]
    path = results.with_suffix(".md")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _table(by_steps: dict[int, dict]) -> list[str]:
    rows = []
    for T, row in sorted(by_steps.items()):
        if row["status"] != "timed":
            rows.append([str(T), f"{row['status']}: {row['reason']}", *[""] * 5])
            continue
        shorter = by_steps.get(T // 2, {})
        rows.append(
            [
                str(T),
                f"{row['best'] * 1e3:.3f}",
                f"{row['best'] / T * 1e6:.3f}",
                _times(row, shorter, "best"),
                _number(row["compile_seconds"], 1, 2),
                _number(row["temporary_bytes"], 2**-20, 3),
                _times(row, shorter, "temporary_bytes"),
            ]
        )
    head = ["T", "ms", "µs per step", "time(T) / time(T/2)"]
    return table([*head, "compile s", "temporary MiB", "memory(T) / memory(T/2)"], rows)


def _times(row: dict, shorter: dict, name: str) -> str:
    if not row.get(name) or not shorter.get(name):
        return ""
    return f"{row[name] / shorter[name]:.2f}"


def _number(value: float | None, unit: float, digits: int) -> str:
    return "" if value is None else f"{value * unit:.{digits}f}"
