"""What HDF5 may say before jrnn believes it: attributes and arrays."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

import numpy as np

from jrnn.keras_loader.errors import KerasFileError, reading, shown
from jrnn.keras_loader.hdf5_headers import claimed_text_bytes, reads_other_files
from jrnn.keras_loader.json_text import LARGEST_TEXT
from jrnn.keras_loader.stored_array import DTYPES, StoredArray, aligned
from jrnn.keras_loader.window import Window


@contextmanager
def _without_plugins() -> Iterator[None]:
    """HDF5 reads this variable once, when it starts; a user who set either knows better."""
    chosen = {"HDF5_PLUGIN_PRELOAD", "HDF5_PLUGIN_PATH"} & set(os.environ)
    if "h5py" in sys.modules or chosen:
        yield
        return
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    try:
        yield
    finally:
        del os.environ["HDF5_PLUGIN_PRELOAD"]


with _without_plugins():
    import h5py
    from h5py import h5i, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue]

    h5py.h5pl.size()  # any plugin call makes HDF5 read the variable now

MOST_NAMES = 16_384
_HIGHEST_RANK = 6
_FREE_BYTES = 2**20
_MOST_INFLATION = 200
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE}


@dataclass
class Seen:
    """What one open file has shown so far, so that no byte and no group counts twice."""

    source: Window
    groups: set[int] = field(default_factory=set)
    objects: set[int] = field(default_factory=set)
    stored: int = 0
    declared: int = 0
    text: int = 0

    def charge(self, stored: int, declared: int, where: str) -> None:
        self.stored += stored
        self.declared += declared
        if self.stored > self.source.size:
            raise KerasFileError(
                f"{where}: expected arrays within the {self.source.size} bytes of the file, found "
                f"{self.stored} bytes of them; the file is cut short or its arrays overlap"
            )
        if self.declared > 64 * _FREE_BYTES + _MOST_INFLATION * self.source.size:
            raise KerasFileError(
                f"{where}: expected arrays in proportion to a file of {self.source.size} bytes, "
                f"found {self.declared} bytes declared; do not trust this file"
            )

    def charge_text(self, size: int, where: str) -> None:
        """Counts text: many attributes may claim one string of the file, each its own copy."""
        self.text += size
        if self.text > 2 * LARGEST_TEXT:
            raise KerasFileError(
                f"{where}: expected at most {2 * LARGEST_TEXT} bytes of text in all, found more; "
                f"do not trust this file"
            )


def address(group: h5py.Group | h5py.Dataset) -> int:
    """Where an object's header lies in the file: equal for two paths to one object."""
    return h5o.get_info(group.id).addr


def check_link(group: h5py.Group, name: bytes, where: str, seen: Seen) -> None:
    """Refuses an entry of a group that is no object of this file, before it is opened."""
    link = group.id.links.get_info(name)
    if link.type != h5l.TYPE_HARD:
        raise KerasFileError(
            f"{where}: expected a hard link, found a soft or external one, which may point to "
            f"other files; do not trust this file"
        )
    if link.u not in seen.objects and reads_other_files(seen.source, link.u):
        raise _lies_elsewhere(where)
    seen.objects.add(link.u)


def _lies_elsewhere(where: str) -> KerasFileError:
    return KerasFileError(
        f"{where}: expected data inside this file, found external or virtual storage, "
        f"which reads other files; do not trust this file"
    )


def strings(h5: h5py.Group | h5py.Dataset, name: str, where: str, seen: Seen) -> list[str] | None:
    """All strings of one attribute; an empty array of any type counts as no strings."""
    where = f"{where}, attribute {name!r}"
    with reading(where):
        if not h5py.h5a.exists(h5.id, name.encode()):
            return None
        attribute = h5py.h5a.open(h5.id, name.encode())
        space = attribute.get_space()
        count = space.get_simple_extent_npoints()
        if count == 0 or space.get_simple_extent_type() == h5py.h5s.NULL:
            return []
        if attribute.get_type().get_class() != h5py.h5t.STRING:
            raise KerasFileError(
                f"{where}: expected text, found {attribute.dtype}; "
                f"this is not the layout Keras writes"
            )
        size = attribute.get_storage_size()
        if attribute.get_type().is_variable_str() and count <= MOST_NAMES:
            size = claimed_text_bytes(seen.source, address(h5), name.encode(), count)
        if count > MOST_NAMES or size is None or size > LARGEST_TEXT:
            raise KerasFileError(
                f"{where}: expected at most {MOST_NAMES} strings in {LARGEST_TEXT} bytes, found "
                f"{count} in {'an unknown number' if size is None else size}; "
                f"jrnn does not read a file of that size"
            )
        seen.charge_text(size, where)
        values = np.asarray(h5.attrs[name], dtype=object).ravel()
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
        for text in texts:
            text.encode()  # h5py smuggles undecodable bytes into text as lone surrogates
        return texts


