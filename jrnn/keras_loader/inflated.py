"""A deflated zip member as a file to read anywhere, unpacked piece by piece and never whole."""

import zlib
from collections.abc import Callable
from functools import lru_cache

from jrnn.keras_loader.window import Window

_BLOCK = 2**20
_MOST_STATES = 128  # of about 40 KiB each
_PIECE = 2**16


class Inflated:
    """The unpacked bytes of a member: what a `Window` takes for a file.

    A member that expands costs time but no memory: kept are a few blocks, and now and then how
    far the unpacking had come, so that no read starts from the beginning.
    """

    def __init__(self, packed: Window, size: int):
        self._packed = packed
        self._position = 0
        start = zlib.decompressobj(-zlib.MAX_WBITS)
        self._states = {0: (0, start)}
        self._reached = 0, 0, start.copy()
        self._stride = 1 + size // _BLOCK // _MOST_STATES
        self._block: Callable[[int], bytes] = lru_cache(maxsize=4)(self._unpacked)

    def seek(self, position: int) -> None:
        self._position = position

    def readinto(self, view: memoryview) -> int:
        """Fills the start of ``view`` and returns how much of it."""
        number, start = divmod(self._position, _BLOCK)
        piece = self._block(number)[start : start + len(view)]
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _unpacked(self, number: int) -> bytes:
        k, at, state = self._reached
        known = max(one for one in self._states if one <= number)
        if not known <= k <= number:
            k, (at, state) = known, self._states[known]
            state = state.copy()
        block = b""
        while k <= number:
            at, block = self._next(at, state)
            k += 1
            if k % self._stride == 0 and k not in self._states:
                self._states[k] = at, state.copy()
        self._reached = k, at, state
        return block

    def _next(self, at: int, state) -> tuple[int, bytes]:
        """The next block, and where in the packed bytes the one after it begins."""
        pieces, missing = [], _BLOCK
        while missing and not state.eof:
            self._packed.seek(at)
            packed = self._packed.read(_PIECE)
            piece = state.decompress(packed, missing)
            at += len(packed) - len(state.unconsumed_tail)
            pieces.append(piece)
            missing -= len(piece)
            if not packed and not piece:
                break
        return at, b"".join(pieces)
