"""``python -m tests.fuzz --format keras --count 200000``: mutated files, loaded and watched.

A number that a finding names is repeated with ``--first NUMBER --count 1`` and the same seed.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tests.fuzz.cases import FORMATS
from tests.fuzz.run import Job, Report, fuzz


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Mutated files.")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--count", type=int, default=1_000, help="how many files (1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file (0)")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--every", type=int, default=10, help="load each such file whole (10)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="a folder")
    parser.add_argument("--results", type=Path, help="a JSON file to add the counts to")
    args = parser.parse_args()
    job = Job(args.format, args.seed, args.count, args.keep, args.first, args.minutes, args.every)
    report = fuzz(job, lambda line: print(line, flush=True))
    for finding in report.findings:
        print(finding["what"], finding["file"], finding["said"][:200])
    if args.results:
        _add(args.results, args.format, report)


def _add(path: Path, file_format: str, report: Report) -> None:
    """Adds a run's counts to a file of them."""
    results = json.loads(path.read_text()) if path.exists() else {}
    old = results.setdefault(file_format, {})
    for key in ("executions", "whole", "loaded", "refused"):
        old[key] = old.get(key, 0) + getattr(report, key)
    for key in ("slowest_seconds", "largest_mebibytes"):
        old[key] = round(max(old.get(key, 0), getattr(report, key)), 2)
    kinds, found = old.setdefault("kinds", {}), old.setdefault("findings", {})
    for kind, counts in report.kinds.items():
        names = ("loaded", "refused", "found")
        before = kinds.get(kind, dict.fromkeys(names, 0))
        kinds[kind] = {name: before[name] + n for name, n in zip(names, counts, strict=True)}
    for finding in report.findings:
        found[finding["what"]] = found.get(finding["what"], 0) + 1
    path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


main()
