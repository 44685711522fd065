"""What ``jrnn run`` holds in memory: the weights once, the inputs, the outputs and a constant."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from jrnn.cli.run import CONSTANT_MEBIBYTES

MEBIBYTE = 2**20
# The peak of this process alone: ru_maxrss would start from what the parent held.
PEAK = """
import re, sys
from jrnn.cli import main
status = main(sys.argv[1:])
print("peak", re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
sys.exit(status)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def write_model(path, features, units):
    """A legacy model of one LSTM that returns sequences."""
    config = {"name": "lstm", "units": units, "return_sequences": True}
    config["batch_input_shape"] = [None, None, features]
    layers = [{"class_name": "LSTM", "config": config}]
    arrays = {
        "lstm/kernel:0": (features, 4 * units),
        "lstm/recurrent_kernel:0": (units, 4 * units),
        "lstm/bias:0": (4 * units,),
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers})
        file.attrs["keras_version"], file.attrs["backend"] = "2.2.4", "tensorflow"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"lstm"]
        inner = group.create_group("lstm")
        inner.attrs["weight_names"] = [name.encode() for name in arrays]
        for name, shape in arrays.items():
            inner.create_dataset(name, data=np.full(shape, 1e-3, np.float32))


def peak_and_files(folder, features: int, units: int, rows: int, steps: int) -> tuple[int, int]:
    """Returns the peak of a run in bytes, and the size of model, inputs and outputs together."""
    files = [folder / f"{units}{name}" for name in ("m.h5", "x.npz", "y.npz")]
    write_model(files[0], features, units)
    np.savez(files[1], x0=np.ones((rows, steps, features), np.float32))
    argv = ["run", str(files[0]), "--input", str(files[1]), "--output", str(files[2])]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *argv], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split("peak")[-1]) * 1024, sum(file.stat().st_size for file in files)


@pytest.mark.parametrize(
    ("features", "units", "rows", "steps"),
    [(1000, 2000, 70, 8), (64, 32, 4096, 100)],
    ids=["100 MB of weights", "100 MB of inputs"],
)
def test_peak_is_bounded(tmp_path, features, units, rows, steps):
    small, _ = peak_and_files(tmp_path, 4, 2, 70, 8)
    peak, files = peak_and_files(tmp_path, features, units, rows, steps)
    assert files > 90 * MEBIBYTE
    assert small < CONSTANT_MEBIBYTES * MEBIBYTE
    assert peak < files + CONSTANT_MEBIBYTES * MEBIBYTE
    # One copy is held for the matmul; a third of the weights would make this 3.
    assert peak - small < 2.5 * files
