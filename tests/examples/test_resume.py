"""A run that is killed and resumed is the run that was not, bit for bit."""

import dataclasses
import shutil
import signal
import sys
import time

import pytest

from jrnn.examples.characters import Characters
from jrnn.examples.digits import Digits
from jrnn.examples.forecast import Forecast
from jrnn.examples.trace import Row, Trace, draw, read_trace
from jrnn.examples.training import train
from tests.examples.processes import finish, losses, start

STEPS = 60
SMALL = ["--units", 8, "--batch-size", 4, "--steps", STEPS, "--save-every", 7]
TINY = Digits(units=4, batch_size=8)


def killed_after(folder, rows: int) -> int:
    """Kills a run, which may be writing a checkpoint, when it has done some steps; how many."""
    process = start("characters", "--output", folder, *SMALL)
    deadline = time.monotonic() + 300
    while len(losses(folder)) < rows:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return len(losses(folder))


def test_killed_and_resumed(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finish(start("characters", "--output", whole, *SMALL))
    done = [killed_after(parts, rows) for rows in (5, 22, 36)]  # the first before any checkpoint
    assert max(done) < STEPS
    finish(start("characters", "--output", parts, *SMALL))
    assert len(losses(whole)) == STEPS
    assert (parts / "trace.csv").read_bytes() == (whole / "trace.csv").read_bytes()
    assert losses(whole)[-1] < losses(whole)[0] - 0.5
    assert (parts / "learning_curve.png").stat().st_size > 10_000


def test_a_longer_run_goes_on(tmp_path):
    part = train(TINY, tmp_path / "a", steps=12, save_every=5)
    more = train(TINY, tmp_path / "a", steps=20, save_every=5)
    whole = train(TINY, tmp_path / "b", steps=20, save_every=100)
    assert (part.resumed, more.resumed, whole.resumed) == (0, 12, 0)
    assert [row.loss for row in more.rows] == [row.loss for row in whole.rows]
    assert more.metric == whole.metric
    again = train(TINY, tmp_path / "a", steps=20)
    assert (again.resumed, again.metric, again.rows) == (20, more.metric, more.rows)
    assert read_trace(tmp_path / "a" / "trace.csv") == more.rows


def test_seed_draws_everything(tmp_path):
    one, other = (train(TINY, tmp_path / str(seed), steps=2, seed=seed).rows for seed in (0, 1))
    assert one[0].loss != other[0].loss


def test_other_settings_are_refused(tmp_path):
    train(TINY, tmp_path, steps=2)
    with pytest.raises(ValueError, match=r"other settings \(units 4 became 5\)"):
        train(dataclasses.replace(TINY, units=5), tmp_path, steps=4)
    with pytest.raises(ValueError, match=r"seed 0 became 3"):
        train(TINY, tmp_path, steps=4, seed=3)
    with pytest.raises(ValueError, match="task digits became characters"):
        train(Characters(units=4), tmp_path, steps=4)
    with pytest.raises(ValueError, match="holds 2 steps, not 1"):
        train(TINY, tmp_path, steps=1)
    (tmp_path / "trace.csv").unlink()
    with pytest.raises(ValueError, match="has 0 steps, but the run was saved after 2"):
        train(TINY, tmp_path, steps=4)


@pytest.mark.parametrize("part", ["settings", "state"])
def test_a_damaged_checkpoint_is_named(part, tmp_path):
    whole = train(TINY, tmp_path, steps=4, save_every=2)
    shutil.rmtree(tmp_path / "checkpoints" / "4" / part)
    with pytest.raises(
        ValueError, match=r"checkpoints/4' cannot be read: it is damaged \(remove it"
    ):
        train(TINY, tmp_path, steps=4)
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    again = train(TINY, tmp_path, steps=4)
    assert again.resumed == 2
    assert [row.loss for row in again.rows] == [row.loss for row in whole.rows]


@pytest.mark.parametrize("lines", [b"1,abc,\n", b"1,2\n", b"2,0.5,\n", b"\xff\n"])
def test_a_damaged_trace_is_named(lines, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"step,loss,metric\n" + lines)
    with pytest.raises(ValueError, match=r"trace.csv' is damaged: "):
        Trace(path, 1)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path):
    task = Forecast(units=2, learning_rate=1e38)
    with pytest.raises(ValueError, match=r"the loss of step \d is (nan|inf); a lower learning"):
        train(task, tmp_path, steps=9)
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize("name", ["steps", "save_every", "measure_every"])
def test_counts_from_one(name, tmp_path):
    with pytest.raises(ValueError, match="must be 1 or more"):
        train(TINY, tmp_path, **{"steps": 1, name: 0})


@pytest.mark.parametrize("module", ["matplotlib.figure", "sklearn.datasets"])
def test_what_is_not_installed_is_missed_before_the_run(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"pip install 'jrnn\["):
        train(Digits(units=4), tmp_path / "run", steps=1)
    assert not (tmp_path / "run").exists()


def test_trace_keeps_what_counts(tmp_path):
    path = tmp_path / "trace.csv"
    rows = [Row(1, 0.1, None), Row(2, 1 / 3, 0.7), Row(3, 1e-30, None)]
    trace = Trace(path, 0)
    for row in rows:
        trace.add(row)
    trace.keep()
    assert read_trace(path) == rows
    with path.open("a") as file:
        file.write("4,0.12")  # a line that was being written
    assert read_trace(path) == rows
    assert Trace(path, 2).rows == rows[:2]
    assert read_trace(path) == rows[:2]


def test_learning_curve(tmp_path):
    draw([Row(1, 2.0, None), Row(2, 1.0, 0.5)], "metric", "title", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
