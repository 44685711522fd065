"""A model file read by another process, so that what HDF5's C library does harms that one alone.

The child imports h5py and NumPy but not JAX, opens the file as `open_keras` does, and answers on
its standard output: first a JSON object with everything but the values of the arrays, then, for
each number on its standard input, that array's bytes. Nothing that it says is unpickled or run.

Its time is limited by the clock; its memory, its computing time and what it may write where the
system can do that (Python's module `resource`, thus not on Windows).
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from typing import Any, BinaryIO

import numpy as np

from jrnn.keras_loader.errors import KerasFileError, reading, shown
from jrnn.keras_loader.read import KerasFile, LegacyWeights, ObjectWeights, open_keras
from jrnn.keras_loader.stored_array import DTYPES, StoredArray, aligned

SECONDS = 60  # for one answer, and as many more as so slow a disk needs:
_BYTES_A_SECOND = 10**7
_CHILD_SECONDS = 3600  # of computing, should nobody be left to stop it
_CHILD_BYTES = 512 * 2**20  # of address space, besides what it starts with and the largest array
_LONGEST_ANSWER = 2**28
_HEAD = struct.Struct("<cQ")  # what follows, and its length
_DATA, _ERROR = b"D", b"E"
# Packages in name alone: what their __init__ imports, JAX above all, is not needed.
_START = """
import json, sys, types
folder, sys.path[:], path = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
for name, inside in (("jrnn", ""), ("jrnn.keras_loader", "/keras_loader")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder + inside]
from jrnn.keras_loader.isolated import serve
serve(path)
"""


@contextmanager
def open_isolated(path: str | os.PathLike[str]) -> Iterator[KerasFile]:
    """Yields what `open_keras` does, read by a process of its own.

    Raises:
        ValueError: if there is no Python interpreter to start: in a program packed into one file.
        KerasFileError: as `open_keras`, or if that process crashes or takes too long.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise ValueError(
            "isolated is True, but sys.executable is no Python interpreter that could read the "
            "file; give isolated=False"
        )
    name = os.fsdecode(os.fspath(path))
    with reading(shown(name)):
        child = _Child(name)
    try:
        with reading(shown(name)):
            opened = child.opened()
        yield opened
    finally:
        child.end()


