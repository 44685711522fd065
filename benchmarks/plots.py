"""PICTURES. Ratios to jrnn as grouped bars."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.peers import ENTRIES, PARTNERS
from benchmarks.report import peers, shape_text

# A peer keeps its colour from picture to picture.
OTHERS = [name for name in ENTRIES if name != "jrnn" and name not in PARTNERS.values()]
COLOURS = {name: f"C{k}" for k, name in enumerate(OTHERS)}


def draw(records: list[dict[str, Any]], title: str, path: Path) -> bool:
    """Draws a group of bars for each shape, one for each peer; False where there is nothing to."""
    names = [
        name
        for name in peers(records)
        if name != "jrnn" and any(_ratio(record, name) for record in records)
    ]
    if not names:
        return False
    figure = Figure(figsize=(max(6, 1 + 1.6 * len(records)), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.84 / len(names)
    for k, name in enumerate(names):
        places = [i - 0.42 + (k + 0.5) * width for i in range(len(records))]
        heights = [_ratio(record, name) or float("nan") for record in records]
        # Bars grow from 1: up where jrnn is faster, down where the peer is.
        changes = [height - 1 for height in heights]
        axes.bar(places, changes, width, bottom=1, label=name, color=COLOURS.get(name, "grey"))
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_locator(LogLocator(base=2, subs=(1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.axhline(1, color="black", linewidth=1)
    axes.grid(axis="y", linewidth=0.4)
    axes.set_axisbelow(True)
    axes.set_xticks(range(len(records)), [shape_text(record) for record in records], fontsize=8)
    axes.set_ylabel("peer's time / jrnn's time")
    axes.set_title(f"{title}  (T, B, F, U) or (T, B, F, U, H, W, K)")
    axes.legend(ncols=min(len(names), 5), fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.1))
    figure.savefig(path, dpi=120)
    return True


def _ratio(record: dict[str, Any], name: str) -> float | None:
    return record["peers"].get(name, {}).get("ratio")
