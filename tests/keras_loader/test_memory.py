"""What a file may cost: its parameters and 64 MiB, whatever it declares, packs or repeats."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from jrnn.keras_loader.isolated import open_isolated

ROOT = Path(__file__).parents[2]
MEBIBYTE = 2**20
ALLOWED = 64 * MEBIBYTE
# Prints, for each file, the peak above what was in use before, the parameters' bytes and what was
# said. The first file is sound and small, so that what is imported or compiled once counts not.
MEASURE = """
import json, re, sys
from pathlib import Path
import jax
from jrnn import KerasFileError, load_keras

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\\s*(\\d+)", status)[0]) * 1024

for number, path in enumerate(sys.argv[2:]):
    Path("/proc/self/clear_refs").write_text("5")
    before, size, said = peak(), 0, ""
    try:
        _, params = load_keras(path, isolated=sys.argv[1] == "isolated")
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
        del params
    except KerasFileError as error:
        said = str(error)
    if number:
        print(json.dumps([peak() - before, size, said]))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="writes /proc/self/clear_refs")


def measured(*paths: Path, mode: str = "here") -> list:
    sound = ROOT / "tests/data/keras-3.15-jax/lstm_last.keras"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, mode, sound, *paths],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def dense(features: int, units: int, **extra) -> dict:
    values = {"name": "dense", "units": units, "use_bias": False}
    values["batch_input_shape"] = [None, features]
    layers = [{"class_name": "Dense", "config": values}]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers, **extra}}


def write_legacy(path: Path, config: dict | str, edit) -> Path:
    """A Keras 2 file whose kernel ``edit(group)`` writes."""
    text = config if isinstance(config, str) else json.dumps(config)
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = text, "2.2.4"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense"]
        group.create_group("dense").attrs["weight_names"] = [b"kernel:0"]
        edit(group["dense"])
    return path


