"""What a model file may do to its reader: be one of the kinds known, or be refused in one line."""

import io
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest

from jrnn.keras_loader.inflated import Inflated
from jrnn.keras_loader.read import (
    KerasFileError,
    LegacyWeights,
    ObjectWeights,
    StoredArray,
    open_keras,
)
from jrnn.keras_loader.window import Window

DATA = Path(__file__).parents[1] / "data"
CONFIG = {"class_name": "Sequential", "config": {"layers": []}}


def all_arrays(weights) -> list[StoredArray]:
    groups = weights.layers if isinstance(weights, LegacyWeights) else weights.objects
    return [array for arrays in groups.values() for array in arrays]


def refusal(path) -> str:
    """The message with which a file is refused, at opening or at reading."""
    with pytest.raises(KerasFileError) as caught:  # noqa: PT012, SIM117 - either step may
        with open_keras(path) as file:
            for array in all_arrays(file.weights):
                array.read()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1500
    assert Path(path).name in message
    return message


def write_legacy(path, edit=None, **root):
    """A Keras 2 weights file with one LSTM, changed by `edit(file)`."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([b"drop", b"rnn/lstm"])
        file.attrs["keras_version"] = b"2.2.4"
        file.attrs["backend"] = "tensorflow"
        file.create_group("drop").attrs["weight_names"] = np.array([])
        layer = file.create_group("rnn/lstm")
        layer.attrs["weight_names"] = np.array([b"rnn/lstm/kernel:0", b"rnn/lstm/bias:0"])
        layer["rnn/lstm/kernel:0"] = np.arange(8, dtype=np.float32).reshape(2, 4)
        layer["rnn/lstm/bias:0"] = np.ones(4, np.float32)
        file.attrs.update(root)
        if edit is not None:
            edit(file)
    return path


def write_v3(path, edit=None):
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        lstm = file.create_group("layers/lstm/cell/vars")
        file.create_group("layers/lstm/vars").attrs["name"] = "zeta"
        for k in range(12):
            lstm[str(k)] = np.full((k + 1,), k, np.float32)
        if edit is not None:
            edit(file)
    return path


def write_zip(path, members=(), compression=zipfile.ZIP_STORED, weights=None):
    weights = weights or write_v3(path.with_suffix(".inner.h5")).read_bytes()
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("model.weights.h5", weights)
        for name, data in members:
            archive.writestr(name, data)
    return path


# ---------------------------------------------------------------------------- the kinds of file


@pytest.mark.parametrize(
    ("name", "kind", "class_name", "version", "backend", "arrays"),
    [
        ("keras-3.15-jax/lstm_last.keras", "keras", "Functional", "3.15.1", None, 3),
        ("keras-3.15-jax/dtype_bfloat16.keras", "keras", "Functional", "3.15.1", None, 11),
        ("keras-3.15-jax/dtype_bfloat16.h5", "legacy", "Functional", "3.15.1", "jax", 11),
        ("keras-3.15-jax/numbering_vs_names.weights.h5", "weights", None, None, None, 9),
        ("keras-3.15-jax/sharded.weights.json", "sharded", None, None, None, 11),
        ("keras-3.15-jax/embed_mask_lstm_dense.json", "config", "Sequential", None, None, 0),
        ("keras-1.0.8-theano/gru_cpu_weights.h5", "legacy_weights", None, None, None, 18),
        ("keras-2.2.4/cudnn_lstm_gru.h5", "legacy", "Model", "2.2.4", "tensorflow", 6),
        (
            "tf.keras-2.12/lstm_last_hdf5inside.keras",
            "legacy",
            "Functional",
            "2.12.0",
            "tensorflow",
            3,
        ),
        ("tf.keras-2.12/timedistributed.weights.h5", "weights", None, None, None, 8),
    ],
)
def test_real_files(name, kind, class_name, version, backend, arrays):
    with open_keras(DATA / name) as file:
        found = file.config["class_name"] if file.config else None
        assert (file.kind, file.keras_version, file.backend) == (kind, version, backend)
        assert found == class_name
        read = [] if file.weights is None else [a.read() for a in all_arrays(file.weights)]
        assert len(read) == arrays
        assert all(np.isfinite(values.astype(np.float64)).all() for values in read)
        assert all(np.asarray(values).any() for values in read)


def test_same_values_as_h5py():
    with open_keras(DATA / "keras-3.15-jax/lstm_last.keras") as file:
        mine = {a.path: a.read() for a in all_arrays(file.weights)}
    with (
        zipfile.ZipFile(DATA / "keras-3.15-jax/lstm_last.keras") as archive,
        archive.open("model.weights.h5") as member,
        h5py.File(member) as h5,
    ):
        for path, values in mine.items():
            np.testing.assert_array_equal(values, h5[path][()])
            assert values.dtype == np.float32


def test_legacy_order_and_names_with_slashes(tmp_path):
    with open_keras(write_legacy(tmp_path / "w.h5")) as file:
        weights = file.weights
        assert isinstance(weights, LegacyWeights)
        assert list(weights.layers) == ["drop", "rnn/lstm"]
        assert weights.layers["drop"] == ()
        kernel, bias = weights.layers["rnn/lstm"]
        assert (kernel.path, kernel.shape, kernel.dtype) == ("rnn/lstm/kernel:0", (2, 4), "float32")
        assert bias.path == "rnn/lstm/bias:0"
        np.testing.assert_array_equal(kernel.read(), np.arange(8.0).reshape(2, 4))
        assert (weights.keras_version, weights.backend) == ("2.2.4", "tensorflow")


def test_group_without_version_is_keras_1(tmp_path):
    path = write_legacy(tmp_path / "w.h5", lambda f: f.attrs.pop("keras_version"))
    with open_keras(path) as file:
        assert file.weights.keras_version is None


@pytest.mark.parametrize("text", [bytes, str])
def test_chunked_attributes(tmp_path, text):
    def edit(file):
        names = [f"layer_with_a_long_name_{k}" for k in range(50)]
        del file.attrs["layer_names"]
        for k, part in enumerate(np.array_split(np.array(names, dtype=object), 3)):
            kind = h5py.string_dtype() if text is str else "S40"
            file.attrs.create(f"layer_names{k}", part, dtype=kind)
        for k, name in enumerate(names):
            group = file.create_group(name)
            group.attrs["weight_names0"] = [f"w{k}".encode()]
            group.attrs["weight_names1"] = ["ü"]
            group[f"w{k}"], group["ü"] = np.float32(k), np.zeros(0, np.float32)

    with open_keras(write_legacy(tmp_path / "w.h5", edit)) as file:
        layers = file.weights.layers
        assert list(layers) == [f"layer_with_a_long_name_{k}" for k in range(50)]
        assert [a.path for a in layers["layer_with_a_long_name_7"]] == ["w7", "ü"]
        assert layers["layer_with_a_long_name_7"][0].read() == 7


def test_top_level_model_weights_is_no_layer(tmp_path):
    path = write_legacy(tmp_path / "w.h5", lambda f: f.create_group("top_level_model_weights"))
    with open_keras(path) as file:
        assert list(file.weights.layers) == ["drop", "rnn/lstm"]


def test_v3_order_names_and_skipped_state(tmp_path):
    def edit(file):
        for place in ("optimizer", "layers/lstm/optimizer", "layers/lstm/cell/seed_generator"):
            file[f"{place}/vars/0"] = np.array([1, 2], np.uint32)
        file["layers/metrics/vars/0"] = np.zeros(1)  # a layer of a class called Metrics

    with open_keras(write_v3(tmp_path / "w.h5", edit)) as file:
        weights = file.weights
        assert isinstance(weights, ObjectWeights)
        assert set(weights.objects) == {"layers/lstm/cell", "layers/metrics"}
        assert [int(a.read()[0]) for a in weights.objects["layers/lstm/cell"]] == list(range(12))
        assert weights.objects["layers/lstm/cell"][10].path == "layers/lstm/cell/vars/10"
        assert weights.container == "layers"


def test_container_of_tensorflow_2_12():
    with open_keras(DATA / "tf.keras-2.12/timedistributed.weights.h5") as file:
        assert file.weights.container == "_layer_checkpoint_dependencies"
        assert all(p.startswith("_layer_checkpoint_dependencies/") for p in file.weights.objects)


@pytest.mark.parametrize("name", ["dtype_bfloat16.keras", "dtype_bfloat16.h5"])
def test_bfloat16(name):
    with open_keras(DATA / "keras-3.15-jax" / name) as file:
        kernel = next(a for a in all_arrays(file.weights) if a.dtype == "bfloat16")
        values = kernel.read()
    assert values.dtype == ml_dtypes.bfloat16
    assert 0 < np.abs(values.astype(np.float32)).max() < 10


def test_big_endian_and_compressed(tmp_path):
    values = np.arange(6000.0).reshape(60, 100)

    def edit(file):
        place = file["layers/lstm/cell/vars"]
        place.create_dataset("12", data=values.astype(">f4"))
        place.create_dataset("13", data=values, compression="gzip", shuffle=True, chunks=(7, 30))

    with open_keras(write_v3(tmp_path / "w.h5", edit)) as file:
        big, packed = file.weights.objects["layers/lstm/cell"][12:]
        assert (big.dtype, packed.dtype) == ("float32", "float64")
        assert big.read().dtype == np.dtype(np.float32)
        np.testing.assert_array_equal(big.read(), values)
        np.testing.assert_array_equal(packed.read(), values)


def test_json_with_nan_and_byte_order_mark(tmp_path):
    path = tmp_path / "m.json"
    path.write_bytes(b'\xef\xbb\xbf\n{"class_name": "A", "config": [NaN, -Infinity, "[[{"]}')
    with open_keras(path) as file:
        assert file.config["config"][1] == -np.inf


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_stored_or_deflated(tmp_path, compression):
    with open_keras(write_zip(tmp_path / "m.keras", compression=compression)) as file:
        assert (file.kind, file.keras_version) == ("keras", "3.9.0")
        assert [int(a.read()[0]) for a in all_arrays(file.weights)] == list(range(12))


def test_stored_weights_are_not_copied(tmp_path):
    inner = write_v3(
        tmp_path / "w.h5", lambda f: f.create_dataset("layers/big/vars/0", data=np.ones(2**22))
    )
    path = write_zip(tmp_path / "m.keras", weights=inner.read_bytes())
    tracemalloc.start()
    with open_keras(path) as file:
        at_opening = tracemalloc.get_traced_memory()[1]
        assert file.weights.objects["layers/big"][0].read().sum() == 2**22
    tracemalloc.stop()
    assert at_opening < 6 * 2**20 < path.stat().st_size


def test_arrays_only_inside_the_block():
    with open_keras(DATA / "keras-2.2.4/cudnn_lstm_gru.h5") as file:
        array = all_arrays(file.weights)[0]
        assert array.read().shape == array.shape
    with pytest.raises(KerasFileError, match="inside the with-block"):
        array.read()


def test_errors_of_the_caller_pass_through_and_the_file_is_closed(tmp_path):
    path = write_legacy(tmp_path / "w.h5")
    with pytest.raises(ZeroDivisionError), open_keras(path):
        1 / 0  # noqa: B018
    with h5py.File(path, "r+") as file:
        file.attrs["x"] = 1


# ---------------------------------------------------------------------------------- not a model


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty file"),
        (b"\x89HDF\r\n\x1a\n", "damaged or cut short"),
        (b"PK\x03\x04", "damaged or cut short"),
        (b"PK\x05\x06" + bytes(18), "found a zip of nothing"),
        (bytes(range(200, 256)), "found bytes"),
        (b"\x80\x04\x95", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "page"),
        (b"{", "damaged or cut short"),
        (b'{"a": 1}', "not a Keras architecture"),
        (b'{"class_name": "A", "config": 3}', "not a Keras architecture"),
        (b'{"class_name": "A", "config": {}, "keras_version": 3}', "expected text"),
        (b'{"class_name": "\xff", "config": {}}', "UnicodeDecodeError"),
        (b'{"a":' * 100_000, "nested at most"),
        (b'{"a": ' + b"[" * 250 + b"]" * 250 + b"}", "nested at most"),
        (b'{"a": [' + b"[]," * 300_000 + b"[]]}", "JSON values"),
        (b'{"a": ' + b"1" * 10_000 + b"}", "ValueError"),
    ],
)
def test_not_a_model(tmp_path, data, match):
    path = tmp_path / "m.keras"
    path.write_bytes(data)
    assert match in refusal(path)


def test_brackets_in_strings_are_not_depth(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"class_name": 'a"\\' + "[" * 999, "config": {}}))
    with open_keras(path) as file:
        assert file.config["class_name"].endswith("[" * 999)


def test_missing_folder_and_pipe(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.h5")
    assert "give the path of the file" in refusal(tmp_path)
    (tmp_path / "config.json").touch()
    assert "unpacked .keras" in refusal(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    assert "SavedModel" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in refusal(tmp_path / "pipe")
    with pytest.raises(KerasFileError, match="null"), open_keras("a\0b"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = write_legacy(tmp_path / "w.h5")
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_hdf5_that_is_no_model(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.ones(3)
    assert "with neither" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["nb_layers"] = 3
    assert "Keras 0.x" in refusal(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(CONFIG)
    assert "'model_weights'" in refusal(tmp_path / "c.h5")


# -------------------------------------------------------------------------------- hostile HDF5


def put_link(link):
    def edit(file):
        del file["layers/lstm/cell/vars/3"]
        file["layers/lstm/cell/vars/3"] = link

    return edit


def put_array(**options):
    def edit(file):
        del file["layers/lstm/cell/vars/3"]
        file["layers/lstm/cell/vars"].create_dataset("3", **options)

    return edit


def put_virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    del file["layers/lstm/cell/vars/3"]
    file.create_virtual_dataset("layers/lstm/cell/vars/3", layout)


def put_missing_chunk(file):
    del file["layers/lstm/cell/vars/3"]
    place = file["layers/lstm/cell/vars"]
    place.create_dataset("3", (128,), "f4", chunks=(64,), compression="gzip")[:64] = 1


def put_named_type(file):
    del file["layers/lstm/cell/vars/3"]
    file["layers/lstm/cell/vars/3"] = np.dtype("f4")


COMPOUND = np.zeros(3, [("a", "f4"), ("b", "f4")])
HUGE = (2**20, 2**20)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (put_link(h5py.SoftLink("/layers/lstm/cell/vars/2")), "expected a hard link"),
        (put_link(h5py.ExternalLink("other.h5", "/x")), "expected a hard link"),
        (put_virtual, "external or virtual storage"),
        (put_named_type, "expected an array"),
        (put_array(shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)]), "external or vir"),
        (put_array(shape=HUGE, dtype="f4"), "expected 4398046511104 stored bytes"),
        (put_array(shape=HUGE, dtype="f4", chunks=(64, 64)), "lies about its shape"),
        (put_array(shape=(4,), maxshape=(None,), chunks=(2**20,), dtype="f4"), "lies about"),
        (put_array(data=np.zeros(2**24, "f4"), compression="gzip"), "lies about its shape"),
        (put_missing_chunk, "expected 2 chunks for 512 bytes, found 1"),
        (put_array(data=np.ones(9, "f4"), fletcher32=True), "HDF5 filters [3]"),
        (put_array(data=np.ones(9, "f4"), compression="lzf"), "HDF5 filters [32000]"),
        (put_array(data=["text"], dtype=h5py.string_dtype()), "array of numbers"),
        (put_array(data=np.array([b"abcd"])), "array of numbers"),
        (put_array(data=COMPOUND), "array of numbers"),
        (put_array(data=np.ones(3, "c8")), "array of numbers"),
        (put_array(data=np.ones(3, bool)), "array of numbers"),
        (put_array(data=np.zeros(3, "V5")), "array of numbers"),
        (put_array(shape=(3,), dtype=h5py.vlen_dtype(np.float32)), "array of numbers"),
        (put_array(shape=(3,), dtype=h5py.ref_dtype), "array of numbers"),
        (put_array(data=np.ones((1,) * 7)), "rank 7"),
        (put_array(data=h5py.Empty("f4")), "no shape"),
        (lambda f: f.__delitem__("layers/lstm/cell/vars/3"), "variables 0..10"),
        (lambda f: f["layers/lstm/cell/vars"].create_dataset("kernel", data=1.0), "named 0, 1"),
        (lambda f: f["layers/lstm/cell/vars"].create_group("12"), "expected an array"),
        (lambda f: f["layers"].create_dataset("gru", data=1.0), "expected a group"),
        (lambda f: f["layers/lstm"].__setitem__("cell2", f["layers/lstm/cell"]), "reached twice"),
        (lambda f: f["layers/lstm"].__setitem__("again", f["layers"]), "reached twice"),
        (lambda f: f["layers"].__setitem__("soft", h5py.SoftLink("/vars")), "a hard link"),
        (lambda f: f.create_group("layers/" + "a/" * 100), "at most 62 deep"),
        (lambda f: [f.create_group(f"layers/x{k}") for k in range(16_400)], "at most 16384"),
        (
            lambda f: f["layers/lstm/cell/vars/3"].attrs.__setitem__("dtype", "float8_e4m3fn"),
            "number format",
        ),
    ],
)
def test_hostile_v3(tmp_path, edit, match):
    assert match in refusal(write_v3(tmp_path / "w.h5", edit))


def test_root_container_may_not_be_a_link(tmp_path):
    target = write_v3(tmp_path / "target.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(target), "/layers")
    assert "hard link" in refusal(tmp_path / "w.h5")


def relink(place):
    def edit(file):
        file.move(place, "elsewhere")
        file[place] = h5py.SoftLink("/elsewhere")

    return edit


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (relink("rnn"), "expected a hard link"),
        (relink("rnn/lstm/rnn/lstm"), "expected a hard link"),
        (relink("rnn/lstm/rnn/lstm/bias:0"), "expected a hard link"),
        (lambda f: f.__delitem__("drop"), "found no group"),
        (lambda f: f.__delitem__("rnn/lstm/rnn/lstm/bias:0"), "expected an array"),
        (lambda f: f["rnn/lstm"].attrs.__delitem__("weight_names"), "no such list"),
        (lambda f: f.attrs.__setitem__("layer_names", [b"drop", b"drop"]), "twice"),
        (lambda f: f.attrs.__setitem__("layer_names", [b"drop", b""]), "1 to 4096 characters"),
        (lambda f: f.attrs.__setitem__("layer_names", [b"drop\xff"]), "UnicodeEncodeError"),
        (lambda f: f.attrs.__setitem__("layer_names", [1, 2]), "expected text"),
        (lambda f: f.attrs.__setitem__("layer_names", [b"a/" * 70]), "1 to 64 steps"),
        (lambda f: f.attrs.__setitem__("layer_names", [b"../drop"]), "found no group"),
        (lambda f: f.attrs.__setitem__("model_config", b"{}"), "'model_weights'"),
    ],
)
def test_hostile_legacy(tmp_path, edit, match):
    assert match in refusal(write_legacy(tmp_path / "w.h5", edit))


def test_overlapping_arrays(tmp_path):
    """A thousand names for one array would unpack to far more than the file holds."""

    def edit(file):
        layer = file["rnn/lstm"]
        layer["one"] = np.ones(2**16, np.float32)
        for k in range(100):
            layer[f"w{k}"] = layer["one"]
        layer.attrs["weight_names"] = [f"w{k}".encode() for k in range(100)]

    assert "overlap" in refusal(write_legacy(tmp_path / "w.h5", edit))


def test_many_arrays_that_inflate_a_little(tmp_path):
    zeros, how = np.zeros(2**18, np.float32), {"chunks": (2**18,), "compression": "gzip"}
    with h5py.File(tmp_path / "w.h5", "w", libver="latest") as file:
        place = file.create_group("layers/lstm/cell/vars")
        for k in range(150):
            place.create_dataset(str(k), data=zeros, **how)
    assert "in proportion to a file" in refusal(tmp_path / "w.h5")


def test_window_never_reads_outside_itself():
    window = Window(io.BytesIO(b"0123456789"), 2, 5)
    assert window.read() == b"23456"
    window.seek(-2, os.SEEK_END)
    assert window.read(99) == b"56"
    window.seek(3)
    with pytest.raises(OSError, match="of 5"):
        window.readinto(bytearray(3))
    with pytest.raises(OSError, match="too early"):
        Window(io.BytesIO(b"0123"), 2, 5).readinto(bytearray(3))


@pytest.mark.parametrize("size", [1, 2**20, 5 * 2**20 + 77])
def test_inflated_reads_anywhere(size):
    draw = random.Random(0)
    data = (draw.randbytes(1000) * (size // 1000 + 1))[:size]
    packed = zlib.compress(data, wbits=-zlib.MAX_WBITS)
    window = Window(Inflated(Window(io.BytesIO(b"x" + packed), 1, len(packed)), size), 0, size)
    for _ in range(60):
        start = draw.randrange(size)
        length = draw.choice((1, 100, 2**20, size))
        window.seek(start)
        assert window.read(length) == data[start : start + length]
    too_long = Window(Inflated(Window(io.BytesIO(packed), 0, len(packed)), size), 0, size + 1)
    with pytest.raises(OSError, match="too early"):
        too_long.read()


def test_huge_attribute_counts(tmp_path):
    names = np.array([f"n{k}".encode() for k in range(20_000)])
    with h5py.File(tmp_path / "w.h5", "w", libver="latest") as file:
        file.attrs["layer_names"] = names
    assert "at most 16384 strings" in refusal(tmp_path / "w.h5")
    with h5py.File(tmp_path / "v.h5", "w", libver="latest") as file:
        for k in range(10):
            file.attrs[f"layer_names{k}"] = names[k * 2_000 : (k + 1) * 2_000]
    assert refusal(tmp_path / "v.h5")


def test_huge_model_config(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["model_config"] = '{"class_name": "' + "x" * (5 * 2**20) + '"}'
        file.create_group("model_weights").attrs["layer_names"] = np.array([])
    assert "strings in 4194304 bytes, found 1 in 5242898" in refusal(tmp_path / "w.h5")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("claim", [2**30, 2**32 - 1])
def test_text_that_claims_gigabytes(tmp_path, libver, claim):
    """HDF5 believes the length of a string, and allocates it, before it looks for its bytes."""
    path, text = tmp_path / "w.h5", json.dumps(CONFIG | {"pad": "x" * 789})
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["model_config"] = text
        file.create_group("model_weights").attrs["layer_names"] = np.array([])
    with open_keras(path) as file:
        assert file.config["pad"] == "x" * 789
    data = path.read_bytes()
    changed = data.replace(struct.pack("<I", len(text)), struct.pack("<I", claim))
    assert changed != data
    path.write_bytes(changed)
    message = refusal(path)
    assert str(claim) in message or libver == "latest"  # there, a checksum may speak first


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("size", [0, 2**64 - 16, 2**63, 5_000])
def test_heap_that_leads_nowhere(tmp_path, index, size):
    """HDF5 would walk for ever along objects of no size."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(CONFIG)
        file.create_group("model_weights").attrs["layer_names"] = np.array([])
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    data[first : first + 2] = struct.pack("<H", index)
    data[first + 8 : first + 16] = struct.pack("<Q", size)
    path.write_bytes(data)
    assert "whose object at" in refusal(path)


