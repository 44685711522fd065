"""Changes to what an HDF5 file says, made with h5py itself: valid files that are no models."""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SECRET = 1234.5  # what the files beside the mutated one hold: no array may ever show it
NAMES = (
    *("0", "1", "2", "01", "-1", "9999999", "99999999", "vars", "cell", "layers", "optimizer"),
    *("metrics", "kernel", "lstm", "lstm_1", "dense", "x", "é", "\udcff", "..", "a" * 70_000),
    *("model_weights", "seed_generator", "bidirectional", "forward_layer"),
)
LISTED = (b"", b".", b"..", b"../x", b"/", b"a/" * 70, b"a" * 5000, b"\xff", b"a\0b", b"kernel:0")
SHAPES = (
    *((2**20, 2**20), (2**31,), (2**40,), (2**61,), (2**32 - 1, 3), (2**16,) * 4, (0, 2**40)),
    *((2**60, 0), (0,), (), (1,) * 7, (1,) * 32, (3, 2**25), (2**28,)),
)
DTYPES = (
    *("f2", "f8", ">f4", "i1", "u1", "i4", "u8", ">i2", "?", "c8", "S4", "V2", "V5", "V4", "f4"),
    *(h5py.string_dtype(), h5py.vlen_dtype(np.float32), h5py.ref_dtype, h5py.regionref_dtype),
    *(h5py.enum_dtype({"A": 0, "B": 1}), np.dtype([("a", "f4"), ("b", "f4")])),
    *(np.dtype(("f4", (2**8,))), np.dtype(("f4", (2, 3))), np.dtype([("a", "f4", (2**6,))])),
)
FILTERS: tuple[dict[str, Any], ...] = (
    *({"fletcher32": True}, {"compression": "lzf"}, {"shuffle": True}, {"scaleoffset": 3}),
    *({"compression": "gzip"}, {"compression": "gzip", "shuffle": True}, {"maxshape": None}),
)


@dataclass(frozen=True)
class Contents:
    """The paths in an HDF5 file: groups, arrays, and (owner, name) of attributes."""

    groups: Sequence[str]
    arrays: Sequence[str]
    attributes: Sequence[tuple[str, str]]


def contents_of(data: bytes) -> Contents:
    """Returns what there is to change in a file."""
    groups, arrays = ["/"], []
    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(
            lambda path, found: (arrays if isinstance(found, h5py.Dataset) else groups).append(path)
        )
        attributes = [(path, name) for path in groups + arrays for name in file[path].attrs]
    return Contents(groups, arrays, attributes)


def mutate_structure(data: bytes, rng: random.Random, contents: Contents, secrets: Path) -> bytes:
    """Returns the file with one to three changes; a change that h5py refuses is left out.

    Args:
        data: The file.
        rng: Where chance comes from.
        contents: What the file holds.
        secrets: A folder with the files of ``write_secrets``.
    """
    buffer = io.BytesIO(data)
    try:
        with h5py.File(buffer, "r+") as file:
            for _ in range(rng.choice((1, 1, 2, 3))):
                change = rng.choice(_CHANGES)
                try:
                    change(file, rng, contents, secrets)
                except Exception:  # what h5py cannot write, or an earlier change took away
                    continue
    except Exception:  # at closing
        return data
    return buffer.getvalue()


def write_secrets(folder: Path) -> None:
    """Writes files that a hostile model may point to: no load may reach them."""
    values = np.full(2**16, SECRET, np.float32)
    values.tofile(folder / "secret.bin")
    with h5py.File(folder / "secret.h5", "w") as file:
        file["x"] = values
        file["group/vars/0"] = values


def libver_latest(data: bytes) -> bytes:
    """Returns the same file in the newest form of HDF5's structures, which have checksums."""
    buffer = io.BytesIO()
    with (
        h5py.File(io.BytesIO(data), "r") as old,
        h5py.File(buffer, "w", libver="latest") as new,
    ):
        for name in old:
            old.copy(name, new)
        for name in old.attrs:
            attribute = old.attrs.get_id(name)
            new.attrs.create(name, old.attrs[name], dtype=attribute.dtype)
    return buffer.getvalue()


