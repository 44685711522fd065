"""HDF5 with its exits closed: hard links, plain arrays and bounded text, nothing outside the file.

HDF5 can point out of a file (soft and external links, external storage, virtual datasets), load
code to undo a compression, and declare an array of any size in a few bytes. Nothing of that is in
a Keras file, so all of it is refused before a byte of data is read: links here, the rest in
`hdf5_checks`.
"""

import itertools
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from jrnn.keras_loader.errors import KerasFileError, reading, shown
from jrnn.keras_loader.hdf5_checks import (
    MOST_NAMES,
    Seen,
    address,
    check_link,
    checked_array,
    h5py,
    strings,
)
from jrnn.keras_loader.hdf5_headers import check_root
from jrnn.keras_loader.stored_array import StoredArray
from jrnn.keras_loader.window import Window

_MOST_GROUPS = 32_768
_MOST_CHUNKED_ATTRIBUTES = 4_096
_LONGEST_NAME = 4_096
_DEEPEST = 64


@dataclass(frozen=True)
class Group:
    """A group reached by hard links alone; everything read through it is checked first."""

    h5: h5py.Group
    where: str
    seen: Seen

    def names(self) -> list[str]:
        """The names in this group; asking a second time for one group means a loop of links."""
        with reading(self.where):
            here = address(self.h5)
            count = self.h5.id.get_num_objs()
            if here in self.seen.groups:
                raise KerasFileError(
                    f"{self.where}: expected a tree of groups, found one reached twice; "
                    f"Keras writes no such file, do not trust it"
                )
            self.seen.groups.add(here)
            if count > MOST_NAMES or len(self.seen.groups) > _MOST_GROUPS:
                raise KerasFileError(
                    f"{self.where}: expected at most {MOST_NAMES} names in a group and "
                    f"{_MOST_GROUPS} groups, found more; jrnn does not read a file of that size"
                )
            return list(self.h5)

    def group(self, path: str) -> "Group | None":
        """The group at `path` below this one, or None."""
        found = self._find(path)
        if found is None or isinstance(found, h5py.Group):
            return None if found is None else Group(found, self._at(path), self.seen)
        raise KerasFileError(
            f"{self._at(path)}: expected a group, found a {type(found).__name__}; "
            f"this is not the layout Keras writes"
        )

    def array(self, path: str, label: str) -> StoredArray | None:
        """The array at `path` below this group, checked and unread, or None."""
        found = self._find(path)
        if found is None:
            return None
        where = self._at(path)
        if not isinstance(found, h5py.Dataset):
            raise KerasFileError(
                f"{where}: expected an array, found a {type(found).__name__}; "
                f"this is not the layout Keras writes"
            )
        with reading(where):
            return checked_array(found, label, where, self.seen)

    def has_attribute(self, name: str) -> bool:
        with reading(self.where):
            return h5py.h5a.exists(self.h5.id, name.encode())

    def text(self, name: str) -> str | None:
        """The text attribute `name`, or None."""
        found = strings(self.h5, name, self.where, self.seen)
        if found is not None and len(found) != 1:
            raise KerasFileError(
                f"{self.where}: expected one text in attribute {name!r}, found {len(found)}; "
                f"this is not the layout Keras writes"
            )
        return None if found is None else found[0]

    def name_list(self, name: str) -> list[str] | None:
        """The list in attribute `name`, or in `name0`, `name1`, ... as Keras splits a long one."""
        found = strings(self.h5, name, self.where, self.seen)
        for k in itertools.count() if found is None else ():
            part = strings(self.h5, f"{name}{k}", self.where, self.seen)
            if part is None:
                break
            found = (found or []) + part
            if k > _MOST_CHUNKED_ATTRIBUTES or len(found) > MOST_NAMES:
                raise KerasFileError(
                    f"{self.where}: expected at most {MOST_NAMES} names in {name!r}, found more; "
                    f"jrnn does not read a file of that size"
                )
        return None if found is None else self._usable(found, name)

    def _usable(self, names: list[str], attribute: str) -> list[str]:
        for name in names:
            if not name or len(name) > _LONGEST_NAME or "\0" in name:
                raise KerasFileError(
                    f"{self.where}: expected names of 1 to {_LONGEST_NAME} characters in "
                    f"{attribute!r}, found {shown(name)}; this is not the layout Keras writes"
                )
        if len(set(names)) != len(names):
            twice = next(name for k, name in enumerate(names) if name in names[:k])
            raise KerasFileError(
                f"{self.where}: expected different names in {attribute!r}, found {shown(twice)} "
                f"twice; this is not the layout Keras writes"
            )
        return names

    def _at(self, path: str) -> str:
        return f"{self.where}, {shown(path)}"

    def _find(self, path: str) -> h5py.Group | h5py.Dataset | h5py.Datatype | None:
        """What lies at `path`, each step of which must be a hard link."""
        steps = [step for step in path.split("/") if step not in ("", ".")]
        if not steps or len(steps) > _DEEPEST:
            raise KerasFileError(
                f"{self._at(path)}: expected a path of 1 to {_DEEPEST} steps, found {len(steps)}; "
                f"this is not the layout Keras writes"
            )
        node = self.h5
        with reading(self._at(path)):
            for step in steps:
                key = step.encode("utf-8", "surrogateescape")
                if not isinstance(node, h5py.Group) or not node.id.links.exists(key):
                    return None
                check_link(node, key, self._at(path), self.seen)
                node = node[step]
        return node


def open_hdf5(source: Window, where: str, stack: ExitStack) -> Group:
    """Returns the root group of an HDF5 file, open until `stack` closes."""
    with reading(where):
        check_root(source)
        # Each chunk is read once: to keep it would double what a chunked file takes.
        file = h5py.File(source, "r", rdcc_nbytes=0)
        stack.callback(_close, file)
        return Group(file["/"], where, Seen(source))  # pyright: ignore[reportArgumentType]


def _close(file: h5py.File) -> None:
    """Nothing was written, so an error at closing has nothing to tell."""
    with suppress(Exception):
        file.close()
