"""``python -m tests.fuzz --format keras --count 200000``: mutated files, loaded and watched.

A number that a finding names is repeated with ``--first NUMBER --count 1`` and the same seed.
"""

import argparse
import dataclasses
import json
import os
from collections import Counter
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
    parser.add_argument("--results", type=Path, help="a folder for the counts")
    args = parser.parse_args()
    job = Job(args.format, args.seed, args.count, args.keep, args.first, args.minutes, args.every)
    fuzz(job, lambda report: _tell(args, report))


def _tell(args: argparse.Namespace, report: Report) -> None:
    """Says what was done so far, and writes it, so that a run may be stopped at any time."""
    print(
        f"{args.format}: {report.executions} files, {report.loaded} loaded, {report.refused} "
        f"refused, {len(report.findings)} findings, slowest {report.slowest_seconds:.2f} s, "
        f"memory {report.largest_mebibytes:.1f} MiB",
        flush=True,
    )
    if args.results:
        args.results.mkdir(parents=True, exist_ok=True)
        counts = dataclasses.asdict(report)
        counts["findings"] = dict(Counter(finding["what"] for finding in report.findings))
        path = args.results / f"{args.format}-{args.seed}.json"
        path.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
