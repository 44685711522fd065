"""Files read by another process: the same model, and an error where that process dies."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jrnn import KerasFileError, load_keras
from jrnn.cli import main
from jrnn.keras_loader import isolated
from jrnn.keras_loader.isolated import open_isolated
from jrnn.keras_loader.read import LegacyWeights, open_keras
from tests.test_cli_errors import bad_files

DATA = Path(__file__).parents[1] / "data"
KERAS = DATA / "keras-3.15-jax/lstm_last.keras"
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits are POSIX's")


@pytest.fixture
def child(monkeypatch):
    """Runs other code in the child before it serves; returns how to set it."""

    def set_code(code: str) -> None:
        start = isolated._START.replace("serve(path)", code)
        assert start != isolated._START
        monkeypatch.setattr(isolated, "_START", start)

    return set_code


def all_groups(file):
    weights = file.weights
    if weights is None:
        return {}
    return dict(weights.layers if isinstance(weights, LegacyWeights) else weights.objects)


@pytest.mark.parametrize(
    "name",
    [
        "keras-3.15-jax/op_nodes.keras",
        "keras-3.15-jax/dtype_bfloat16.h5",
        "keras-3.15-jax/numbering_vs_names.weights.h5",
        "keras-3.15-jax/sharded.weights.json",
        "keras-3.15-jax/embed_mask_lstm_dense.json",
        "keras-1.0.8-theano/gru_cpu_weights.h5",
        "tf.keras-2.12/timedistributed.weights.h5",
    ],
)
def test_hands_over_what_the_file_holds(name):
    with open_keras(DATA / name) as here, open_isolated(DATA / name) as there:
        for field in ("kind", "config", "keras_version", "backend"):
            assert getattr(there, field) == getattr(here, field)
        assert type(there.weights) is type(here.weights)
        ours, theirs = all_groups(here), all_groups(there)
        assert list(ours) == list(theirs)
        for key, arrays in ours.items():
            assert theirs[key] == arrays  # paths, shapes, dtypes
            for mine, other in zip(reversed(arrays), reversed(theirs[key]), strict=True):
                values = other.read()
                assert values.dtype == mine.read().dtype
                np.testing.assert_array_equal(values, mine.read())


def test_awkward_values_survive(tmp_path):
    config = {"class_name": "é\ud800", "config": {"": [1e999, -0.0, 10**300, None, True, {}]}}
    path = tmp_path / "m é.json"
    path.write_text(json.dumps(config))
    with open_isolated(path) as file:
        assert file.config == config
        assert str(file.config["config"][""][1]) == "-0.0"


@pytest.mark.parametrize("kind", ["keras", "h5", "both"])
def test_load_keras_gives_the_same_model(kind):
    name = DATA / "keras-2.2.4/cudnn_lstm_gru"
    how = {
        "keras": {"path": KERAS},
        "h5": {"path": f"{name}.h5"},
        "both": {"path": f"{name}_weights.h5", "config": f"{name}.json"},
    }[kind]
    model, params = load_keras(**how)
    other_model, other_params = load_keras(**how, isolated=True)
    assert other_model == model
    jax.tree.map(np.testing.assert_array_equal, other_params, params)


def test_errors_are_the_same(tmp_path):
    for path in bad_files(tmp_path).values():
        with pytest.raises(KerasFileError) as here, open_keras(path):
            pass
        with pytest.raises(KerasFileError) as there, open_isolated(path):
            pass
        assert str(there.value) == str(here.value)


@posix
def test_a_crash_is_an_error(child):
    child("import os; os.kill(os.getpid(), 11)")
    with pytest.raises(KerasFileError, match=r"lstm_last.keras'.*crashed \(Segmentation fault\)"):
        load_keras(KERAS, isolated=True)


@posix
def test_a_crash_while_an_array_is_read_is_an_error(child):
    child(
        "import os; from jrnn.keras_loader.stored_array import StoredArray\n"
        "StoredArray.read = lambda self: os.abort()\n"
        "serve(path)"
    )
    with open_isolated(KERAS) as file:
        array = all_groups(file)["layers/lstm/cell"][0]
        with pytest.raises(KerasFileError, match=r"crashed \(Aborted\)"):
            array.read()


def test_a_hang_is_an_error(child, monkeypatch):
    monkeypatch.setattr(isolated, "SECONDS", 0.5)
    child("import time; time.sleep(60)")
    begin = time.monotonic()
    with pytest.raises(KerasFileError, match="took too long"), open_isolated(KERAS):
        pass
    assert time.monotonic() - begin < 30
    assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer)]


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "sys.stdout.write('junk' * 100)",
        "import struct; sys.stdout.buffer.write(struct.pack('<cQ', b'D', 2**60))",
        "import struct; sys.stdout.buffer.write(struct.pack('<cQ', b'D', 2) + b'{}')",
        "import struct; sys.stdout.buffer.write(struct.pack('<cQ', b'D', 9) + b'[' * 9)",
    ],
)
def test_nonsense_is_an_error(child, code):
    child(code)
    with pytest.raises(KerasFileError, match="readable model file") as error, open_isolated(KERAS):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("executable", ""), ("frozen", True)])
def test_without_an_interpreter_the_caller_is_told(monkeypatch, name, value):
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(ValueError, match="no Python interpreter") as error:
        load_keras(KERAS, isolated=True)
    assert not isinstance(error.value, KerasFileError)


def test_arrays_only_inside_the_block():
    with open_isolated(KERAS) as file:
        array = all_groups(file)["layers/lstm/cell"][0]
    with pytest.raises(KerasFileError, match="inside the with-block"):
        array.read()


def test_errors_of_the_caller_pass_through():
    with pytest.raises(ZeroDivisionError), open_isolated(KERAS):
        1 / 0  # noqa: B018


def test_the_child_has_no_jax_and_ends(child):
    child("import jrnn.keras_loader.read; path += ' jax' * ('jax' in sys.modules); serve(path)")
    processes = []
    start = subprocess.Popen

    class Noted(start):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            processes.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated.subprocess, "Popen", Noted)
        with open_isolated(KERAS) as file:
            assert file.kind == "keras"
    assert [process.poll() is None for process in processes] == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("open_keras = lambda path: bytearray(2**30)", "more memory than there is"),
        ("open_keras = lambda path: open('written', 'wb', 0).write(b'x')", "File too large"),
    ],
)
def test_the_child_is_bounded(child, code, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    child(
        "import jrnn.keras_loader.isolated as own\n"
        "from jrnn.keras_loader.errors import reading\n"
        f"def opening(path):\n    with reading(path): return ({code.split(':', 1)[1]})\n"
        "own.open_keras = opening; serve(path)"
    )
    with pytest.raises(KerasFileError, match=match), open_isolated(KERAS):
        pass


@posix
@pytest.mark.parametrize("command", ["inspect", "run", "verify", "convert"])
def test_the_command_line_is_isolated(child, command, tmp_path, capsys):
    child("import os; os.abort()")
    name = str(DATA / "keras-3.15-jax/lstm_last")
    argv = {
        "inspect": [],
        "run": ["--input", f"{name}.npz", "--output", str(tmp_path / "y.npz")],
        "verify": ["--data", f"{name}.npz"],
        "convert": [str(tmp_path / "w.npz")],
    }[command]
    assert main([command, f"{name}.keras", *argv]) == 2
    assert "crashed (Aborted)" in capsys.readouterr().err
    main([command, f"{name}.keras", *argv, "--no-isolation"])
    assert "crashed" not in capsys.readouterr().err
