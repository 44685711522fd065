"""The `.keras` zip: three members, read in place and never unpacked to disk."""

import struct
import zipfile
import zlib
from typing import NamedTuple

from jrnn.keras_loader.errors import KerasFileError, reading, shown
from jrnn.keras_loader.inflated import Inflated
from jrnn.keras_loader.json_text import LARGEST_TEXT
from jrnn.keras_loader.window import Window

_CONFIG, _METADATA = "config.json", "metadata.json"
_WEIGHTS, _PICKLED_WEIGHTS = "model.weights.h5", "model.weights.npz"
_LARGEST_DIRECTORY = 2**20
_MOST_MEMBERS = 10_000
_LARGEST_INFLATED = 2**30
_FREE_BYTES = 2**20
_MOST_INFLATION = 100
_SLICE = 2**20
_ENCRYPTED = 0x1 | 0x40
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


class Archive(NamedTuple):
    """What a `.keras` zip holds: two JSON texts and the bytes of the weights file."""

    config: bytes
    metadata: bytes | None
    weights: Window


def open_archive(source: Window, where: str) -> Archive:
    """Returns the members of a Keras 3 zip; stored weights stay where they are in `source`.

    Raises:
        KerasFileError: if it is no such zip, or a member is encrypted, doubled, damaged, too large,
            or named so that unpacking it would leave the folder.
    """
    # The limit on one read is a limit on the central directory, which zipfile reads whole.
    directory = Window(source.file, source.start, source.size, longest_read=_LARGEST_DIRECTORY)
    with reading(where), zipfile.ZipFile(directory) as archive:  # pyright: ignore[reportArgumentType]
        members = _checked_members(archive, where)
        if _CONFIG not in members or _WEIGHTS not in members:
            raise _not_a_model(members, where)
        metadata = members.get(_METADATA)
        return Archive(
            _inflated(archive, members[_CONFIG], LARGEST_TEXT, where),
            None if metadata is None else _inflated(archive, metadata, LARGEST_TEXT, where),
            _weights(archive, members[_WEIGHTS], source, where),
        )


def _checked_members(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    found = archive.infolist()
    if len(found) > _MOST_MEMBERS:
        raise KerasFileError(
            f"{where}: expected a zip of at most {_MOST_MEMBERS} members, found {len(found)}; "
            f"a .keras file has about three"
        )
    members: dict[str, zipfile.ZipInfo] = {}
    for info in found:
        complaint = _complaint(info) or ("a name used twice" if info.filename in members else "")
        if complaint:
            raise KerasFileError(
                f"{where}: expected plain zip members, found {complaint}: "
                f"{shown(info.orig_filename)}; Keras writes no such file, do not trust it"
            )
        members[info.filename] = info
    return members


def _complaint(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    if info.flag_bits & _ENCRYPTED:
        return "an encrypted member"
    if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or "\0" in name:
        return "an absolute or foreign path"
    if ".." in name.split("/"):
        return "a path that leaves the archive"
    return ""


def _not_a_model(members: dict[str, zipfile.ZipInfo], where: str) -> KerasFileError:
    if _PICKLED_WEIGHTS in members:
        return KerasFileError(
            f"{where}: expected {_WEIGHTS} in the zip, found {_PICKLED_WEIGHTS}, which holds "
            f"pickled objects that can run code; save the model again with h5py installed"
        )
    first = ", ".join(shown(name) for name in list(members)[:5]) or "nothing"
    return KerasFileError(
        f"{where}: expected a .keras zip with {_CONFIG} and {_WEIGHTS}, found a zip of {first}; "
        f"give the file that model.save('name.keras') wrote"
    )


def _inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int, where: str) -> bytes:
    """The bytes of a member; its declared size is a promise that zipfile holds it to."""
    _check_expansion(info, limit, where)
    pieces = []
    with archive.open(info) as member:
        while piece := member.read(_SLICE):
            pieces.append(piece)
    return b"".join(pieces)


def _check_expansion(info: zipfile.ZipInfo, limit: int, where: str) -> None:
    name = shown(info.filename)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise KerasFileError(
            f"{where}: expected {name} stored or deflated, found compression method "
            f"{info.compress_type}; zip it again with either"
        )
    allowed = max(_FREE_BYTES, _MOST_INFLATION * info.compress_size)
    if info.file_size > min(limit, allowed):
        raise KerasFileError(
            f"{where}: expected {name} to unpack to at most {min(limit, allowed)} bytes, "
            f"found {info.file_size} from {info.compress_size}; do not trust this file"
        )


def _weights(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Window, where: str) -> Window:
    """The weights where they lie; deflated ones are unpacked as they are read."""
    stored = info.compress_type == zipfile.ZIP_STORED
    if not stored:
        _check_expansion(info, _LARGEST_INFLATED, where)
    source.seek(info.header_offset)
    signature, *_, name_length, extra_length = _LOCAL_HEADER.unpack(source.read(_LOCAL_HEADER.size))
    name = source.read(name_length)
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    inside = start + info.compress_size <= archive.start_dir
    whole = info.file_size == info.compress_size or not stored
    if signature != b"PK\3\4" or name != info.filename.encode() or not (inside and whole):
        raise KerasFileError(
            f"{where}: expected {shown(info.filename)} where the zip's directory says, found "
            f"other bytes; the file is damaged or cut short: fetch or save it again"
        )
    window = Window(source.file, source.start + start, info.compress_size)
    if not stored:
        window = Window(Inflated(window, info.file_size), 0, info.file_size)
    _check_sum(window, info.CRC, where)
    return window


def _check_sum(window: Window, expected: int, where: str) -> None:
    found = 0
    while piece := window.read(_SLICE):
        found = zlib.crc32(piece, found)
    window.seek(0)
    if found != expected:
        raise KerasFileError(
            f"{where}: expected weights with checksum {expected:08x}, found {found:08x}; "
            f"the file is damaged: fetch or save it again"
        )
