"""What must be known before HDF5 is asked, read from the bytes of an object header.

HDF5 allocates a variable-length string by the length written beside its address, up to 4 GiB for
each, before it looks whether the file holds that much, and h5py has no call to ask first. It
walks the heap that the text lies in without end where an object there has no size, does the same
for a virtual dataset's list of files as soon as that is opened, and takes memory without end where
the free places in the heap of a group's names lead in a circle. This follows the HDF5 File Format
Specification 3.0: II (superblock), III.D (local heaps), III.E (global heaps), IV.A (headers) and
IV.A.2 (their messages).
"""

import struct
from collections.abc import Iterator

from jrnn.keras_loader.window import Window

_CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE, _EXTERNAL_FILES, _LAYOUT = 0x10, 0x11, 0x0C, 0x07, 0x08
_VIRTUAL = 3  # the class of a layout
_NO_MORE = 1  # in place of where the next free place lies
_SHARED = 0x02
_MOST_BLOCKS = 1_000
_LARGEST_BLOCK = 2**24
_OBJECT_HEADER = 16


def claimed_text_bytes(source: Window, header: int, name: bytes, count: int) -> int | None:
    """Returns the summed lengths of the `count` strings in attribute `name`.

    Args:
        source: the whole HDF5 file.
        header: address of the object header that owns the attribute.
        name: the attribute.
        count: number of variable-length strings in it.

    Returns:
        The bytes HDF5 will allocate, or None if the attribute is not stored in the header itself.
    """
    found = [
        _texts(body, count)
        for kind, flags, body in _messages(source, header)
        if kind == _ATTRIBUTE and not flags & _SHARED and _attribute_name(body) == name
    ]
    for heap in {heap for texts in found for _, heap in texts}:
        _check_heap(source, heap)
    return max((sum(length for length, _ in texts) for texts in found), default=None)


def check_root(source: Window) -> None:
    """Refuses a file whose first group would keep HDF5 busy for ever; call this before HDF5.

    Raises:
        ValueError: if it would, or the file is not laid out as all that Keras writes is.
    """
    start = _at(source, 0, 96)
    new = start[8] >= 2
    sizes, base_at, root_at = (start[9:11], 12, 36) if new else (start[13:15], 24, 64)
    root_at += 4 * (start[8] == 1)
    (base,), (root,) = (struct.unpack_from("<Q", start, at) for at in (base_at, root_at))
    if sizes != b"\x08\x08" or base != 0:
        raise ValueError(f"addresses of {sizes.hex()} bytes from {base}")
    reads_other_files(source, root)
    if not new:  # the same once more, beside the address
        _check_names(source, *struct.unpack_from("<Q", start, root_at + 24))


def reads_other_files(source: Window, header: int) -> bool:
    """Returns whether the object with this header is an array with data in other files.

    Raises:
        ValueError: if it is a group that would keep HDF5 busy for ever.
    """
    found = False
    for kind, _, body in _messages(source, header):
        if kind == _SYMBOL_TABLE:
            _check_names(source, *struct.unpack_from("<Q", body, 8))
        found |= kind == _EXTERNAL_FILES
        found |= kind == _LAYOUT and body[2 if body[0] < 3 else 1] == _VIRTUAL
    return found


def _check_names(source: Window, address: int) -> None:
    """Walks the free places in the heap of a group's names as HDF5 will."""
    if not 0 < address <= source.size - 32:  # no heap, or an address HDF5 refuses itself
        return
    size, place, data = struct.unpack("<3Q", _at(source, address, 32)[8:])
    seen = set()
    while place != _NO_MORE and place + 16 <= size and data + size <= source.size:
        if place in seen:
            raise ValueError(f"a heap at {address} whose free places lead back to {place}")
        seen.add(place)
        (place,) = struct.unpack("<Q", _at(source, data + place, 8))


def _messages(source: Window, header: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and body of each message of an object header of version 1 or 2."""
    start = _at(source, header, 6)
    if start[:4] == b"OHDR":
        head, extra = "<BHB", 2 if start[5] & 0x04 else 0
        skip = 6 + (16 if start[5] & 0x20 else 0) + (4 if start[5] & 0x10 else 0)
        width = 1 << (start[5] & 3)
        size = int.from_bytes(_at(source, header + skip, width), "little")
        blocks, edges = [(header + skip + width, size)], (4, 4)
    else:
        head, extra = "<HHB3x", 0
        size = struct.unpack("<I", _at(source, header + 8, 4))[0]
        blocks, edges = [(header + 16, size)], (0, 0)
    for number in range(_MOST_BLOCKS):
        if number == len(blocks):
            return
        block, place = _at(source, *blocks[number]), 0
        while place + struct.calcsize(head) <= len(block):
            kind, length, flags = struct.unpack_from(head, block, place)
            place += struct.calcsize(head) + extra
            body = block[place : place + length]
            place += length
            if kind == _CONTINUATION:
                address, size = struct.unpack_from("<QQ", body)
                blocks.append((address + edges[0], size - sum(edges)))
            yield kind, flags, body
    raise ValueError(f"an object header of more than {_MOST_BLOCKS} blocks")


def _at(source: Window, address: int, size: int) -> bytes:
    if not 0 <= size <= _LARGEST_BLOCK or address + size > source.size:
        raise ValueError(f"an object header at {address} with {size} bytes")
    source.seek(address)
    return source.read(size)


def _attribute_name(body: bytes) -> bytes:
    (size,) = struct.unpack_from("<H", body, 2)
    start = 9 if body[0] == 3 else 8
    return body[start : start + size].split(b"\0")[0]


def _texts(body: bytes, count: int) -> list[tuple[int, int]]:
    """The length of each text and the address of the heap that holds it.

    They stand last in the message: length (4), heap address (8), index (4) of each.
    """
    sizes = struct.unpack_from("<3H", body, 2)
    padded = [-(-size // 8) * 8 if body[0] == 1 else size for size in sizes]
    start = (9 if body[0] == 3 else 8) + sum(padded)
    return [struct.unpack_from("<IQ", body, start + 16 * k) for k in range(count)]


def _check_heap(source: Window, address: int) -> None:
    """Walks a heap as HDF5 will: each object must lie in it, and lead on to the next."""
    if not 0 < address < source.size:  # no text, or an address HDF5 refuses itself
        return
    (size,) = struct.unpack_from("<Q", _at(source, address, 16), 8)
    heap, place = _at(source, address, size), 16
    while place + _OBJECT_HEADER <= size:
        index, length = struct.unpack_from("<H6xQ", heap, place)
        step = _OBJECT_HEADER + -(-length // 8) * 8 if index else length
        if not _OBJECT_HEADER <= step <= size - place:
            raise ValueError(f"a heap at {address} whose object at {place} has {length} bytes")
        place += step