def write_zip(path: Path, config: str, edit, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        edit(file.create_group("layers/dense/vars"))
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        archive.writestr("config.json", config)
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
    return path


def kernel(name: str, shape: tuple[int, ...] | None = None, **options):
    """Writes a kernel: declared, but not written, if only its shape is given."""
    if shape is None:
        return lambda group: group.create_dataset(name, **{"data": FULL, **options})
    return lambda group: group.create_dataset(name, shape, "f4", **options)


def many_arrays(group) -> None:
    for k in range(16_000):
        group.create_dataset(str(k), data=np.float32(k))


def many_members(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(60_000):
            archive.writestr(f"a{k}", b"")
    return path


HUGE = (20_000, 10_000)  # 0.8 GB
FULL = np.ones((3, 4), np.float32)
ZEROS = np.zeros((4_096, 16_384), np.float32)  # 256 MiB
SMALL = json.dumps(dense(3, 4))


def claiming(path: Path) -> Path:
    """A file whose config's text says that it is 4 GiB long."""
    write_legacy(path, SMALL, kernel("kernel:0"))
    data = path.read_bytes()
    path.write_bytes(data.replace(len(SMALL).to_bytes(4, "little"), b"\xff\xff\xff\xff"))
    assert path.read_bytes() != data
    return path


def padded(text: str) -> str:
    return SMALL[:-1] + f', "pad": {text}}}'


def bombs(folder: Path) -> list[tuple[Path, str]]:
    """Files that are small, or not large, and a part of what refuses them; "" where they load."""
    wide = '"\U0001f600' + "x" * (4 * MEBIBYTE - 500) + '"'
    values = "[" + "{}," * 200_000 + "0]"
    keys = "{" + ",".join(f'"k{k}":{{}}' for k in range(90_000)) + "}"
    noise = np.random.default_rng(0).integers(0, 4, (4_096, 4_096)).astype(np.float32)
    big = json.dumps(dense(4_096, 16_384))
    return [
        (write_legacy(folder / "1.h5", dense(*HUGE), kernel("kernel:0", HUGE)), "stored bytes"),
        (
            write_legacy(
                folder / "2.h5", dense(*HUGE), kernel("kernel:0", HUGE, chunks=(200, 10_000))
            ),
            "lies about its shape",
        ),
        (
            write_legacy(
                folder / "3.h5",
                json.loads(big),
                kernel("kernel:0", data=ZEROS, compression="gzip", chunks=(4_096, 128)),
            ),
            "lies about its shape",
        ),
        (write_zip(folder / "4.keras", big, kernel("0", data=ZEROS)), "unpack to at most"),
        (write_legacy(folder / "5.h5", padded(wide), kernel("kernel:0")), ""),
        (write_zip(folder / "6.keras", padded(values), kernel("0")), ""),
        (write_zip(folder / "7.keras", padded(keys), kernel("0")), ""),
        (write_zip(folder / "8.keras", SMALL, many_arrays, zipfile.ZIP_STORED), "Dense needs"),
        (many_members(folder / "9.keras"), "the limit is"),
        (claiming(folder / "10.h5"), "4294967295"),
        # Packed, but no bomb: as much again as the parameters would be too much.
        (
            write_zip(
                folder / "11.keras", json.dumps(dense(4_096, 4_096)), kernel("0", data=noise)
            ),
            "",
        ),
        (
            write_legacy(
                folder / "12.h5",
                dense(4_096, 4_096),
                kernel("kernel:0", data=noise, compression="gzip", chunks=(64, 4_096)),
            ),
            "",
        ),
    ]


def test_a_bomb_costs_next_to_nothing(tmp_path):
    found = bombs(tmp_path)
    assert found[0][0].stat().st_size < 14_000
    *paths, last = [path for path, _ in found]  # the last not in memory that another gave back
    costs = measured(*paths) + measured(last)
    for (path, expected), (peak, size, said) in zip(found, costs, strict=True):
        assert expected in said, path.name
        assert bool(expected) == bool(said), (path.name, said)
        assert peak < size + ALLOWED, path.name
    for peak, _, _ in costs[:4]:
        assert peak < 2 * MEBIBYTE
    assert [size for _, size, _ in costs[-2:]] == [2**26, 2**26]


def test_steps_that_are_declared_alone_cost_nothing(tmp_path):
    """Windows over an axis are worked out when the model runs, not when it is read."""
    config = dense(2, 3)
    pooling = {"name": "p", "output_size": [5], "batch_input_shape": [None, 2**26, 2]}
    config["config"]["layers"].insert(0, {"class_name": "AdaptiveMaxPooling1D", "config": pooling})
    path = write_zip(
        tmp_path / "a.keras", json.dumps(config), kernel("0", data=np.ones((2, 3), "f4"))
    )
    ((peak, _, said),) = measured(path)
    assert not said
    assert peak < ALLOWED


def test_the_reader_in_another_process_is_bounded_too(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4, (4_096, 4_096)).astype(np.float32)
    sound = write_zip(
        tmp_path / "a.keras", json.dumps(dense(4_096, 4_096)), kernel("0", data=noise)
    )
    huge = write_legacy(tmp_path / "b.h5", dense(*HUGE), kernel("kernel:0", HUGE))
    (peak, size, said), (other, _, refusal) = measured(sound, huge, mode="isolated")
    assert (size, said) == (2**26, "")
    assert peak < size + ALLOWED
    assert "stored bytes" in refusal
    assert other < 2 * MEBIBYTE
    with open_isolated(sound) as file:
        (array,) = file.weights.objects["layers/dense"]
        np.testing.assert_array_equal(array.read(), noise)
        (child,) = Path("/proc/thread-self/children").read_text().split()
        status = Path(f"/proc/{child}/status").read_text()
    # Python, NumPy and HDF5 themselves are in this one.
    assert int(re.findall(r"VmHWM:\s*(\d+)", status)[0]) * 1024 < size + 2 * ALLOWED
