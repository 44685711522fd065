"""Files that real Keras versions wrote, replayed: jrnn's numbers against those that Keras recorded.

``tests/data/manifest.json`` lists, for every case, the ``jrnn verify`` commands that must hold.
"""

import json
from pathlib import Path

import pytest

from jrnn import KerasFileError, load_keras
from jrnn.cli import main

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "manifest.json").read_text())
QUANTISED = "quantized_int8"

COMMANDS = [
    pytest.param(command, id=f"{case['writer']}-{case['case']}-{Path(command[1]).suffixes[-1]}{k}")
    for case in CASES
    if case["case"] != QUANTISED
    for k, command in enumerate(case["commands"])
]
REFUSED = [
    pytest.param(name, word, id=name)
    for case in CASES
    for name, word in (
        [(name, "Python code") for name in case.get("files", [])]
        if "expect" in case
        else [(command[1], "quantis") for command in case["commands"]]
        if case["case"] == QUANTISED
        else []
    )
    if not name.endswith((".npz", ".json"))
]


def in_data(argument: str) -> str:
    return str(DATA / argument) if "/" in argument else argument


@pytest.mark.parametrize("command", COMMANDS)
def test_verifies(command, capsys):
    argv = [*map(in_data, command), "--no-isolation"]  # a process for each file takes its time
    assert main(argv) == 0, capsys.readouterr()


@pytest.mark.parametrize(("name", "word"), REFUSED)
def test_refused_with_a_clear_error(name, word):
    config = DATA / "keras-3.15-jax/quantized_int8.keras" if name.endswith(".weights.h5") else None
    with pytest.raises(KerasFileError, match=word) as error:
        load_keras(DATA / name, config=config)
    assert "\n" not in str(error.value)


def test_counts():
    """The manifest is whole: a case lost on the way would otherwise pass unseen."""
    assert len(CASES) == 194
    assert len(COMMANDS) >= 220
    assert len(REFUSED) >= 5
