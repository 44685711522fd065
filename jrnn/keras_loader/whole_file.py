"""A file that is there as a whole, or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def written_whole(path: str) -> Iterator[BinaryIO]:
    """Yields a file beside ``path`` that takes its place once the block has succeeded."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise ValueError(f"{path!r}: expected a place for a file, found a folder or a device")
    folder, base = os.path.split(target)
    # Not by the process alone: what a killed one left must not be in the way of its namesake.
    temporary = os.path.join(folder, f".{base[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        file = open(temporary, "x+b")  # noqa: SIM115 (its errors alone are caught here)
    except OSError as error:
        raise ValueError(f"{path!r}: cannot be written there: {error.strerror}") from error
    try:
        with file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
