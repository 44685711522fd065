"""``python -m tests.fuzz.table``: the counts in ``results`` as a table for the documentation."""

import json
from pathlib import Path

from tests.fuzz.cases import FORMATS

RESULTS = Path(__file__).parent / "results"
NAMES = {"keras": "`.keras`", "weights": "`.weights.h5`", "h5": "legacy `.h5`"}
COLUMNS = ("format", "files", "loaded whole", "loaded", "refused", "crashes", "hangs")
COLUMNS += ("memory beyond the bound", "other exceptions or deeds", "slowest", "most memory")


def row(runs: list[dict], name: str) -> list[str]:
    """One format's counts, summed over its runs."""

    def total(key: str) -> int:
        return sum(run[key] for run in runs)

    def found(*kinds: str) -> int:
        return sum(run["findings"].get(kind, 0) for run in runs for kind in kinds)

    every = sum(sum(run["findings"].values()) for run in runs)
    counts = [total(key) for key in ("executions", "whole", "loaded", "refused")]
    counts += [found("crash"), found("hang"), found("memory")]
    counts.append(every - found("crash", "hang", "memory"))
    slowest = max(run["slowest_seconds"] for run in runs)
    largest = max(run["largest_mebibytes"] for run in runs)
    return [name, *(f"{count:,}" for count in counts), f"{slowest:.2f} s", f"{largest:.1f} MiB"]


def main() -> None:
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for file_format in FORMATS:
        paths = sorted(RESULTS.glob(f"{file_format}-*.json"))
        lines.append(row([json.loads(path.read_text()) for path in paths], NAMES[file_format]))
    for cells in lines:
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
