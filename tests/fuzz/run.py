"""Loads mutated files in watched child processes; what should not happen is kept as a finding.

A finding is: another exception than ``KerasFileError``, or a message of more than one line; a
crash of the process; more than ``watched.SECONDS`` of work; more memory than the parameters and
``watched.MEBIBYTES``; another file opened, or its contents read.
"""

import dataclasses
import faulthandler
import gc
import json
import mmap
import os
import resource
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jrnn.keras_loader.load import load
from tests.fuzz import cases, watched
from tests.fuzz.hdf5_mutations import write_secrets
from tests.fuzz.minimise import minimised
from tests.fuzz.watched import FOUND, LOADED, REFUSED, Watch, run_case

_ADDRESS_SPACE = 2**31  # beyond what the process has; a wild allocation must not harm the machine
_BATCH = 2_000
_HEAD = struct.Struct("<qdq")  # cases done, longest seconds, largest memory


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
    data = case.data
    if finding["what"] in ("crash", "hang"):
        number, path = finding["number"], place / "mutated"
        data = minimised(data, case.fixture.data, lambda d: _kills(d, path, job, case, number))
        finding["changed_bytes"] = sum(map(int.__ne__, data, case.fixture.data))
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / name).write_bytes(data)
    with open(job.folder / "findings.jsonl", "a") as file:
        file.write(json.dumps(finding) + "\n")
    report.findings.append(finding)


def _kills(data: bytes, path: Path, job: Job, case: cases.Case, number: int) -> bool:
    """Whether the process that loads these bytes ends by a signal."""
    path.write_bytes(data)
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, min(watched.SECONDS, 2))
        with suppress(Exception):
            watched.load_file(path, case.fixture.model, number % job.every == 0)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


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
                if "emory" in finding["what"]:  # the process may not have it back: take a new one
                    return
