"""A read-only view of some bytes of an open file: what h5py and zipfile get instead of a path."""

import io
import os
from typing import Protocol


class Bytes(Protocol):
    """What a window looks into."""

    def seek(self, position: int, /) -> object: ...

    def readinto(self, view: memoryview, /) -> int | None: ...


class Window(io.RawIOBase):
    """Bytes `start .. start + size` of a file, as a seekable file of their own.

    A weights member that a zip stores without compression is read in place through it, so that
    no copy of it is ever made. h5py takes a short `readinto` for a full one and would hand out
    uninitialised memory, therefore a read that starts inside the window is whole or fails.
    """

    def __init__(self, file: Bytes, start: int, size: int, longest_read: int | None = None):
        super().__init__()
        self.file = file
        self.start = start
        self.size = size
        self.longest_read = size if longest_read is None else longest_read
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, all that are left by default, never past the end."""
        left = max(0, self.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self.longest_read:
            raise OSError(f"a read of {wanted} bytes, the limit is {self.longest_read}")
        buffer = bytearray(wanted)
        self._fill(memoryview(buffer))
        return bytes(buffer)

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        if self._position + len(view) > self.size:
            raise OSError(f"bytes {self._position}..{self._position + len(view)} of {self.size}")
        self._fill(view)
        return len(view)

    def _fill(self, view: memoryview) -> None:
        self.file.seek(self.start + self._position)
        done = 0
        while done < len(view):
            got = self.file.readinto(view[done:])
            if not got:
                raise OSError(f"the file ended {len(view) - done} bytes too early")
            done += got
        self._position += done