def _another_array(file: h5py.File, rng: random.Random, contents: Contents, _: Path) -> None:
    """Another type, shape, storage or filter, with data to fit."""
    path, values = _taken(file, rng, contents)
    how = rng.randrange(7)
    if how == 0:
        dtype = rng.choice(DTYPES)
        file.create_dataset(path, values.shape, dtype)
    elif how == 1:
        with np.errstate(invalid="ignore"):
            file.create_dataset(path, data=values.astype(rng.choice(DTYPES[:11])))
    elif how == 2:
        reshaped = (values.ravel(), values.T, values[None], values[..., :-1], values.repeat(2))
        file.create_dataset(path, data=rng.choice(reshaped))
    elif how == 3:
        file.create_dataset(path, data=values, chunks=True, **rng.choice(FILTERS))
    elif how == 4:
        values.flat[rng.randrange(values.size)] = rng.choice((np.nan, np.inf, 1e38, -0.0))
        file.create_dataset(path, data=values)
    elif how == 5:
        file[path] = rng.choice((h5py.Empty("f4"), np.float32(1), np.dtype("f4")))
    else:  # a chunk that was never written
        made = file.create_dataset(path, values.shape, values.dtype, chunks=(1,) * values.ndim)
        made[(0,) * values.ndim] = 1


def _bomb(file: h5py.File, rng: random.Random, contents: Contents, _: Path) -> None:
    """An array that is far larger than the file."""
    path, values = _taken(file, rng, contents)
    how = rng.randrange(4)
    if how == 0:
        file.create_dataset(path, rng.choice(SHAPES), rng.choice(DTYPES))
    elif how == 1:
        shape = rng.choice(SHAPES)
        chunks = tuple(min(size, 64) or 1 for size in shape)
        file.create_dataset(path, shape, "f4", chunks=chunks, compression=rng.choice((None, 9)))
    elif how == 2:
        zeros = np.zeros(rng.choice((2**14, 2**16, 2**18)), np.float32)
        file.create_dataset(path, data=zeros, chunks=zeros.shape, compression=9)
    else:
        big = (rng.choice((2**20, 2**26, 2**29)),)
        file.create_dataset(path, values.shape, "f4", chunks=big[: values.ndim], maxshape=(None,))


def _elsewhere(file: h5py.File, rng: random.Random, contents: Contents, secrets: Path) -> None:
    """Data or a name in another place, most of them in another file."""
    how = rng.randrange(7)
    if how < 3:
        path, values = _taken(file, rng, contents)
    else:
        path, values = rng.choice(contents.groups[1:]), np.zeros(4, np.float32)
    if how == 0:
        where = str(secrets / "secret.bin")
        file.create_dataset(path, values.shape, "f4", external=[(where, 0, values.nbytes)])
    elif how == 1:
        layout = h5py.VirtualLayout(values.shape, "f4")
        source = h5py.VirtualSource(str(secrets / "secret.h5"), "x", (2**16,))
        layout[:] = source[: values.size] if values.ndim == 1 else 0
        file.create_virtual_dataset(path, layout)
    elif how in (2, 3):
        if path in file:
            del file[path]
        name = rng.choice(("/x", "/group", "/"))
        file[path] = h5py.ExternalLink(str(secrets / "secret.h5"), name)
    elif how == 4:
        target = rng.choice((*contents.arrays, *contents.groups, "/nowhere", path))
        del file[path]
        file[path] = h5py.SoftLink(f"/{target.lstrip('/')}")
    else:  # one object under two names, or within itself
        target = file[rng.choice((*contents.arrays, *contents.groups))]
        if rng.random() < 0.5:
            del file[path]
            file[path] = target
        else:
            file[f"{path}/{_name(rng)}"] = target


