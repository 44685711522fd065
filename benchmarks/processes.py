"""ONE AT A TIME. A process for each peer, asleep except in its turn."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.base import CORES

ROOT = Path(__file__).parent.parent
PATIENCE = 900.0  # seconds until an answer is given up


def environment(device: str, x64: bool) -> dict[str, str]:
    """Returns the variables a worker runs under: every core for every peer, float32, no caches."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(CORES),
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cuda" if device == "gpu" else "cpu",
        "JAX_ENABLE_X64": "1" if x64 else "0",
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # or the second run would measure no compiling
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the peers share a GPU's memory
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


class WorkerProcess:
    """A worker at the other end of a pipe.

    Between its turns it is stopped by a signal: some libraries' threads go on spinning for a while
    after a call, and would take the cores from the next peer. Within its turn each library may
    spin as it does by default.
    """

    def __init__(self, name: str, device: str, log: Path, x64: bool = False) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(device, x64),
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Wakes the worker, returns its answer, and stops it again."""
        assert self._process.stdin is not None
        self._signal("SIGCONT")
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._read_line())
        except TimeoutError:
            self._process.kill()
            self._process.wait()
            return {"failed": f"no answer to {request['do']!r} in {PATIENCE:.0f} s"}
        except (BrokenPipeError, EOFError):
            return {"failed": f"the process ended ({self._process.wait()}){self._last_words()}"}
        self._signal("SIGSTOP")
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._signal("SIGCONT")
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read_line(self) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        end, line = time.monotonic() + PATIENCE, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise EOFError
            line += part
        return line

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def _signal(self, name: str) -> None:
        if self.alive and hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))


class Pool:
    """The workers of a run, each started when it is first asked something."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device = device
        self.versions: dict[str, str] = {}
        self._folder = folder
        self._workers: dict[str, WorkerProcess] = {}
        self._missing: dict[str, dict[str, Any]] = {}

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """Asks a peer's worker; a peer that cannot be started gives that answer ever after."""
        if name in self._missing:
            return self._missing[name]
        worker = self._workers.get(name)
        if worker is None or not worker.alive:
            worker = WorkerProcess(name, self.device, self._log(name))
            self._workers[name] = worker
            started = worker.ask(do="start")
            if "versions" not in started:
                self._missing[name] = started
                return started
            self.versions |= started["versions"]
        return worker.ask(**request)

    def reference(self, **request: Any) -> dict[str, Any]:
        """Asks the worker that computes in float64, on the CPU."""
        worker = self._workers.get("reference")
        if worker is None or not worker.alive:
            worker = WorkerProcess("naive", "cpu", self._log("reference"), x64=True)
            self._workers["reference"] = worker
        return worker.ask(do="reference", **request)

    def close(self) -> None:
        """Ends every worker."""
        for worker in self._workers.values():
            worker.close()

    def _log(self, name: str) -> Path:
        return self._folder / (name.replace(":", "_") + ".log")
