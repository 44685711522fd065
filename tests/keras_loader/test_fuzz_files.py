"""Mutated files: `tests.fuzz` in reduced size, and that it would notice what should not happen.

At length: `python -m tests.fuzz --format keras --count 200000`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.cases import FORMATS
from tests.fuzz.minimise import minimised

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


def run(folder: Path, file_format: str, count: int, before: str = "") -> tuple[dict, list[dict]]:
    """The counts and the findings of a run in a process of its own, after some other code."""
    arguments = ["--format", file_format, "--count", str(count), "--seed", "0"]
    arguments += ["--keep", str(folder / "kept"), "--results", str(folder)]
    code = f"{before}\nimport sys\nfrom tests.fuzz.__main__ import main\n"
    code += f"sys.argv[1:] = {arguments}\nmain()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    kept = folder / "kept/findings.jsonl"
    findings = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    return json.loads((folder / f"{file_format}-0.json").read_text()), findings


@pytest.mark.parametrize("file_format", FORMATS)
def test_mutated_files_load_or_are_refused(tmp_path, file_format):
    counts, findings = run(tmp_path, file_format, 300)
    assert findings == []
    assert counts["executions"] == counts["loaded"] + counts["refused"] == 300
    assert counts["whole"] == 30
    for kind, (loaded, refused, found) in counts["kinds"].items():
        assert loaded + refused > 0, kind
        assert found == 0
    assert counts["loaded"] > 30
    assert counts["refused"] > 150


@pytest.mark.slow
@pytest.mark.parametrize("file_format", FORMATS)
def test_many_mutated_files_load_or_are_refused(tmp_path, file_format):
    counts, findings = run(tmp_path, file_format, 10_000)
    assert findings == []
    assert counts["executions"] == 10_000


DEEDS = """
import os, time
from tests.fuzz import watched
from jrnn import KerasFileError
watched.SECONDS = 1.5  # 100 MiB may take a third of a second on a busy machine
calls = open("calls", "a+b", 0)  # how many there were: each process begins anew

def refuse(text):
    raise KerasFileError(text)

def load(path, model, whole):
    calls.write(b"x")
    return [
        lambda: 7,
        lambda: refuse(f"{path}: refused"),
        lambda: refuse("refused"),
        lambda: refuse(f"{path}: in two\\nlines"),
        lambda: 1 / 0,
        lambda: len(bytearray(100 * 2**20)) * 0,
        lambda: len(bytearray(100 * 2**20)),
        lambda: bytearray(2**40),
        lambda: open("/etc/hostname").close() or 7,
        lambda: open(path, "ab").close() or 7,
        lambda: os.system("true"),
        lambda: os.kill(os.getpid(), 11),
    ][os.path.getsize("calls") - 1]()

def late(path, model, whole):
    while True:
        pass

watched.load_file = load
"""


def test_what_should_not_happen_is_found(tmp_path):
    counts, findings = run(tmp_path, "weights", 12, DEEDS)
    assert [(finding["number"], finding["what"]) for finding in findings] == [
        *((2, "message"), (3, "message"), (4, "ZeroDivisionError"), (5, "memory")),
        *((7, "MemoryError"), (8, "deed"), (9, "deed"), (10, "deed"), (11, "crash")),
    ]
    assert (counts["loaded"], counts["refused"], counts["executions"]) == (2, 1, 12)
    assert counts["findings"] == {
        **{"message": 2, "ZeroDivisionError": 1, "memory": 1, "MemoryError": 1, "deed": 3},
        "crash": 1,
    }
    for finding in findings:
        assert (tmp_path / "kept" / finding["file"]).exists()
    assert findings[-1]["said"] == "SIGSEGV"


CRASH = """
import os
from tests.fuzz import cases, watched

sound = {one.data[:2000] for one in cases.fixtures("weights")}
lengths = {len(one.data) for one in cases.fixtures("weights")}

def load(path, model, whole):
    data = path.read_bytes()
    if len(data) in lengths and data[:2000] not in sound:
        os.abort()
    return 7

watched.load_file = load
"""


def test_a_crashing_file_is_minimised(tmp_path):
    _, findings = run(tmp_path, "weights", 25, CRASH)
    crashes = [finding for finding in findings if finding["what"] == "crash"]
    assert len(crashes) > 2
    assert {finding["changed_bytes"] for finding in crashes} == {1}


def test_minimised_keeps_what_is_needed_together():
    sound, data = bytes(1000), bytes(k % 7 for k in range(1000))
    found = minimised(data, sound, lambda file: file[3] == 3 and file[500] == 500 % 7)
    assert [k for k in range(1000) if found[k]] == [3, 500]
    assert minimised(b"abc", b"ab", lambda _: True) == b"abc"


def test_a_hang_is_found_and_the_run_goes_on(tmp_path):
    counts, findings = run(tmp_path, "weights", 2, DEEDS + "watched.load_file = late\n")
    assert [(finding["number"], finding["what"]) for finding in findings] == [
        (0, "hang"),
        (1, "hang"),
    ]
    assert "in late" in findings[0]["trace"]
    assert counts["executions"] == 2
