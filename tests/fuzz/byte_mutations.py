"""Changes to bytes, most of them where HDF5 keeps its structure, with its checksums made good."""

import io
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import h5py

SIGNATURES = (
    *(b"\x89HDF\r\n\x1a\n", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"OCHK", b"FRHP", b"FHDB"),
    *(b"FHIB", b"FSHD", b"FSSE", b"BTHD", b"BTLF", b"BTIN", b"SMTB", b"FADB", b"EAHD", b"FAHD"),
    *(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\10"),
)
NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 16, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**24, 2**28),
    *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 2**32, 2**40, 2**62, 2**63 - 1, 2**63),
    *(2**64 - 2, 2**64 - 1),
)


@dataclass(frozen=True)
class Layout:
    """Where the structure of an HDF5 file lies.

    Attributes:
        spots: Places of headers, trees and heaps, byte by byte.
        sealed: Start and end of each block that a checksum follows.
    """

    spots: Sequence[int]
    sealed: Sequence[tuple[int, int]] = ()


def layout_of(data: bytes) -> Layout:
    """Returns where an HDF5 file's structure lies, by its own addresses and signatures."""
    with h5py.File(io.BytesIO(data), "r") as file:
        headers = [h5py.h5o.get_info(file.id).addr]
        file.visititems(lambda _, found: headers.append(h5py.h5o.get_info(found.id).addr))
    blocks, sealed = [(0, 96)], []
    if data[8] >= 2:
        sealed.append((0, 44))
    for start in headers:
        if data[start : start + 4] == b"OHDR":
            flags = data[start + 5]
            size_at = start + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            size = int.from_bytes(data[size_at : size_at + width], "little")
            sealed.append((start, size_at + width + size))
            blocks.append(sealed[-1])
        else:
            blocks += _old_header(data, start)
    spots = {place for start, end in blocks for place in range(start, end)}
    spots |= set(signed_spots(data))
    return Layout([place for place in sorted(spots) if place < len(data)], sealed)


def _old_header(data: bytes, start: int) -> list[tuple[int, int]]:
    """A header of version 1 and the blocks that continue it."""
    (size,) = struct.unpack_from("<I", data, start + 8)
    blocks = [(start, start + 16 + size)]
    for at in range(start + 16, start + size, 8):
        kind, length = struct.unpack_from("<HH", data, at)
        if (kind, length) == (0x10, 16):
            address, size = struct.unpack_from("<QQ", data, at + 8)
            blocks.append((address, address + size))
    return blocks


def signed_spots(data: bytes) -> list[int]:
    """Returns the places behind every signature."""
    starts = [at for signature in SIGNATURES for at in positions(data, signature)]
    return [place for at in starts for place in range(at, min(at + 64, len(data)))]


def positions(data: bytes | bytearray, piece: bytes) -> list[int]:
    """Returns where a piece of bytes stands in others."""
    found, at = [], data.find(piece)
    while at >= 0:
        found.append(at)
        at = data.find(piece, at + 1)
    return found


def mutate_bytes(data: bytes, rng: random.Random, layout: Layout, others: Sequence[bytes]) -> bytes:
    """Returns the bytes with one to six changes; `others` are files to take pieces of."""
    changed = bytearray(data)
    touched = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 6))):
        if not changed:
            break
        structure = layout.spots and rng.random() < 0.85
        at = rng.choice(layout.spots) if structure else rng.randrange(len(changed))
        at = min(at, len(changed) - 1)
        touched.append(at)
        _EDITS[rng.choice(_WEIGHTED)](changed, at, rng, others)
    if len(changed) == len(data) and rng.random() < 0.9:
        for start, end in layout.sealed:
            if any(start <= at < end for at in touched):
                changed[end : end + 4] = struct.pack("<I", lookup3(bytes(changed[start:end])))
    return bytes(changed)


def _flip(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _set(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    width = rng.choice((2, 4, 8))
    near = rng.randrange(len(data) + 1)
    value = rng.choice((*NUMBERS, len(data), len(data) - 1, near, near & ~7, near & ~7))
    piece = (value % 2 ** (8 * width)).to_bytes(width, "little")
    at -= at % rng.choice((1, width))
    data[at : at + width] = piece[: len(data) - at]


def _signature(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    piece = rng.choice(SIGNATURES)
    data[at : at + len(piece)] = piece[: len(data) - at]


def _remove(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    del data[at : at + _length(rng)]


def _double(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    data[at:at] = data[at : at + _length(rng)]


def _insert(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    data[at:at] = rng.choice((bytes, rng.randbytes))(_length(rng))


def _move(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    """One piece of the file over another: two headers for one thing, a tree within itself."""
    piece = data[(start := rng.randrange(len(data))) : start + _length(rng)]
    data[at : at + len(piece)] = piece[: len(data) - at]


def _splice(data: bytearray, at: int, rng: random.Random, others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    if rng.random() < 0.5:
        data[at:] = other[at:]
    else:
        piece = other[at : at + _length(rng)]
        data[at : at + len(piece)] = piece[: len(data) - at]


def _cut(data: bytearray, at: int, rng: random.Random, _: Sequence[bytes]) -> None:
    del data[at:]


def _length(rng: random.Random) -> int:
    return rng.choice((1, 2, 4, 8, 16, 24, 40, 96, 512, rng.randrange(1, 3000)))


_EDITS = {
    "cut": _cut,
    "double": _double,
    "flip": _flip,
    "insert": _insert,
    "move": _move,
    "number": _number,
    "remove": _remove,
    "set": _set,
    "signature": _signature,
    "splice": _splice,
}
_WEIGHTED = (
    *("flip",) * 5, *("set",) * 5, *("number",) * 8, *("move",) * 3, *("splice",) * 2,
    *("signature", "remove", "double", "insert", "cut"),
)  # fmt: skip


def lookup3(data: bytes) -> int:
    """Returns Bob Jenkins's hash of 2006, which HDF5 puts behind its newer blocks."""
    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    padded = data + bytes(-len(data) % 12)
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    for k in range(0, len(words), 3):
        a, b, c = a + words[k], b + words[k + 1], c + words[k + 2]
        a, b, c = (_last if k + 3 == len(words) else _mix)(a, b, c)
    return c & 0xFFFFFFFF


def _turned(value: int, bits: int) -> int:
    value &= 0xFFFFFFFF
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = (a - c) & 0xFFFFFFFF ^ _turned(c, bits)
        c += b
        a, b, c = b, c, a
    return a & 0xFFFFFFFF, b & 0xFFFFFFFF, c & 0xFFFFFFFF


def _last(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, bits)) & 0xFFFFFFFF
        a, b, c = b, c, a
    return c, a, b
