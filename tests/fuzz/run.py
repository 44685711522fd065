"""Loads mutated files in watched child processes; what should not happen is kept as a finding.

A finding is: another exception than ``KerasFileError``, or a message of more than one line; a
crash of the process; more than ``SECONDS`` of work; more memory than the parameters and
``MEBIBYTES``; another file opened, or its contents read.
"""

import ctypes
import dataclasses
import faulthandler
import gc
import json
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import placed
from jrnn.keras_loader.load import load, load_architecture
from jrnn.keras_loader.read import open_keras
from jrnn.model.graph import Model
from tests.fuzz import cases
from tests.fuzz.hdf5_mutations import SECRET, write_secrets

SECONDS = 5  # of computing
_WAITING = 120  # seconds by the clock: other programs compute too
MEBIBYTES = 64
_ADDRESS_SPACE = 2**31  # beyond what the process has; a wild allocation must not harm the machine
_BATCH = 2_000
_LONGEST_MESSAGE = 1_500
NOTHING, LOADED, REFUSED, FOUND = range(4)
_HEAD = struct.Struct("<qdq")  # cases done, longest seconds, largest memory
_ALLOWED = ("import", "object.__getattr__", "object.__setattr__", "object.__delattr__")
_WATCHED = ("ctypes.dlopen", "exec", "marshal", "os.", "pickle", "shutil", "socket", "subprocess")


@dataclasses.dataclass
class Report:
    """What a run did and found."""

    executions: int = 0
    whole: int = 0
    loaded: int = 0
    refused: int = 0
    kinds: dict[str, list[int]] = dataclasses.field(default_factory=dict)  # loaded, refused, found
    slowest_seconds: float = 0.0
    largest_mebibytes: float = 0.0
    findings: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Job:
    """One run: cases ``first`` to ``first + count`` of a format and seed.

    Attributes:
        file_format: One of ``cases.FORMATS``.
        seed: Any integer.
        count: How many cases.
        first: The first case's number.
        minutes: When to stop before that.
        every: Each of so many cases is loaded whole, the shapes checked by JAX; the others are
            opened, parsed, placed and their arrays read.
        folder: Where findings go.
    """

    file_format: str
    seed: int
    count: int
    folder: Path
    first: int = 0
    minutes: float = 1e9
    every: int = 10


def fuzz(job: Job, say: Callable[[Report], object] = lambda _: None) -> Report:
    """Returns what the cases of a job did; ``say`` hears of it now and then."""
    report, number, end = Report(), job.first, time.monotonic() + 60 * job.minutes
    found = cases.fixtures(job.file_format)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        place = Path(name)
        write_secrets(place)
        while number < job.first + job.count and time.monotonic() < end:
            size = min(_BATCH, job.first + job.count - number)
            number += _batch(job, found, number, size, place, report)
            say(report)
    return report


def _batch(
    job: Job,
    found: Sequence[cases.Fixture],
    first: int,
    size: int,
    place: Path,
    report: Report,
) -> int:
    """Runs some cases in one child; returns how many it came through, the fatal one included."""
    board = mmap.mmap(-1, _HEAD.size + 2 * size)
    log = place / "findings"
    log.write_bytes(b"")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _work(job, found, range(first, first + size), place, board)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    done, seconds, memory = _HEAD.unpack_from(board)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 1:
        raise RuntimeError("the fuzzing itself failed, see above")
    for k in range(done):
        kind, outcome = board[_HEAD.size + 2 * k : _HEAD.size + 2 * k + 2]
        _count(report, cases.KINDS[kind], outcome)
    report.whole += sum(number % job.every == 0 for number in range(first, first + done))
    report.slowest_seconds = max(report.slowest_seconds, round(seconds, 2))
    report.largest_mebibytes = max(report.largest_mebibytes, round(memory / 2**20, 1))
    for line in log.read_text().splitlines():
        _keep(job, found, place, json.loads(line), report)
    if os.WIFSIGNALED(status):
        number = first + done
        name = signal.Signals(os.WTERMSIG(status)).name
        trace = (place / "trace").read_text()
        what = "hang" if name in ("SIGPROF", "SIGALRM") else "crash"
        finding = {"number": number, "what": what, "said": name, "trace": trace[-3000:]}
        _keep(job, found, place, finding, report)
        kind = cases.make(job.file_format, found, job.seed, number, place).kind
        _count(report, kind, FOUND)
        done += 1
    return done


def _count(report: Report, kind: str, outcome: int) -> None:
    report.executions += 1
    report.loaded += outcome == LOADED
    report.refused += outcome == REFUSED
    report.kinds.setdefault(kind, [0, 0, 0])[outcome - LOADED] += 1


