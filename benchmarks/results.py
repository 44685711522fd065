"""WHAT IS KEPT. One JSON file, whole at any time, and what is known of machine and code."""

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.peers.base import CORES
from benchmarks.processes import ROOT


class ResultsFileError(ValueError):
    """A file that is not, or does not hold, results of this run's kind."""


class Results:
    """The file of a run: ``runs`` (when, where, what code) and ``cases`` by key.

    A case says by ``run`` which of the runs it is from.
    """

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        self.content: dict[str, Any] = {"device": device, "runs": [], "cases": {}}
        if path.exists():
            self.content = read(path)
            if self.content["device"] != device:
                raise ResultsFileError(
                    f"{path.name} holds results from {self.content['device']!r}, but this run is "
                    f"on {device!r}; choose another file"
                )

    def begin(self, run: dict[str, Any]) -> None:
        """Starts a run."""
        self.content["runs"].append(run)

    @property
    def run(self) -> dict[str, Any]:
        return self.content["runs"][-1]

    def peers(self, case: Case) -> set[str]:
        """Returns the peers the file has a row for."""
        return set(self.content["cases"].get(case.key, {}).get("peers", {}))

    def add(self, case: Case, record: dict[str, Any]) -> None:
        """Writes the file anew with this case; a reader never sees half of it."""
        number = len(self.content["runs"]) - 1
        self.content["cases"][case.key] = {"run": number, **record}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.path)


def read(path: Path) -> dict[str, Any]:
    """Returns a results file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsFileError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict) or not content.keys() >= {"device", "runs", "cases"}:
        raise ResultsFileError(f"{path} holds no results of this benchmark")
    return content


def describe_run(**settings: Any) -> dict[str, Any]:
    """Returns when and where a run takes place, and on which code."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": CORES,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(terse=True),
        **settings,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """Returns the commit the working copy stands at, with a plus where jrnn differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "-s", "jrnn") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
