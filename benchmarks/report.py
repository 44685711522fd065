"""TABLES. A results file as Markdown beside it, with plots."""

import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.markdown import describe_runs, table
from benchmarks.peers import PARTNERS
from benchmarks.results import read

Record = dict[str, Any]
Row = dict[str, Any]
Group = tuple[str, str, str]  # layout, cell, mode

READING = """\
A ratio is a peer's time divided by jrnn's for the same function, best call of all rounds against
best call: above 1 jrnn is faster. Peers were checked before they were timed; README.md in the
`benchmarks` folder says how all of this is measured."""


def write_report(path: Path) -> list[Path]:
    """Writes tables and plots beside the results, and returns their files."""
    content = read(path)
    groups = group(content["cases"].values())
    pictures = _draw(groups, path)
    lines = [f"# {path.stem}", "", READING, "", *describe_runs(content), ""]
    lines += _means(groups)
    for key, records in groups.items():
        lines += _section(key, records, pictures.get(key))
    lines += _reasons(content["cases"].values())
    report = path.with_suffix(".md")
    report.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return [report, *pictures.values()]


def group(records: Iterable[Record]) -> dict[Group, list[Record]]:
    """Returns the records of each layout, cell and mode."""
    groups: dict[Group, list[Record]] = {}
    for record in records:
        groups.setdefault((record["layout"], record["cell"], record["mode"]), []).append(record)
    return groups


def peers(records: Iterable[Record]) -> list[str]:
    """Returns the peers that have something to show, jrnn first, its variants left out.

    A peer that is unsupported or not installed in all of the records stands among the reasons.
    """
    absent = ("unsupported", "not installed")
    rows = [pair for record in records for pair in record["peers"].items()]
    names = dict.fromkeys(name for name, row in rows if row["status"] not in absent)
    ours = [name for name in ("jrnn",) if name in names]
    return ours + [name for name in names if name != "jrnn" and name not in PARTNERS.values()]


def shape_text(record: Record) -> str:
    """Returns (T, B, F, U), for images (T, B, F, U, H, W, K), as in a table."""
    sizes = [str(size) for size in record["shape"].values() if size is not None]
    return f"({', '.join(sizes)})"


def geometric_mean(values: list[float]) -> float:
    """Returns the exponential of the mean logarithm."""
    return math.exp(sum(map(math.log, values)) / len(values))


def _draw(groups: dict[Group, list[Record]], path: Path) -> dict[Group, Path]:
    try:
        from benchmarks.plots import draw
    except ModuleNotFoundError:  # matplotlib is not needed for the numbers
        return {}
    pictures = {}
    for key, records in groups.items():
        picture = path.with_name("-".join([path.stem, *key]) + ".png")
        if draw(records, " ".join(key), picture):
            pictures[key] = picture
    return pictures


def _means(groups: dict[Group, list[Record]]) -> list[str]:
    everyone = peers(itertools.chain.from_iterable(groups.values()))
    names = [name for name in everyone if name != "jrnn"]
    rows = []
    for key, records in groups.items():
        cells = []
        for name in names:
            ratios = [row["ratio"] for row in _rows(records, name) if row.get("ratio")]
            short = f" ({len(ratios)} of {len(records)})" if len(ratios) < len(records) else ""
            cells.append(f"{geometric_mean(ratios):.2f}{short}" if ratios else "–")
        rows.append([", ".join(key), *cells])
    head = ["layout, cell, mode", *names]
    title = ["## Geometric means of the ratios over the shapes", ""]
    return [*title, *table(head, rows), ""]


def _rows(records: Iterable[Record], name: str) -> list[Row]:
    return [record["peers"][name] for record in records if name in record["peers"]]


