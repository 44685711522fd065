"""The command line of the benchmarks: what it refuses, and how it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import main

ROOT = Path(__file__).parent.parent


def refusal(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option", "value", "said"),
    [
        ("run", "--peers", "jrnn,theano", "'theano' is not one of jrnn, "),
        ("run", "--cells", "lstm,cell", "'cell' is not one of lstm, "),
        ("run", "--shapes", "1x2x3", "shape '1x2x3', but TxBxFxU is needed"),
        ("run", "--shapes", "0x2x3x4", "shape '0x2x3x4', but TxBxFxU is needed"),
        ("run", "--shapes", "5x2x3x4x5x5x3", "none of the shapes is one for lstm"),
        ("run", "--rounds", "0", "'0', but a positive integer is needed"),
        ("run", "--min-time", "-1", "'-1', but a time of 0 seconds or more is needed"),
        ("run", "--min-time", "nan", "'nan', but a time of 0 seconds or more is needed"),
        ("run", "--out", "tables.md", "'tables.md', but a name that ends in .json is needed"),
        ("growth", "--steps", "16,0", "'0', but a positive integer is needed"),
        ("growth", "--cells", "conv_lstm2d", "none of the shapes is one for conv_lstm2d"),
    ],
)
def test_arguments(monkeypatch, capsys, tmp_path, command, option, value, said):
    given = {"--out": tmp_path / "x.json", "--cells": "lstm", option: value}
    flat = [part for pair in given.items() for part in pair]
    assert said in refusal(monkeypatch, capsys, command, *flat)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cases": {}}', None])
def test_a_file_that_holds_no_results(monkeypatch, capsys, tmp_path, text):
    path = tmp_path / "x.json"
    if text is not None:
        path.write_text(text)
        assert str(path) in refusal(monkeypatch, capsys, "run", "--out", path)
    assert str(path) in refusal(monkeypatch, capsys, "report", path)


def test_a_file_of_another_device(monkeypatch, capsys, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"device": "gpu", "runs": [], "cases": {}}))
    said = refusal(monkeypatch, capsys, "run", "--out", path)
    assert "x.json holds results from 'gpu', but this run is on 'cpu'" in said


@pytest.mark.skipif(not Path("/proc/thread-self/children").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_no_process(tmp_path, number):
    options = ["--peers", "naive", "--cells", "lstm", "--shapes", "5x2x3x4", "--rounds", "100000"]
    command = [sys.executable, "-m", "benchmarks", "run", "--out", tmp_path / "x.json", *options]
    run = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    end = time.monotonic() + 60
    try:
        while len(peers := children.read_text().split()) < 2 and time.monotonic() < end:
            time.sleep(0.1)  # the peer, and the one that computes what is right
        assert len(peers) == 2
        os.kill(run.pid, number)
        _, said = run.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 1
    assert "the same command goes on with" in said
    assert not any(Path(f"/proc/{peer}").exists() for peer in peers)
