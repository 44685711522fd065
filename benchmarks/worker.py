"""ONE PEER IN ITS OWN PROCESS: ``python -m benchmarks.worker PEER DEVICE``.

Reads a JSON object a line and answers each with one. It is driven by ``coordinator.py``, which
stops the process between its turns.
"""

import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.data import draw, worst_error
from benchmarks.peers import entry, load
from benchmarks.peers.base import Peer, Prepared, UnsupportedError


class Worker:
    """Holds the peer and the case it was last asked to prepare."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.peer: Peer | None = None
        self.prepared: Prepared | None = None

    def start(self) -> dict[str, Any]:
        """Imports the peer and returns the versions of what it stands on."""
        self.peer = load(self.name)
        packages = entry(self.name).packages
        versions = {package: importlib.metadata.version(package) for package in packages}
        return {"versions": {"python": platform.python_version(), **versions}}

    def reference(self, case: str, variant: str, path: str) -> dict[str, Any]:
        """Writes what every peer's results are compared with."""
        from benchmarks.reference import reference

        one = Case.parse(case)
        np.savez(path, **reference(one, draw(one, variant)))
        return {}

    def prepare(self, case: str, variant: str, reference: str | None) -> dict[str, Any]:
        """Builds and compiles the case, and compares its results where a reference is given."""
        self.prepared = None
        one = Case.parse(case)
        data = draw(one, variant)
        self.prepared = self._loaded().prepare(one, data)
        answer: dict[str, Any] = {
            "compile_seconds": self.prepared.compile_seconds,
            "temporary_bytes": self.prepared.temporary_bytes,
        }
        if reference is not None:
            with np.load(Path(reference)) as expected:
                error, name = worst_error(self.prepared.results(), dict(expected), data.lengths)
            answer |= {"error": error, "error_in": name}
        return answer

    def turn(self, min_seconds: float, min_calls: int) -> dict[str, Any]:
        """Calls once untimed, then times call after call; returns all times."""
        if self.prepared is None:
            raise RuntimeError("turn: nothing is prepared")
        call, clock = self.prepared.call, time.perf_counter
        call()
        times: list[float] = []
        gc.collect()
        gc.disable()
        try:
            end = clock() + min_seconds
            while len(times) < min_calls or clock() < end:
                start = clock()
                call()
                times.append(clock() - start)
        finally:
            gc.enable()
        return {"times": times}

    def matmul(self, rows: int, inner: int, columns: int) -> dict[str, Any]:
        """Returns the time of one plain product."""
        return {"seconds": self._loaded().matmul_seconds(rows, inner, columns)}

    def release(self) -> dict[str, Any]:
        """Lets go of the case."""
        self.prepared = None
        gc.collect()
        return {}

    def _loaded(self) -> Peer:
        if self.peer is None:
            raise RuntimeError("the peer has not been started")
        return self.peer

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Does what is asked; a failure is an answer, so that the run goes on."""
        do = getattr(self, request.pop("do"))
        try:
            return do(**request)
        except UnsupportedError as error:
            return {"unsupported": str(error)}
        except ModuleNotFoundError as error:
            return {"missing": str(error.name)}
        except Exception as error:
            traceback.print_exc()
            first_line = (str(error).strip() or "no message").splitlines()[0]
            return {"failed": f"{type(error).__name__}: {first_line}"}


def main() -> None:
    """Answers until the pipe is closed."""
    # Answers have the pipe to themselves: whatever a library prints goes to standard error.
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)
        worker = Worker(sys.argv[1])
        for line in sys.stdin:
            pipe.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            pipe.flush()


if __name__ == "__main__":
    main()
