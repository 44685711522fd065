"""Random models of real Keras 3: saved, loaded, compared.

``pytest -m slow tests/keras_loader/test_random_models.py`` compares 500 of them, or as many as the
environment variable ``JRNN_RANDOM_MODELS`` says; what was compared is written as JSON where
``JRNN_RANDOM_MODELS_TALLY`` says.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("keras", minversion="3.0")

from tests.keras_loader.random_compare import compare
from tests.keras_loader.random_models import Drawn, drawn_models
from tests.keras_loader.random_tally import Tally

UNHURRIED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def run(count: int, *, derandomize: bool = False) -> Tally:
    """Compares so many models."""
    tally = Tally()

    @settings(max_examples=count, derandomize=derandomize, **UNHURRIED)
    @given(drawn_models())
    def one(drawn: Drawn) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tally.add(drawn, compare(drawn, Path(folder)))

    one()
    return tally


def test_random_models():
    tally = run(40, derandomize=True)
    assert sum(tally.formats.values()) >= 30
    assert len(tally.formats) == 3


@pytest.mark.slow
def test_many_random_models():
    tally = run(int(os.environ.get("JRNN_RANDOM_MODELS", "500")))
    if "JRNN_RANDOM_MODELS_TALLY" in os.environ:
        Path(os.environ["JRNN_RANDOM_MODELS_TALLY"]).write_text(tally.as_json())
    assert {"GRU", "LSTM", "SimpleRNN", "RNN", "Bidirectional", "TimeDistributed"} <= {
        layer for layer, _ in tally.counts
    }
