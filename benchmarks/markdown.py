"""Markdown tables, and the paragraph that says where numbers are from."""

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table, its first column to the left and the others to the right."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, marks, *rows)]


def describe_runs(content: dict[str, Any]) -> list[str]:
    """Returns a paragraph for each run that some case of the file is from."""
    used = sorted({record["run"] for record in content["cases"].values()})
    lines: list[str] = []
    for number in used:
        lines += [_describe(content["runs"][number]), ""]
    return lines[:-1]


def _describe(run: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run["versions"].items()))
    large = [f"{name} {g:.0f} GFLOP/s" for name, g in run["matmul_gflops"].items() if g]
    sentences = [
        f"{run['date']}, {run['cpu']}, {run['cores']} cores, device {run['device']}, load average "
        f"at the start {run['load_average'][0]}",
        f"jrnn at {run['commit'] or 'an unknown commit'}",
        versions,
        f"{run['rounds']} rounds, turns of at least {run['min_time']} s",
        f"a large matmul: {', '.join(large) or 'not measured'}",
    ]
    return "; ".join(sentences) + "."
