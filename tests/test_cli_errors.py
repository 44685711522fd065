"""The command line and what can go wrong: one clear line on stderr, a status, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import jrnn
from jrnn.cli import main
from tests.test_cli import BUNDLED, DATA, LSTM, RECORD, SUNSPOTS, fails, said


def bad_files(folder: Path) -> dict[str, Path]:
    made = {name: folder / name for name in ("truncated.h5", "random.h5", "empty.h5", "zip.keras")}
    made["truncated.h5"].write_bytes(Path(LSTM).read_bytes()[:5000])
    made["random.h5"].write_bytes(np.random.default_rng(0).bytes(4000))
    made["empty.h5"].write_bytes(b"")
    np.savez(folder / "zip", a=np.ones(3))
    (folder / "zip.npz").rename(made["zip.keras"])
    made["cut.keras"] = folder / "cut.keras"
    made["cut.keras"].write_bytes(Path(SUNSPOTS).read_bytes()[:60000])
    made["bare.h5"] = folder / "bare.h5"
    h5py.File(made["bare.h5"], "w").close()
    return made | {"directory": folder, "absent": folder / "absent"}


@pytest.mark.parametrize("command", ["inspect", "run", "verify", "convert"])
def test_bad_files_are_one_line_errors(tmp_path, capsys, command):
    extra = {
        "inspect": [],
        "run": ["--input", RECORD, "--output", tmp_path / "y.npz"],
        "verify": ["--data", RECORD],
        "convert": [tmp_path / "w.npz"],
    }[command]
    for name, path in bad_files(tmp_path).items():
        assert path.name in fails(capsys, command, path, *extra), name


def test_demo_says_at_once_where_no_picture_can_go(tmp_path, capsys):
    for out in (".", "picture.txt", tmp_path / "absent" / "p.png"):
        assert ".png file" in fails(capsys, "demo", "--output", out)


def test_usage_errors_are_one_line(capsys):
    for argv in ([], ["nothing"], ["run", LSTM], ["verify", LSTM, "--data", RECORD, "--rtol", "x"]):
        fails(capsys, *argv)


def test_text_from_a_file_cannot_reach_the_terminal(tmp_path, capsys):
    path = tmp_path / "model.json"
    evil = "evil\\u001b[31m[bold]\\u000a"
    path.write_text((DATA / "keras-1.2.2-tf/lstm_cpu.json").read_text().replace("lstm_1", evil))
    assert main(["inspect", str(path)]) == 0
    out = said(capsys)
    assert "\x1b" not in out
    assert "[bold]" in out


def test_as_a_program(tmp_path):
    def run(*argv: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "jrnn", *argv]
        environment = {**os.environ, "PYTHONPATH": str(BUNDLED.parents[1])}
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )

    assert run("--version").stdout == f"jrnn {jrnn.__version__}\n"
    done = run("inspect", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("jrnn: error: ")
    assert run("verify", SUNSPOTS, "--data", RECORD).returncode == 0
