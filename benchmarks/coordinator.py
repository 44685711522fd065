"""ROUND BY ROUND. Every peer is checked, then all take turns; each case is written when done."""

import dataclasses
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.cases import CELLS, Case
from benchmarks.peers import entry, partner
from benchmarks.processes import Pool
from benchmarks.results import Results, describe_run

# Largest error relative to the largest value of the array: float32 sums in another order, over
# up to 1024 steps. A GPU's products have ten bits of mantissa (TF32), by every library's default.
TOLERANCE = {"cpu": 2e-4, "gpu": 3e-2}
MIN_CALLS = 3


@dataclasses.dataclass(frozen=True)
class Settings:
    """How long each peer is timed."""

    rounds: int = 7
    min_time: float = 0.2
    device: str = "cpu"


def run(
    cases: Iterable[Case],
    peers: Iterable[str],
    out: Path,
    settings: Settings,
    *,
    fresh: bool = False,
) -> None:
    """Runs every case that the file does not hold yet (all of them if ``fresh``)."""
    results = Results(out, settings.device)
    wanted = {case: _with_partners(peers, case) for case in cases}
    todo = {
        # The peers already there are timed again: rounds must be shared to be compared.
        case: [*names, *sorted(results.peers(case) - set(names))]
        for case, names in wanted.items()
        if fresh or not results.peers(case) >= set(names)
    }
    console = Console(stderr=True)
    console.print(f"{len(todo)} cases to run, {len(wanted) - len(todo)} already in {out.name}")
    if not todo:
        return
    with tempfile.TemporaryDirectory(prefix="jrnn-benchmarks-") as folder, _bar(console) as bar:
        results.begin(describe_run(**dataclasses.asdict(settings)))
        pool = Pool(settings.device, Path(folder))
        task = bar.add_task("", total=len(todo))
        try:
            asked = set().union(*todo.values())
            size = 8192 if settings.device == "gpu" else 2048
            large = _matmul_seconds(pool, asked, size, size, size)
            ceilings = {name: s and 2 * size**3 / s / 1e9 for name, s in large.items()}
            for case, names in todo.items():
                runner = _CaseRunner(case, pool, settings, Path(folder))
                runner.tell = lambda text, key=case.key: bar.update(task, description=key + text)
                record = {**runner.run(names), "matmul": _step_matmul(pool, asked, case)}
                results.run["versions"] = pool.versions
                results.run["matmul_gflops"] = ceilings
                _compare(record, case, ceilings.get("xla"))
                results.add(case, record)
                bar.advance(task)
                bar.console.print(
                    f"{case.key}: {_summary(record)}", highlight=False, soft_wrap=True
                )
        finally:
            pool.close()


def _with_partners(peers: Iterable[str], case: Case) -> list[str]:
    """Returns the peers of a case, with the variants of jrnn that they are compared with."""
    names = [name for name in dict.fromkeys(peers) if case.cell in (entry(name).only or CELLS)]
    if "jrnn" in names:
        names += [partner(name, case.cell) for name in names]
    return list(dict.fromkeys(names))


