"""Random models of real Keras 3: saved, loaded, and compared in outputs, states and gradients.

``pytest -m slow tests/keras_loader/test_random_models.py`` compares 500 of them, or as many as the
environment variable ``JRNN_RANDOM_MODELS`` says. Where ``JRNN_RANDOM_MODELS_TALLY`` names a file,
it writes there as JSON how often each layer and option was compared, in which format.
"""

import os
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("keras", minversion="3.0")

from tests.keras_loader.random_compare import compare
from tests.keras_loader.random_models import Drawn, drawn_models, seeded_model
from tests.keras_loader.random_tally import Tally

CLEAR_EVERY = 100  # models, whose compiled programs would fill the memory


def test_random_models(tmp_path):
    tally = Tally()

    @settings(max_examples=20, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(drawn_models())
    def one(drawn: Drawn) -> None:
        tally.add(drawn, compare(drawn, tmp_path))

    one()
    assert sum(tally.formats.values()) >= 16
    assert len(tally.formats) == 3


@pytest.mark.slow
def test_many_random_models(tmp_path):
    tally, failed = Tally(), []
    count = int(os.environ.get("JRNN_RANDOM_MODELS", "500"))
    for seed in range(count):
        try:
            drawn = seeded_model(seed)
            tally.add(drawn, compare(drawn, tmp_path))
        except Exception as error:  # one model must not end the run
            failed.append(f"seed {seed}: {error!r:.300}")
        if seed % CLEAR_EVERY == 0:
            jax.clear_caches()
    if "JRNN_RANDOM_MODELS_TALLY" in os.environ:
        Path(os.environ["JRNN_RANDOM_MODELS_TALLY"]).write_text(tally.as_json())
    assert not failed, "\n".join(failed)
    assert sum(tally.formats.values()) >= 0.9 * count
    compared = {layer for layer, _ in tally.counts}
    assert {"Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN", "TimeDistributed"} <= compared
