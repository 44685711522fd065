"""Arrays in ``.npz`` files: read one at a time, and written."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from jrnn.cli.terminal import warn


class Archive:
    """An open ``.npz`` file; an array is read when it is asked for."""

    def __init__(self, path: str, file: Any) -> None:
        self.path = path
        self._file = file
        self.names = tuple(file.files)

    def numbered(self, letter: str) -> list[str]:
        """Returns the names made of the letter and a number, in order."""
        found = (re.fullmatch(rf"{letter}(0|[1-9]\d*)", name) for name in self.names)
        return [match[0] for match in sorted((m for m in found if m), key=lambda m: int(m[1]))]

    def expect(self, letter: str, count: int) -> list[str]:
        """Returns ``x0, x1, ...`` if these are there, and no more of them."""
        wanted = [f"{letter}{i}" for i in range(count)]
        missing = [name for name in wanted if name not in self.names]
        extra = [name for name in self.numbered(letter) if name not in wanted]
        if missing or extra:
            what = [f"has no {', '.join(missing)}"] if missing else []
            what += [f"also has {', '.join(map(repr, extra[:8]))}"] if extra else []
            raise ValueError(
                f"{self.path!r}: expected {_listed(wanted)} for the model's {count} input(s), but "
                f"it {' and '.join(what)}"
            )
        return wanted

    def declared(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Returns an array's shape and dtype; none of its numbers is read."""
        with self._named_errors(name), self._file.zip.open(f"{name}.npy") as file:
            newer = np.lib.format.read_magic(file) > (1, 0)
            read = (
                np.lib.format.read_array_header_2_0
                if newer
                else np.lib.format.read_array_header_1_0
            )
            shape, _, dtype = read(file)
        return shape, dtype

    def read(self, name: str) -> np.ndarray:
        """Returns one array of numbers."""
        with self._named_errors(name):
            array = self._file[name]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            found = getattr(array, "dtype", "bytes")
            raise ValueError(
                f"{self.path!r}: expected an array of numbers for {name!r}, found {found}"
            )
        return array

    @contextmanager
    def _named_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy each have their own
            raise ValueError(
                f"{self.path!r}: expected an array of numbers for {name!r}, found: {error}"
            ) from error


@contextmanager
def open_npz(path: str) -> Iterator[Archive]:
    """Yields the archive; nothing in it is unpickled."""
    try:
        file = np.load(path, allow_pickle=False)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:
        # NumPy takes what it does not know for a pickle, and says how to load that unsafely.
        why = "another kind of file" if "pickle" in str(error) else f"a damaged one: {error}"
        raise ValueError(f"{path!r}: expected an .npz file of arrays, found {why}") from error
    if not hasattr(file, "files"):
        raise ValueError(
            f"{path!r}: expected an .npz file of named arrays, found a single array; save it with "
            "numpy.savez(path, x0=array)"
        )
    with file:
        yield Archive(path, file)


def as_jax_reads(array: np.ndarray, name: str) -> np.ndarray:
    """Returns the array in this machine's byte order, if JAX's integers can hold it."""
    import jax

    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    target = np.dtype(jax.dtypes.canonicalize_dtype(array.dtype))
    if array.dtype.kind in "iu" and target != array.dtype and array.size:
        info = np.iinfo(target)
        if array.min() < info.min or array.max() > info.max:
            raise ValueError(
                f"{name}: it holds {array.dtype} numbers beyond {target}, which JAX would change"
            )
    return array


def save_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the arrays; bfloat16, which the format cannot name, as float32."""
    stored, widened = {}, []
    for name, array in arrays.items():
        if array.dtype.kind == "V":  # the kind NumPy gives ml_dtypes' types
            widened.append(name)
            array = array.astype(np.float32)
        stored[name] = array
    np.savez(file, **stored)
    if widened:
        warn(f"bfloat16 written as float32, which .npz can hold: {', '.join(widened)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 6 else f"{names[0]}, ..., {names[-1]}"