def _keep(
    job: Job, found: Sequence[cases.Fixture], place: Path, finding: dict, report: Report
) -> None:
    """Keeps a finding and its file."""
    case = cases.make(job.file_format, found, job.seed, finding["number"], place)
    name = f"{job.file_format}-{job.seed}-{finding['number']}"
    finding |= {"format": job.file_format, "seed": job.seed, "kind": case.kind}
    finding |= {"fixture": case.fixture.name, "file": name}
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / name).write_bytes(case.data)
    with open(job.folder / "findings.jsonl", "a") as file:
        file.write(json.dumps(finding) + "\n")
    report.findings.append(finding)


def _work(
    job: Job, found: Sequence[cases.Fixture], numbers: range, place: Path, board: mmap.mmap
) -> None:
    """The child: runs the cases and notes each on the board before the next."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path = place / "mutated"
    watch = Watch(str(path))
    for fixture in found:  # what is imported or compiled on first use is no case's doing
        path.write_bytes(fixture.data)
        load(path, config=fixture.model)
    with open(place / "trace", "w+") as trace:
        faulthandler.enable(trace)
        for late in (signal.SIGPROF, signal.SIGALRM):
            faulthandler.register(late, trace, chain=True)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE,) * 2)
        longest, largest = 0.0, 0
        for k, number in enumerate(numbers):
            case = cases.make(job.file_format, found, job.seed, number, place)
            path.write_bytes(case.data)
            gc.collect(0)
            outcome, seconds, memory, finding = run_case(
                path, case.fixture.model, number % job.every == 0, watch
            )
            longest, largest = max(longest, seconds), max(largest, memory)
            place_of_case = _HEAD.size + 2 * k
            board[place_of_case : place_of_case + 2] = bytes(
                (cases.KINDS.index(case.kind), outcome)
            )
            _HEAD.pack_into(board, 0, k + 1, longest, largest)
            if finding:
                with open(place / "findings", "a") as log:
                    log.write(json.dumps({"number": number, **finding}) + "\n")


class Watch:
    """Notes what a load does beside reading its file, by Python's audit events."""

    def __init__(self, path: str):
        self.path = path
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple) -> None:
        if not self.active or event in _ALLOWED:
            return
        if event == "open":
            own = os.fspath(args[0]) == self.path or str(args[0]).endswith((".py", ".pyc"))
            if not own or args[1] not in ("r", "rb"):
                self.seen.append(f"open {args[0]!r} {args[1]!r}")
        elif event.startswith(_WATCHED) and not _imports():
            self.seen.append(f"{event} {args!r:.200}")


def _imports() -> bool:
    """Whether the event is Python's own, which loads a module that is first needed now."""
    return sys._getframe(2).f_globals["__name__"].startswith("importlib")


def run_case(
    path: Path, model: Model | None, whole: bool, watch: Watch
) -> tuple[int, float, int, dict[str, str] | None]:
    """Returns the outcome, seconds and bytes of memory of one load, and the finding if any.

    The process ends by a signal if the load takes too long.
    """
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, _WAITING)
    watch.active, size, outcome, finding = True, 0, LOADED, None
    try:
        size = _load(path, model, whole)
    except KerasFileError as error:
        outcome, said = REFUSED, str(error)
        if not (said.isprintable() and len(said) <= _LONGEST_MESSAGE and path.name in said):
            finding = {"what": "message", "said": said[:5000]}
        if _out_of_memory(error):
            finding = {"what": "memory", "said": said}
    except Exception as error:
        outcome = FOUND
        trace = "".join(traceback.format_exception(error))
        finding = {"what": type(error).__name__, "said": str(error)[:500], "trace": trace[-3000:]}
    watch.active = False
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds, after = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF)
    memory = 1024 * (after.ru_maxrss - before)
    if memory > 2**20:
        _trim()
    if watch.seen:
        finding, watch.seen = {"what": "deed", "said": "; ".join(watch.seen)[:2000]}, []
    if memory > size + MEBIBYTES * 2**20:
        finding = {"what": "memory", "said": f"{memory} bytes for {size} of parameters"}
    return FOUND if finding else outcome, seconds, memory, finding


def _load(path: Path, model: Model | None, whole: bool) -> int:
    """Returns the bytes of the parameters."""
    if whole:
        leaves = jax.tree.leaves(load(path, config=model).params)
    else:
        with open_keras(path) as file:
            model = model or load_architecture(file, file, None)[0]
            if file.weights is None:
                raise KerasFileError(f"{path}: no weights")
            try:
                stored = placed(model, file.weights)
            except KerasFileError as error:
                raise KerasFileError(f"{path}: {error}") from error
            leaves = [array.read() for array in jax.tree.leaves(stored)]
    if any((np.asarray(leaf) == SECRET).any() for leaf in leaves):
        raise AssertionError("an array of another file was read")
    return sum(leaf.nbytes for leaf in leaves)


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


def _trim(libc: Any = ctypes.CDLL(None)) -> None:
    """Gives freed memory back, so that it counts again when the next case takes it."""
    libc.malloc_trim(0)