def checked_array(dataset: h5py.Dataset, label: str, where: str, seen: Seen) -> StoredArray:
    """Returns an array whose storage, type and shape are plain and agree; no data is read.

    Raises:
        KerasFileError: if they are not, or the file is too small to hold what it declares.
    """
    chunked = _check_storage_kind(dataset, where)
    dtype = _dtype_name(dataset, where, seen)
    shape = dataset.shape
    if shape is None or len(shape) > _HIGHEST_RANK:
        raise KerasFileError(
            f"{where}: expected an array of rank 0 to {_HIGHEST_RANK}, found "
            f"{'no shape' if shape is None else f'rank {len(shape)}'}; no Keras weight has that"
        )
    stored, declared = dataset.id.get_storage_size(), prod(shape) * dataset.dtype.itemsize
    if chunked:
        declared = _check_chunks(dataset, stored, where)
    elif stored != declared:
        raise KerasFileError(
            f"{where}: expected {declared} stored bytes for shape {shape}, found {stored}; "
            f"the file was not written to the end, or lies about its shape"
        )
    seen.charge(stored, declared, where)

    # An open array takes 16 kB, thus it is closed now and opened again to be read.
    file, name = dataset.file, h5i.get_name(dataset.id)
    return StoredArray(label, shape, dtype, lambda: _values(file, name, where), where)


def _values(file: h5py.File, name: bytes, where: str) -> np.ndarray:
    if not file:
        raise KerasFileError(
            f"{where}: expected an open file, found it closed; "
            f"read arrays inside the with-block of open_keras"
        )
    dataset = h5py.Dataset(h5py.h5d.open(file.id, name))
    if not dataset.size or not dataset.shape:
        return dataset[()]
    values = aligned(dataset.shape, dataset.dtype)
    dataset.read_direct(values)
    return values


def _check_storage_kind(dataset: h5py.Dataset, where: str) -> bool:
    """Refuses what reads other files or needs other code; returns whether the array is chunked.

    What `check_link` has read in the header HDF5 may understand otherwise, thus it is asked too.
    """
    plan = dataset.id.get_create_plist()
    layout = plan.get_layout()
    known = (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
    if layout not in known or plan.get_external_count():
        raise _lies_elsewhere(where)
    unknown = {plan.get_filter(k)[0] for k in range(plan.get_nfilters())} - _FILTERS
    if unknown:
        raise KerasFileError(
            f"{where}: expected data plain, gzipped or shuffled, found HDF5 filters "
            f"{sorted(unknown)}; save the weights without compression"
        )
    return layout == h5py.h5d.CHUNKED


def _dtype_name(dataset: h5py.Dataset, where: str, seen: Seen) -> str:
    kind, dtype = dataset.id.get_type(), dataset.dtype
    plain = kind.get_class() in (h5py.h5t.FLOAT, h5py.h5t.INTEGER, h5py.h5t.OPAQUE)
    # NumPy wrote bfloat16 as two opaque bytes before HDF5 had a type for it.
    opaque = dtype.kind == "V" and dtype.names is None and dtype.itemsize == 2
    name = "bfloat16" if opaque else dtype.name
    if not plain or kind.get_size() != dtype.itemsize or name not in DTYPES:
        raise KerasFileError(
            f"{where}: expected an array of numbers, found HDF5 type {shown(dtype)}; "
            f"jrnn reads {', '.join(DTYPES)}"
        )
    said = strings(dataset, "dtype", where, seen)
    if said and said != [name]:
        raise KerasFileError(
            f"{where}: expected {name}, which is how it is stored, found attribute 'dtype' "
            f"{shown(said[0])}; jrnn does not read that number format"
        )
    return name


def _check_chunks(dataset: h5py.Dataset, stored: int, where: str) -> int:
    """The bytes all chunks unpack to: each must be there, and hold its share."""
    chunk = dataset.id.get_create_plist().get_chunk()
    grid = [-(-length // step) for length, step in zip(dataset.shape, chunk, strict=True)]
    whole = prod(grid) * prod(chunk) * dataset.dtype.itemsize
    found = dataset.id.get_num_chunks()
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    most = max(_FREE_BYTES, _MOST_INFLATION * stored) if packed else stored
    if found != prod(grid) or whole > most:
        raise KerasFileError(
            f"{where}: expected {prod(grid)} chunks for {whole} bytes, found {found} of "
            f"{stored} bytes in all; the file lies about its shape, do not trust it"
        )
    return whole