class _Child:
    """The process that reads, seen from the one that asks."""

    def __init__(self, name: str):
        self.name = name
        self.late = False
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, folder, json.dumps(sys.path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None, "a pipe"
        assert self.process.stdout is not None, "a pipe"
        self.questions, self.answers = self.process.stdin, self.process.stdout

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.answers.close()
        with suppress(OSError):  # a question that was never taken
            self.questions.close()

    def opened(self) -> KerasFile:
        """What the child found; its arrays can be asked for until the end."""
        said = json.loads(self._answer(_size(self.name)))
        numbers = iter(range(_LONGEST_ANSWER))
        groups = {
            key: tuple(self._array(next(numbers), *array) for array in arrays)
            for key, arrays in said.pop("groups").items()
        }
        legacy, objects = said.pop("legacy"), said.pop("objects")
        weights = None
        if legacy is not None:
            weights = LegacyWeights(groups, **legacy)
        elif objects is not None:
            weights = ObjectWeights(groups, **objects)
        return KerasFile(path=self.name, weights=weights, **said)

    def _array(
        self, number: int, path: str, shape: list[int], dtype: str, where: str
    ) -> StoredArray:
        def load() -> np.ndarray:
            values = aligned(tuple(shape), DTYPES[dtype])
            self._ask(number, values.reshape(-1).view(np.uint8))
            return values

        return StoredArray(path, tuple(shape), dtype, load, where)

    def _ask(self, number: int, into: np.ndarray) -> None:
        if self.questions.closed:
            raise KerasFileError(
                f"{shown(self.name)}: expected an open file, found it closed; "
                f"read arrays inside the with-block"
            )
        with suppress(BrokenPipeError):  # then there is no answer either
            self.questions.write(struct.pack("<Q", number))
            self.questions.flush()
        self._answer(into.size, into)

    def _answer(self, work: int, into: np.ndarray | None = None) -> Any:
        """The next answer; ``into`` tells its length, and takes it."""
        timer = threading.Timer(SECONDS + work / _BYTES_A_SECOND, self._stop)
        timer.start()
        try:
            kind, size = _HEAD.unpack(self._read(bytearray(_HEAD.size)))
            if kind == _ERROR and size <= _LONGEST_ANSWER:
                raise KerasFileError(self._read(bytearray(size)).decode())
            expected = size <= _LONGEST_ANSWER if into is None else size == into.size
            if kind != _DATA or not expected:
                raise self._fallen()
            return self._read(bytearray(size) if into is None else into)
        finally:
            timer.cancel()

    def _read(self, buffer: Any) -> Any:
        view, done = memoryview(buffer), 0
        while done < len(view):
            got = self.answers.readinto(view[done:])  # pyright: ignore[reportAttributeAccessIssue]
            if not got:
                raise self._fallen()
            done += got
        return buffer

    def _stop(self) -> None:
        self.late = True
        self.process.kill()

    def _fallen(self) -> KerasFileError:
        """The error for a child that ended, was stopped, or says what it should not."""
        try:
            status = self.process.wait(1)
        except subprocess.TimeoutExpired:
            status = 0
        how = f"gave no answer (status {status})"
        if self.late:
            how = "took too long"
        elif status < 0:
            how = f"crashed ({signal.strsignal(-status)})"
        return KerasFileError(
            f"{shown(self.name)}: expected a readable model file, but the process that reads it "
            f"{how}; the file is damaged or hostile, do not trust it"
        )


def serve(path: str) -> None:
    """The child: opens the file and answers until its standard input ends."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _limit(0)
    try:
        with open_keras(path) as file:
            said, arrays = _described(file)
            _limit(max((prod(a.shape) * DTYPES[a.dtype].itemsize for a in arrays), default=0))
            _say(answers, _DATA, json.dumps(said).encode())
            while question := questions.read(8):
                values = np.ascontiguousarray(arrays[struct.unpack("<Q", question)[0]].read())
                _say(answers, _DATA, values.reshape(-1).view(np.uint8))
    except KerasFileError as error:
        _say(answers, _ERROR, str(error).encode(errors="backslashreplace"))


def _described(file: KerasFile) -> tuple[dict[str, Any], list[StoredArray]]:
    """Everything but the values of the arrays, and the arrays."""
    weights = file.weights
    said: dict[str, Any] = {"legacy": None, "objects": None}
    groups = {}
    if isinstance(weights, LegacyWeights):
        groups = weights.layers
        said["legacy"] = {"keras_version": weights.keras_version, "backend": weights.backend}
    elif weights is not None:
        groups = weights.objects
        said["objects"] = {"container": weights.container}
    for key in ("kind", "config", "keras_version", "backend"):
        said[key] = getattr(file, key)
    said["groups"] = {
        key: [(array.path, array.shape, array.dtype, array.where) for array in arrays]
        for key, arrays in groups.items()
    }
    return said, [array for arrays in groups.values() for array in arrays]


def _say(answers: BinaryIO, kind: bytes, data: Any) -> None:
    answers.write(_HEAD.pack(kind, len(data)))
    answers.write(data)
    answers.flush()


def _limit(array_bytes: int) -> None:
    """Bounds this process: it leaves no dump, writes no file, and its memory and time end."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CHILD_SECONDS, _CHILD_SECONDS))
    with suppress(OSError):  # elsewhere than on Linux
        with open("/proc/self/statm", "rb") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        # The second time the first limit is raised: what is read by then has been checked.
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = used + _CHILD_BYTES + 2 * array_bytes
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


def _size(name: str) -> int:
    return os.path.getsize(name) if os.path.isfile(name) else 0
