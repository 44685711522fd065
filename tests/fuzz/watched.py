"""One load of one mutated file, and what must not happen meanwhile."""

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import placed
from jrnn.keras_loader.load import load, load_architecture
from jrnn.keras_loader.read import open_keras
from jrnn.model.graph import Model
from tests.fuzz.hdf5_mutations import SECRET

SECONDS = 5  # of computing
_WAITING = 120  # seconds by the clock: other programs compute too
MEBIBYTES = 64
_LONGEST_MESSAGE = 1_500
NOTHING, LOADED, REFUSED, FOUND = range(4)
_ALLOWED = ("import", "object.__getattr__", "object.__setattr__", "object.__delattr__")
_WATCHED = ("ctypes.dlopen", "exec", "marshal", "os.", "pickle", "shutil", "socket", "subprocess")


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
        size = load_file(path, model, whole)
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


def load_file(path: Path, model: Model | None, whole: bool) -> int:
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
