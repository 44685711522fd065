"""Changes to a zip: members that repeat, escape, overlap or expand, and fields that lie."""

import io
import random
import warnings
import zipfile
from collections.abc import Mapping

from tests.fuzz.byte_mutations import NUMBERS, positions

# Offset and width of fields that come after the signature of an entry.
_LOCAL = ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))
_CENTRAL = (
    *((6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2)),
    *((38, 4), (42, 4)),
)
_END = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))
_ENTRIES = {b"PK\3\4": _LOCAL, b"PK\1\2": _CENTRAL, b"PK\5\6": _END}
_NAMES = (
    *("../evil", "/etc/evil", "C:/evil", "a\\b", "assets/../../x", "", "é", "config.json/", "x"),
    *("config.json", "model.weights.h5", "model.weights.npz", "metadata.json", "n" * 65_000),
    *("assets/ok.txt", "config.json\0.txt", "__MACOSX/config.json"),
)


def packed(members: Mapping[str, bytes], rng: random.Random | None = None) -> bytes:
    """Returns a sound zip; with ``rng``, some members are deflated and their order is any."""
    buffer = io.BytesIO()
    names = list(members)
    if rng is not None and rng.random() < 0.2:
        rng.shuffle(names)
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            deflated = rng is not None and rng.random() < 0.2
            how = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), members[name], how)
    return buffer.getvalue()


def mutate_zip(members: Mapping[str, bytes], rng: random.Random) -> bytes:
    """Returns a zip of these members with one to three things wrong."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name used twice
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in _chosen(members, rng):
                method = rng.choices((0, 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA), (60, 40, 3, 1))[0]
                archive.writestr(zipfile.ZipInfo(name), data, method)
            if rng.random() < 0.1:
                archive.comment = rng.randbytes(rng.choice((1, 100, 65_535)))
    data = bytearray(buffer.getvalue())
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        _lie(data, rng)
    if rng.random() < 0.1:  # what comes before a zip is allowed by most readers
        data[:0] = rng.choice((b"MZ", b"PK\3\4", b"\x89HDF\r\n\x1a\n", bytes(100), bytes(data)))
    return bytes(data)


def _chosen(members: Mapping[str, bytes], rng: random.Random) -> list[tuple[str, bytes]]:
    found = list(members.items())
    how = rng.randrange(6)
    if how == 0:
        found.append((rng.choice(_NAMES), rng.choice((b"", b"{}", *members.values()))))
    elif how == 1:
        del found[rng.randrange(len(found))]
    elif how == 2:
        k = rng.randrange(len(found))
        found[k] = rng.choice(_NAMES), found[k][1]
    elif how == 3:
        k = rng.randrange(len(found))
        found[k] = found[k][0], bytes(rng.choice((0, 1, 2**10, 2**20, 2**21)))
    elif how == 4 and rng.random() < 0.1:
        found += [(f"assets/{k}", b"") for k in range(rng.choice((10, 1_000, 10_001)))]
    return found


def _lie(data: bytearray, rng: random.Random) -> None:
    """Changes one field of one entry, mostly to what is true elsewhere."""
    signature = rng.choice(list(_ENTRIES))
    found = positions(data, signature)
    if not found:
        return
    at, width = rng.choice(_ENTRIES[signature])
    place, other = rng.choice(found) + at, rng.choice(found) + at
    now = int.from_bytes(data[place : place + width], "little")
    values = (now + 1, now - 1, now * 2, len(data), int.from_bytes(data[other : other + width]))
    value = rng.choice((*values, rng.choice(NUMBERS)))
    data[place : place + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
