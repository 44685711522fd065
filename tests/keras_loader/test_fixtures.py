"""Files that real Keras versions wrote, replayed: jrnn's numbers against those that Keras recorded.

``tests/data/manifest.json`` lists, for every case, the ``jrnn verify`` commands that must hold.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from jrnn import KerasFileError, load_keras
from jrnn.cli import main

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "manifest.json").read_text())

COMMANDS = [
    pytest.param(command, id=f"{case['writer']}-{case['case']}-{Path(command[1]).suffixes[-1]}{k}")
    for case in CASES
    for k, command in enumerate(case["commands"])
]
LAMBDAS = [name for case in CASES if "expect" in case for name in case["files"]]


def in_data(argument: str) -> str:
    return str(DATA / argument) if "/" in argument else argument


@pytest.mark.parametrize("command", COMMANDS)
def test_verifies(command, capsys):
    argv = [*map(in_data, command), "--no-isolation"]  # a process for each file takes its time
    assert main(argv) == 0, capsys.readouterr()


@pytest.mark.parametrize("name", LAMBDAS)
def test_a_lambda_is_refused_or_the_callers(name):
    with pytest.raises(KerasFileError, match="Python code") as error:
        load_keras(DATA / name)
    assert "\n" not in str(error.value)
    custom = {"lambda": lambda x: 2 * x, "lambda_1": lambda x: 2 * x}
    model, params = load_keras(DATA / name, custom_objects=custom)
    recorded = np.load((DATA / name).with_suffix(".npz"))
    y = model.apply(params, recorded["x0"])
    np.testing.assert_allclose(y, recorded["y0"], rtol=1e-5, atol=1e-5)


def test_counts():
    """The manifest is whole: a case lost on the way would otherwise pass unseen."""
    assert len(CASES) == 222
    assert len(COMMANDS) >= 228
    assert len(LAMBDAS) == 4