@pytest.mark.parametrize("which", [0, 2, 3, 4])  # 1: /vars, which is not opened
def test_free_places_in_a_circle(tmp_path, which):
    """HDF5 would take memory for each of them, for ever: 20 kB that end a machine."""
    path = write_v3(tmp_path / "w.h5")
    data = bytearray(path.read_bytes())
    heaps = [found.start() for found in re.finditer(b"HEAP", data)]
    assert len(heaps) > 4
    _, first, start = struct.unpack_from("<3Q", data, heaps[which] + 8)
    data[start + first : start + first + 8] = struct.pack("<Q", first)
    path.write_bytes(data)
    assert f"a heap at {heaps[which]} whose free places lead back to {first}" in refusal(path)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("what", ["base", "sizes"])
def test_other_addresses_than_keras_writes(tmp_path, libver, what):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["layers/lstm/vars/0"] = np.ones(3)
    data = bytearray(path.read_bytes())
    place = {"base": (24, 12), "sizes": (13, 9)}[what][libver == "latest"]
    data[place] = 4
    path.write_bytes(data)
    assert "found ValueError (addresses of" in refusal(path)


def test_virtual_arrays_are_not_even_opened(tmp_path):
    """HDF5 reads the list of their files at once, and would walk this heap for ever."""
    path = write_v3(tmp_path / "w.h5", put_virtual)
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    data[first + 16 : first + 32] = bytes(16)
    data[first + 8 : first + 16] = bytes(8)
    path.write_bytes(data)
    assert "external or virtual storage" in refusal(path)