def _section(key: Group, records: list[Record], picture: Path | None) -> list[str]:
    names = peers(records)
    others = [name for name in names if name != "jrnn"]
    lines = [f"## {', '.join(key)}", ""]
    if picture:
        lines += [f"![ratios to jrnn]({picture.name})", ""]
    lines += ["Time of jrnn in ms, and ratios to it:", ""]
    columns = {"jrnn": _cell("best", lambda row: f"{row['best'] * 1e3:.3f} ms")}
    columns |= {name: _cell("ratio", lambda row: f"{row['ratio']:.2f}") for name in others}
    lines += [*_by_shape(records, columns), "", *_variants(records, names)]
    if any(row["status"] == "timed" for name in TORCH for row in _rows(records, name)):
        lines += ["PyTorch, beside one step's recurrent product alone (B, U) @ (U, G):", ""]
        lines += [*_torch_table(records), ""]
    for title, quantity, show in QUANTITIES:
        known = [n for n in names if any(row.get(quantity) for row in _rows(records, n))]
        if known:
            cells = {name: _cell(quantity, show) for name in known}
            lines += [title, "", *_by_shape(records, cells), ""]
    return lines


def _flops(row: Row) -> str:
    part = row["of_ceiling"]
    return f"{row['gflops']:.3g}" + (f" ({part:.2f})" if part is not None else "")


TORCH = ("torch", "torch_cudnn")
QUANTITIES = (
    ("Seconds to trace and compile:", "compile_seconds", lambda r: f"{r['compile_seconds']:.2f}"),
    (
        "Temporary memory of the compiled function, MiB:",
        "temporary_bytes",
        lambda row: f"{row['temporary_bytes'] / 2**20:.2f}",
    ),
    ("GFLOP/s of its matmuls, in brackets as a fraction of XLA's large matmul:", "gflops", _flops),
    (
        "Largest error relative to the array's largest value:",
        "error",
        lambda row: f"{row['error']:.0e}",
    ),
)


def _cell(quantity: str, show: Callable[[Row], str]) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        if row["status"] != "timed":
            return row["status"]
        return show(row) if row.get(quantity) is not None else "–"

    return text


def _by_shape(records: list[Record], columns: dict[str, Callable[[Row], str]]) -> list[str]:
    rows = []
    for record in records:
        given = record["peers"]
        cells = [show(given[name]) if name in given else "–" for name, show in columns.items()]
        rows.append([shape_text(record), *cells])
    return table(["shape", *columns], rows)


def _variants(records: list[Record], names: list[str]) -> list[str]:
    """Says which peers compute another function than jrnn's default, and what they are set against.

    Their ratio is to jrnn computing that function.
    """
    lines = []
    for name in names:
        rows = _rows(records, name)
        partners = {row["partner"] for row in rows if "partner" in row} - {"jrnn"}
        for other in sorted(partners):
            best = [row["best"] * 1e3 for row in _rows(records, other) if "best" in row]
            times = ", ".join(f"{milliseconds:.3f}" for milliseconds in best)
            variant = rows[0]["variant"]
            lines += [
                f"{name} computes the variant {variant}, its ratio is to {other}: {times} ms.",
                "",
            ]
    return lines


def _torch_table(records: list[Record]) -> list[str]:
    rows = []
    for record in records:
        name = next((n for n in TORCH if "ratio" in record["peers"].get(n, {})), None)
        xla, torch = (record["matmul"].get(library) for library in ("xla", "torch"))
        if name is None or not xla or not torch:
            continue
        ratio = record["peers"][name]["ratio"]
        shown = f"{ratio:.2f}" if ratio else "–"
        microseconds = [f"{seconds * 1e6:.2f}" for seconds in (xla, torch)]
        rows.append([shape_text(record), shown, *microseconds, f"{torch / xla:.2f}"])
    head = ["shape", "torch / jrnn", "matmul XLA µs", "matmul torch µs"]
    return table([*head, "matmul torch / XLA"], rows)


def _reasons(records: Iterable[Record]) -> list[str]:
    """Lists what was not timed, and why."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        place = f"{record['cell']} {record['mode']} {record['layout']} {shape_text(record)}"
        for name, row in record["peers"].items():
            if row["status"] != "timed":
                found.setdefault((name, row["status"], row["reason"]), []).append(place)
    if not found:
        return []
    rows = [
        [*key, places[0] if len(places) == 1 else f"{len(places)} cases, first {places[0]}"]
        for key, places in found.items()
    ]
    return ["## Not timed", "", *table(["peer", "status", "reason", "where"], rows)]