def _other_names(file: h5py.File, rng: random.Random, contents: Contents, _: Path) -> None:
    """Things moved, renamed, dropped, added, or nested too deep."""
    path = rng.choice((*contents.groups[1:], *contents.arrays))
    how = rng.randrange(6)
    parent = path.rpartition("/")[0]
    if how == 0:
        del file[path]
    elif how == 1:
        file.move(path, f"{parent}/{_name(rng)}")
    elif how == 2:
        file.move(path, rng.choice((*contents.groups, *contents.arrays)) + "/" + _name(rng))
    elif how == 3:
        file[f"{parent}/{_name(rng)}"] = np.ones(rng.choice((0, 1, 5)), np.float32)
    elif how == 4:
        file.create_group(f"{parent}/" + "a/" * rng.choice((1, 20, 61, 63, 200)))
    else:
        for k in range(rng.choice((1, 10, 300))):
            file.create_group(f"{parent}/lstm_{k}/vars" if rng.random() < 0.5 else f"{parent}/{k}")


def _attribute(file: h5py.File, rng: random.Random, contents: Contents, _: Path) -> None:
    """Another value, type or list of names."""
    if contents.attributes and rng.random() < 0.9:
        path, name = rng.choice(contents.attributes)
    else:
        path, name = rng.choice((*contents.arrays, *contents.groups)), "dtype"
    owner = file[path]
    values = owner.attrs.get(name)
    if name in owner.attrs:
        del owner.attrs[name]
    if rng.random() < 0.5 and isinstance(values, np.ndarray):
        _write_list(owner, name, [v.encode() if isinstance(v, str) else v for v in values], rng)
    else:
        _write_value(owner, name, values, rng)


def _write_list(owner: Any, name: str, values: list, rng: random.Random) -> None:
    how = rng.randrange(6)
    if how == 0:
        rng.shuffle(values)
    elif how == 1 and values:
        values.append(rng.choice(values))
    elif how == 2 and values:
        del values[rng.randrange(len(values))]
    elif how == 3:
        values.insert(rng.randrange(len(values) + 1), rng.choice(LISTED))
    elif how == 4:
        values *= rng.choice((2, 1000, 30_000))
    if how == 5:
        for k, value in enumerate(values):
            owner.attrs[f"{name}{k}"] = [value]
    elif rng.random() < 0.5:
        owner.attrs.create(name, np.array(values, dtype=object), dtype=h5py.string_dtype())
    else:
        owner.attrs[name] = values


def _write_value(owner: Any, name: str, values: Any, rng: random.Random) -> None:
    how = rng.randrange(7)
    if how == 0:
        owner.attrs.create(name, 0, rng.choice(((), (0,), (3,), (1, 1))), rng.choice(DTYPES))
    elif how == 1:
        owner.attrs[name] = h5py.Empty(rng.choice(DTYPES[:6]))
    elif how == 2:
        text = rng.choice(
            (b"", b"\xff\xfe", b"{}", b"bfloat16", b"3.9.0", b"9" * 5000, b"x" * 60_000)
        )
        owner.attrs[name] = text.decode(errors="surrogateescape") if rng.random() < 0.5 else text
    elif how == 3:
        owner.attrs[name] = rng.choice((np.arange(5), np.float32(1), [[b"a", b"b"]], [b"a"] * 3))
    elif how == 4:
        owner.attrs[name] = rng.choice(("jax", "theano", "1.0", "2.2.2", "3.0.0", "99.0", "x.y"))
    elif how == 5:
        owner.attrs.create(name, owner.file.ref, dtype=h5py.ref_dtype)
    # else: the attribute is gone


def _name(rng: random.Random) -> str:
    return rng.choice(NAMES)


def _taken(file: h5py.File, rng: random.Random, contents: Contents) -> tuple[str, np.ndarray]:
    """An array, taken out of the file."""
    path = rng.choice(contents.arrays)
    values = np.atleast_1d(file[path][()])
    del file[path]
    if (values == SECRET).any():  # an earlier change made h5py read it, no load
        values = np.zeros_like(values)
    return path, values


_CHANGES: tuple[Callable[[h5py.File, random.Random, Contents, Path], None], ...] = (
    *(_another_array, _another_array, _another_array, _bomb, _bomb),
    *(_elsewhere, _elsewhere, _other_names, _other_names, _attribute, _attribute),
)
