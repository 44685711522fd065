"""The Python of docs/training.md and docs/scaling.md runs."""

import math

from tests.docs.pages import run_python


def test_training(tmp_path):
    outcome = run_python("training.md", folder=tmp_path)["outcome"]
    assert len(outcome.rows) == 60
    assert outcome.report.startswith("1 + ... + 1 = ")
    assert (tmp_path / "learning_curve.png").exists()


def test_scaling():
    ran = run_python("scaling.md")
    assert math.isfinite(ran["loss"])
    assert ran["state"].keys() == ran["abstract"].keys()