class _CaseRunner:
    """One case: prepare, check, time."""

    def __init__(self, case: Case, pool: Pool, settings: Settings, folder: Path) -> None:
        self.case, self.pool, self.settings, self.folder = case, pool, settings, folder
        self.tell = lambda text: None

    def run(self, names: list[str]) -> dict[str, Any]:
        rows = {name: self._prepare(name) for name in names}
        ready = [name for name in names if rows[name]["status"] == "timed"]
        rounds: dict[str, list[list[float]]] = {name: [] for name in ready}
        for number in range(self.settings.rounds):
            shift = number % max(len(ready), 1)
            for name in ready[shift:] + ready[:shift]:
                if rows[name]["status"] != "timed":
                    continue
                self.tell(f"  round {number + 1} of {self.settings.rounds}  {name}")
                seconds = self.settings.min_time
                answer = self.pool.ask(name, do="turn", min_seconds=seconds, min_calls=MIN_CALLS)
                if "times" in answer:
                    rounds[name].append(answer["times"])
                else:
                    rows[name] |= _refusal(answer)
        for name in ready:
            self.pool.ask(name, do="release")
            if rows[name]["status"] == "timed":
                rows[name] |= _statistics(rounds[name])
        return {**_describe(self.case), **dataclasses.asdict(self.settings), "peers": rows}

    def _prepare(self, name: str) -> dict[str, Any]:
        """Returns the peer's row, its status "timed" where it is right and may be timed."""
        self.tell(f"  preparing {name}")
        variant = entry(name).variant(self.case.cell)
        row: dict[str, Any] = {"variant": variant}
        if self.settings.device not in entry(name).devices:
            needed = entry(name).devices[0].upper()
            return row | {"status": "unsupported", "reason": f"runs on a {needed} only"}
        case, reference = self.case.key, str(self._reference(variant))
        answer = self.pool.ask(name, do="prepare", case=case, variant=variant, reference=reference)
        if "error" not in answer:
            return row | _refusal(answer)
        error, tolerance = answer["error"], TOLERANCE[self.settings.device]
        if not error < tolerance:
            where = answer["error_in"]
            reason = f"{where} is off by {error:.2g} of its largest value, {tolerance:g} is allowed"
            self.pool.ask(name, do="release")
            return row | {"status": "wrong", "reason": reason}
        return row | {"status": "timed", **answer}

    def _reference(self, variant: str) -> Path:
        path = self.folder / (f"{self.case.key}-{variant}.npz".replace("/", "-"))
        if not path.exists():
            answer = self.pool.reference(case=self.case.key, variant=variant, path=str(path))
            if answer:
                raise RuntimeError(f"the reference of {self.case.key}: {answer}")
        return path


def _describe(case: Case) -> dict[str, Any]:
    shape = dataclasses.asdict(case.shape)
    facts = {"cell": case.cell, "mode": case.mode, "layout": case.layout, "shape": shape}
    return {**facts, "flops": case.flops}


def _refusal(answer: dict[str, Any]) -> dict[str, str]:
    """Returns status and reason of a peer that is not timed."""
    if "unsupported" in answer:
        return {"status": "unsupported", "reason": answer["unsupported"]}
    if "missing" in answer:
        return {"status": "not installed", "reason": answer["missing"]}
    return {"status": "failed", "reason": answer.get("failed", "no usable answer")}


def _statistics(rounds: list[list[float]]) -> dict[str, Any]:
    times = [seconds for one in rounds for seconds in one]
    return {
        "best": min(times),
        "median": statistics.median(times),
        "round_bests": [min(one) for one in rounds],
        "calls": len(times),
    }


def _compare(record: dict[str, Any], case: Case, ceiling: float | None) -> None:
    """Adds to each row what follows from all of them together."""
    rows = record["peers"]
    for name, row in rows.items():
        if row["status"] != "timed":
            continue
        other = partner(name, case.cell)
        ours = rows.get(other, {}).get("best")
        row["partner"] = other
        row["ratio"] = row["best"] / ours if ours else None
        row["gflops"] = case.flops / row["best"] / 1e9
        row["of_ceiling"] = row["gflops"] / ceiling if ceiling else None


def _step_matmul(pool: Pool, asked: set[str], case: Case) -> dict[str, float | None]:
    """Returns the time of one step's recurrent product (B, U) @ (U, G) alone.

    A convolution's is that of the matrix of its windows.
    """
    return _matmul_seconds(pool, asked, *CELLS[case.cell].step_product(case.shape))


def _matmul_seconds(
    pool: Pool, asked: set[str], rows: int, inner: int, columns: int
) -> dict[str, float | None]:
    """Returns the time of one plain product in XLA and in PyTorch, of those that are asked for."""
    torch = "torch_cudnn" if pool.device == "gpu" else "torch"
    return {
        library: pool.ask(name, do="matmul", rows=rows, inner=inner, columns=columns).get("seconds")
        for library, name in (("xla", "jrnn"), ("torch", torch))
        if name in asked
    }


def _bar(console: Console) -> Progress:
    columns = (MofNCompleteColumn(), BarColumn(20), TimeElapsedColumn())
    return Progress(*columns, TextColumn("{task.description}"), console=console)


def _summary(record: dict[str, Any]) -> str:
    def text(name: str, row: dict[str, Any]) -> str:
        if row["status"] != "timed":
            return f"{name} {row['status']}"
        return f"{name} {row['best'] * 1e3:.3g} ms"

    return ", ".join(text(name, row) for name, row in record["peers"].items())
