"""The one error a model file can raise, and the fence that turns every other one into it."""

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST_SHOWN = 200


class KerasFileError(ValueError):
    """A model file that cannot be read: damaged, hostile, or holding what jrnn does not know."""


def shown(text: object) -> str:
    """Text from a file, fit for one line of an error message: quoted, escaped and cut."""
    quoted = repr(str(text)[: _LONGEST_SHOWN + 1])
    return quoted if len(quoted) <= _LONGEST_SHOWN + 2 else quoted[:_LONGEST_SHOWN] + "...'"


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turns whatever goes wrong inside into a `KerasFileError` that says where.

    It catches every `Exception` on purpose: on a damaged file h5py alone raises OSError,
    RuntimeError, KeyError, ValueError, TypeError, OverflowError, SystemError and UnicodeError, and
    zipfile, zlib, json and NumPy add theirs.
    """
    try:
        yield
    except KerasFileError:
        raise
    except MemoryError as error:
        raise KerasFileError(f"{where}: it needs more memory than there is") from error
    except Exception as error:
        said = " ".join(str(error).split())[:300] or "no details"
        raise KerasFileError(
            f"{where}: expected a readable model file, found {type(error).__name__} ({said}); "
            f"the file is damaged or cut short: fetch or save it again"
        ) from error