def test_many_texts_in_one_place(tmp_path):
    """Every name of a list may point to the same long string."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        names = np.array(["a" * (2**17 + k) for k in range(1000)], dtype=object)
        file.attrs.create("layer_names", names, dtype=h5py.string_dtype())
    assert "1000 in 131571500" in refusal(path)


# --------------------------------------------------------------------------------- hostile zips


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../evil", "leaves the archive"),
        ("assets/../../evil", "leaves the archive"),
        ("/etc/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("assets\\..\\evil", "foreign path"),
    ],
)
def test_member_names(tmp_path, name, match):
    assert match in refusal(write_zip(tmp_path / "m.keras", [(name, b"x")]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_member(tmp_path):
    assert "used twice" in refusal(write_zip(tmp_path / "m.keras", [("config.json", b"{}")]))


def test_encrypted_member(tmp_path):
    path = write_zip(tmp_path / "m.keras")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    path.write_bytes(data)
    assert "an encrypted member" in refusal(path)


@pytest.mark.parametrize("bomb", ["config.json", "model.weights.h5"])
def test_zip_bomb(tmp_path, bomb):
    members = {"config.json": json.dumps(CONFIG), "model.weights.h5": b"", bomb: bytes(2**25)}
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert "unpack to at most" in refusal(tmp_path / "m.keras")


def test_member_that_understates_its_size(tmp_path):
    path = write_zip(tmp_path / "m.keras", compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 5000)
    path.write_bytes(data)
    assert "checksum" in refusal(path)


def test_zip_without_a_model(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    assert "zip of 'x.npy'" in refusal(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("model.weights.npz", b"")
    assert "pickled" in refusal(tmp_path / "b.keras")


def test_other_compression(tmp_path):
    path = write_zip(tmp_path / "m.keras", compression=zipfile.ZIP_LZMA)
    assert "compression method 14" in refusal(path)


def test_too_many_members(tmp_path):
    path = write_zip(tmp_path / "m.keras", [(f"assets/{k}", b"") for k in range(10_001)])
    assert "at most 10000 members" in refusal(path)


def test_damaged_weights_are_noticed(tmp_path):
    """One flipped bit of a weight changes no structure: only the checksum can tell."""
    data = bytearray((DATA / "keras-3.15-jax/lstm_last.keras").read_bytes())
    with open_keras(DATA / "keras-3.15-jax/lstm_last.keras") as file:
        kernel = file.weights.objects["layers/lstm/cell"][0].read()
    data[data.index(kernel.tobytes()) + 2] ^= 1
    (tmp_path / "m.keras").write_bytes(data)
    assert "checksum" in refusal(tmp_path / "m.keras")


def test_local_header_must_agree(tmp_path):
    path = write_zip(tmp_path / "m.keras")
    data = path.read_bytes().replace(b"model.weights.h5", b"model.weights.hX", 1)
    path.write_bytes(data)
    assert "where the zip's directory says" in refusal(path)


# --------------------------------------------------------------------------------------- shards


def copy_shards(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for path in (DATA / "keras-3.15-jax").glob("sharded*.weights.*"):
        shutil.copy(path, folder)
    return folder / "sharded.weights.json"


def edit_map(path: Path, edit):
    text = json.loads(path.read_text())
    edit(text["weight_map"])
    path.write_text(json.dumps(text))


def test_shards_as_strings_and_lists(tmp_path):
    path = copy_shards(tmp_path)
    edit_map(path, lambda m: m.__setitem__("/layers/lstm/cell/vars", "sharded_00000.weights.h5"))
    with open_keras(path) as file:
        assert {key: len(arrays) for key, arrays in file.weights.objects.items()} == {
            "layers/lstm/cell": 3,
            "layers/bidirectional/backward_layer/cell": 3,
            "layers/bidirectional/forward_layer/cell": 3,
            "layers/dense": 2,
        }


def test_one_object_over_two_shards(tmp_path):
    for k in range(2):
        with h5py.File(tmp_path / f"s{k}.h5", "w") as file:
            file[f"layers/lstm/cell/vars/{k}"] = np.float32(k)
    shards = {"/layers/lstm/cell/vars": ["s0.h5", "s1.h5"], "/optimizer/vars": "gone.h5"}
    path = tmp_path / "m.weights.json"
    path.write_text(json.dumps({"weight_map": shards}))
    with open_keras(path) as file:
        assert [float(a.read()) for a in file.weights.objects["layers/lstm/cell"]] == [0, 1]


def test_shards_of_keras_3_10(tmp_path):
    """Its map names the first shard of each object alone; here the last shard is not in it."""
    for source in (DATA / "keras-3.10-jax").glob("sharded*.weights.*"):
        shutil.copy(source, tmp_path)
    path = tmp_path / "sharded.weights.json"
    named = json.loads(path.read_text())["weight_map"]
    assert list(named.values()) == ["sharded_00000.weights.h5", "sharded_00002.weights.h5"]

    def counts():
        with open_keras(path) as file:
            return {key: len(arrays) for key, arrays in file.weights.objects.items()}

    assert counts() == {"layers/lstm/cell": 3, "layers/dense": 2}
    shutil.copy(tmp_path / "sharded_00000.weights.h5", tmp_path / "sharded_00004.weights.h5")
    assert counts() == {"layers/lstm/cell": 3, "layers/dense": 2}  # without what was there before
    (tmp_path / "sharded_00003.weights.h5").unlink()
    assert counts() == {"layers/lstm/cell": 3, "layers/dense": 1}
    (tmp_path / "sharded_00001.weights.h5").unlink()
    with pytest.raises(KerasFileError, match=r"sharded_00001.*No such file"), open_keras(path):
        pass


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("../sharded_00000.weights.h5", "plain shard file names"),
        ("/etc/passwd", "plain shard file names"),
        ("a\\b.h5", "plain shard file names"),
        ("..", "plain shard file names"),
        ("", "plain shard file names"),
        (7, "plain shard file names"),
        ({"a": 1}, "plain shard file names"),
        ("missing.h5", "No such file"),
        ("sharded_00001.weights.h5", "do not fit the map"),
        ([], "do not fit the map"),
        ("sharded.weights.json", "damaged or cut short"),
    ],
)
def test_hostile_shard_names(tmp_path, value, match):
    path = copy_shards(tmp_path)
    edit_map(path, lambda m: m.__setitem__("/layers/lstm/cell/vars", value))
    with pytest.raises(KerasFileError, match=match), open_keras(path):
        pass


def test_shard_link_out_of_the_folder(tmp_path):
    path = copy_shards(tmp_path / "model")
    shard = path.with_name("sharded_00000.weights.h5")
    shard.rename(tmp_path / "elsewhere.h5")
    shard.symlink_to(tmp_path / "elsewhere.h5")
    assert "link out of it" in refusal(path)


@pytest.mark.parametrize("weight_map", [{}, [], 3, {"/vars": "a.h5"}, {"x": "a.h5"}])
def test_weight_map_of_another_shape(tmp_path, weight_map):
    path = tmp_path / "m.weights.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    assert "one model's layers" in refusal(path)


# --------------------------------------------------------------------------------- damaged files

DAMAGED = [
    "keras-2.2.4/cudnn_lstm_gru.h5",
    "keras-3.15-jax/lstm_last.keras",
    "keras-3.15-jax/numbering_vs_names.weights.h5",
]


def outcome(path) -> str:
    try:
        with open_keras(path) as file:
            for array in all_arrays(file.weights):
                assert array.read().shape == array.shape
    except KerasFileError:
        return "refused"
    return "read"


@pytest.mark.parametrize("name", DAMAGED)
def test_cut_short(tmp_path, name):
    data, path = (DATA / name).read_bytes(), tmp_path / "m"
    for size in [*range(0, len(data), len(data) // 60), len(data) - 1]:
        path.write_bytes(data[:size])
        assert outcome(path) == "refused", size


@pytest.mark.parametrize("name", DAMAGED)
def test_flipped_bytes(tmp_path, name):
    data, path, draw = (DATA / name).read_bytes(), tmp_path / "m", random.Random(7)
    seen = set()
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(draw.choice([1, 2, 8])):
            changed[draw.randrange(len(data))] ^= draw.randrange(1, 256)
        path.write_bytes(changed)
        seen.add(outcome(path))
    assert "refused" in seen


# --------------------------------------------------------------------------------------- process


@pytest.mark.parametrize(("preset", "expected"), [({}, 0), ({"HDF5_PLUGIN_PATH": "/x"}, 65535)])
def test_plugins_are_off_and_the_environment_untouched(preset, expected):
    """HDF5 would load shared libraries to undo a compression that a file asks for."""
    code = (
        "import os; before = dict(os.environ); import jrnn.keras_loader.read; import ctypes\n"
        "assert dict(os.environ) == before\n"
        "maps = open('/proc/self/maps').read().split()\n"
        "library = ctypes.CDLL(next(word for word in maps if '/libhdf5-' in word))\n"
        "mask = ctypes.c_uint(7); library.H5PLget_loading_state(ctypes.byref(mask))\n"
        "print(mask.value)\n"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("finds the HDF5 library by Linux's /proc")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HDF5_PLUGIN")} | preset
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=DATA.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) == expected
