"""Which files are changed, and how: every case follows from a format, a seed and a number."""

import io
import json
import random
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from jrnn.keras_loader.load import load_architecture
from jrnn.keras_loader.read import open_keras
from jrnn.model.graph import Model
from tests.fuzz.byte_mutations import Layout, layout_of, mutate_bytes, signed_spots
from tests.fuzz.config_mutations import mutated_text, places
from tests.fuzz.hdf5_mutations import Contents, contents_of, libver_latest, mutate_structure
from tests.fuzz.zip_mutations import mutate_zip, packed

DATA = Path(__file__).parents[1] / "data"
FORMATS = ("keras", "weights", "h5")
# Small files that differ in writer, layers or graph.
KERAS = (
    *("keras-3.0.5-jax/lstm_last", "keras-3.15-jax/op_nodes", "keras-3.15-jax/stacked_cells_state"),
    *("keras-3.15-jax/convlstm2d_channels_first", "keras-3.15-jax/bidir_backward_layer"),
    *("keras-3.15-jax/dict_inputs_outputs", "keras-3.6-jax/embedding2d_mask_td_lstm"),
    *("tf.keras-2.12/lstm_last", "tf.keras-2.15/td_masking_lstm", "tf_keras-2.21/seq2seq_lstm"),
)
LEGACY = (
    *("keras-1.0.8-theano/gru_gpu", "keras-1.0.8-theano/shared_merge", "keras-1.2.2-tf/lstm_mem"),
    *(
        "keras-2.0.2/convlstm2d_default",
        "keras-2.0.8/seq2seq_lstm",
        "keras-2.1.6-tf/td_of_masked_td",
    ),
    *("keras-2.2.4/cudnn_lstm_gru", "keras-2.2.4/rnn_cells", "keras-3.15-jax/lstm_last"),
    *("tf.keras-2.3/lstm_seq_state", "tf_keras-2.21/bidir_initial_state"),
)
LEGACY_WEIGHTS = (
    "keras-1.2.2-tf/gru_cpu",
    "keras-2.2.4/cudnn_lstm_gru",
    "tf_keras-2.21/seq2seq_lstm",
)
KINDS = ("bytes", "structure", "both", "config", "zip")
_CHANCES = {  # of each kind, in that order
    "keras": (35, 10, 5, 20, 30),
    "weights": (70, 20, 10, 0, 0),
    "h5": (60, 12, 5, 23, 0),
}


@dataclass(frozen=True)
class Fixture:
    """A sound file, and what the mutations need to know of it.

    Attributes:
        name: Where it comes from.
        data: The whole file.
        hdf5: The HDF5 file: the same, or the weights member of a zip.
        layout: Of ``hdf5``.
        contents: Of ``hdf5``.
        config: The architecture, or None where the file has none.
        paths: Of every value in ``config``.
        members: Of the zip, if it is one.
        model: What to load weights alone with.
    """

    name: str
    data: bytes
    hdf5: bytes
    layout: Layout
    contents: Contents
    config: dict | None = None
    paths: Sequence[tuple] = ()
    members: Mapping[str, bytes] | None = None
    model: Model | None = None


class Case(NamedTuple):
    """One mutated file."""

    kind: str  # one of KINDS
    fixture: Fixture
    data: bytes


def fixtures(file_format: str) -> list[Fixture]:
    """Returns the sound files of a format; every third also with HDF5's newest structures."""
    if file_format == "keras":
        return [_zip_fixture(name) for name in KERAS]
    if file_format == "weights":
        found = [_inside(name) for name in KERAS]
    else:
        found = [_legacy(name) for name in LEGACY] + [_legacy_weights(n) for n in LEGACY_WEIGHTS]
    return found + [_renewed(fixture) for fixture in found[::3]]


def make(file_format: str, found: Sequence[Fixture], seed: int, number: int, secrets: Path) -> Case:
    """Returns case ``number`` of a run."""
    rng = random.Random(f"{file_format} {seed} {number}")
    fixture = rng.choice(found)
    others = [one.hdf5 for one in found]
    kind = rng.choices(KINDS, _CHANCES[file_format])[0]
    if kind == "config" and fixture.config is None:
        kind = "bytes"
    if kind == "config":
        text = mutated_text(fixture.config or {}, rng, list(fixture.paths))
        return Case(kind, fixture, _with_config(fixture, text, rng))
    if kind == "zip":
        members = fixture.members or {}
        if rng.random() < 0.7:
            return Case(kind, fixture, mutate_zip(members, rng))
        outside = Layout(signed_spots(fixture.data))
        return Case(
            kind, fixture, mutate_bytes(fixture.data, rng, outside, [fixture.data, *others])
        )
    hdf5 = fixture.hdf5
    if kind in ("structure", "both"):
        hdf5 = mutate_structure(hdf5, rng, fixture.contents, secrets)
    if kind == "both":
        hdf5 = mutate_bytes(hdf5, rng, Layout(signed_spots(hdf5)), others)
    if kind == "bytes":
        hdf5 = mutate_bytes(hdf5, rng, fixture.layout, others)
    if fixture.members is not None:
        hdf5 = packed({**fixture.members, "model.weights.h5": hdf5}, rng)
    return Case(kind, fixture, hdf5)


def _with_config(fixture: Fixture, text: bytes, rng: random.Random) -> bytes:
    if fixture.members is not None:
        return packed({**fixture.members, "config.json": text}, rng)
    buffer = io.BytesIO(fixture.hdf5)
    with h5py.File(buffer, "r+") as file:
        del file.attrs["model_config"]
        if rng.random() < 0.5 and b"\0" not in text:
            file.attrs.create("model_config", text, dtype=h5py.string_dtype())
        else:
            file.attrs["model_config"] = np.bytes_(
                text[:60_000]
            )  # HDF5 keeps a longer one elsewhere
    return buffer.getvalue()


def _zip_fixture(name: str) -> Fixture:
    data = (DATA / f"{name}.keras").read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    hdf5, config = members["model.weights.h5"], json.loads(members["config.json"])
    layout, contents = layout_of(hdf5), contents_of(hdf5)
    return Fixture(name, data, hdf5, layout, contents, config, list(places(config)), members)


def _inside(name: str) -> Fixture:
    """The weights alone out of a zip."""
    whole = _zip_fixture(name)
    model = _model(DATA / f"{name}.keras")
    return Fixture(
        f"{name}.weights", whole.hdf5, whole.hdf5, whole.layout, whole.contents, model=model
    )


def _legacy(name: str) -> Fixture:
    data = (DATA / f"{name}.h5").read_bytes()
    with h5py.File(io.BytesIO(data)) as file:
        config = json.loads(file.attrs["model_config"])
    return Fixture(
        name, data, data, layout_of(data), contents_of(data), config, list(places(config))
    )


def _legacy_weights(name: str) -> Fixture:
    data = (DATA / f"{name}_weights.h5").read_bytes()
    model = _model(DATA / f"{name}.json")
    return Fixture(f"{name}_weights", data, data, layout_of(data), contents_of(data), model=model)


def _model(path: Path) -> Model:
    with open_keras(path) as file:
        return load_architecture(file, file, None)[0]


def _renewed(old: Fixture) -> Fixture:
    data = libver_latest(old.hdf5)
    name = f"{old.name}, newest HDF5"
    layout, contents = layout_of(data), contents_of(data)
    return Fixture(name, data, data, layout, contents, old.config, old.paths, model=old.model)
