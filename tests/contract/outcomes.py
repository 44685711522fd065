"""What comes out where a subject of the contract grid is tried: all but a few pass."""

from typing import Literal, NamedTuple

import tests.contract.devices
import tests.contract.inputs
import tests.contract.padding
import tests.contract.transforms  # noqa: F401 (the four register their columns)
from tests.contract.reference import COLUMNS
from tests.contract.subjects import Subject, subjects


class Outcome(NamedTuple):
    """A pair that does not pass: the error that must be raised, and why."""

    kind: Literal["refused", "fails"]
    error: type[Exception]
    message: str  # part of it
    why: str


ONE_OF = 43  # so that each subject and each column has some place at every run
PADDED = ("lengths", "length 0", "NaN padding")
NO_INTEGERS = Outcome(
    "refused",
    ValueError,
    "a floating-point dtype is needed",
    "integers are an error: they are more often tokens that were not embedded than numbers",
)
THREE_AXES = Outcome(
    "refused",
    ValueError,
    "three axes are needed",
    "the op's format says which of three axes is the batch; `jax.vmap` adds others",
)


def outcome(name: str, subject: Subject, title: str) -> Outcome | None:
    """What a pair comes to other than to pass."""
    ours = not name.startswith("nd4j.")
    if title == "integers" and ours:
        return NO_INTEGERS
    if title in ("no batch", "two batch axes") and not ours and subject.time_axis is not None:
        return THREE_AXES
    return None


def applies(subject: Subject, title: str) -> bool:
    """Whether there is anything to try."""
    if title in PADDED:
        return subject.padded is not None
    if "no state" in title:
        return subject.fresh is not None
    return subject.time_axis is not None or not (title.startswith("T =") or "time" in title)


def pairs(group: str | None = None) -> list[tuple[str, str]]:
    """Subject and column of all that is tried, in a group or in all but the one on devices."""
    groups = [g for g in COLUMNS if g != "Eight devices"] if group is None else [group]
    titles = [title for g in groups for title in COLUMNS[g]]
    return [
        (name, title)
        for name, subject in subjects().items()
        for title in titles
        if applies(subject, title)
    ]


def quick(name: str, title: str) -> bool:
    """Whether a pair is tried at every run: few of each subject, and some of each column."""
    row = list(subjects()).index(name)
    column = [one for titles in COLUMNS.values() for one in titles].index(title)
    return (row + column) % ONE_OF == 19  # a rest with which none is left out
