"""What `jrnn run` holds in memory: the file, the inputs, the outputs and a constant."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from jrnn.cli.run import CONSTANT_MEBIBYTES

MEBIBYTE = 2**20
PEAK = """
import resource, sys
from jrnn.cli import main
status = main(sys.argv[1:])
sys.stderr.write(f"{status} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")
"""


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
@pytest.mark.parametrize(
    ("features", "units", "shape"),
    [(1000, 2000, (70, 20)), (64, 32, (4096, 100))],
    ids=["100 MB of weights", "100 MB of inputs"],
)
def test_peak_is_bounded(tmp_path, features, units, shape):
    model, given, made = (tmp_path / name for name in ("m.h5", "x.npz", "y.npz"))
    write_model(model, features, units)
    np.savez(given, x0=np.ones((*shape, features), np.float32))
    arguments = ["run", str(model), "--input", str(given), "--output", str(made)]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True
    )
    status, peak = map(int, done.stderr.split())
    allowed = sum(path.stat().st_size for path in (model, given, made))
    assert status == 0
    assert allowed > 90 * MEBIBYTE
    assert peak * 1024 - allowed < CONSTANT_MEBIBYTES * MEBIBYTE
