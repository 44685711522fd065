"""Configs changed in every small way: refused in one line, or loaded; nothing else may happen."""

import json
import random
import time
from pathlib import Path

import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.load import _writer
from jrnn.keras_loader.parse import parse_model
from jrnn.keras_loader.read import open_keras
from tests.fuzz.config_mutations import REPLACEMENTS, mutate, places

DATA = Path(__file__).parents[1] / "data"
FILES = (
    "keras-1.2.2-tf/gru_cpu.h5",
    "keras-2.2.4/seq2seq_lstm.h5",
    "keras-2.2.4/bidir_state.h5",
    "tf.keras-2.12/embed_mask_lstm_dense.keras",
    "keras-3.15-jax/op_nodes.keras",
    "keras-3.15-jax/nested_timedistributed_model.keras",
    "keras-3.15-jax/seq2seq_masked.keras",
    "keras-3.15-jax/bidir_initial_state.keras",
    "keras-3.15-jax/stacked_cells_state.keras",
    "keras-2.3.1/cudnn_bidirectional.h5",
)
SLOWEST = 5.0  # seconds; a load takes some milliseconds


def refusal_of(config: dict, writer, weights) -> str | None:
    """Returns the message with which a config is refused, or None where it loads."""
    try:
        build_params(parse_model(config, writer), weights)
    except KerasFileError as error:
        return str(error)
    return None


def try_all(name: str, count: int, seed: int) -> tuple[int, int]:
    """Loads mutated configs with the file's own weights; returns how many went in, and not."""
    rng, loaded, refused = random.Random(seed), 0, 0
    with open_keras(DATA / name) as file:
        writer = _writer(file, file, "tensorflow")
        assert build_params(parse_model(file.config, writer), file.weights)
        paths = list(places(file.config))
        for _ in range(count):
            config, said = mutate(file.config, rng, paths)
            config = json.loads(json.dumps(config))
            begin = time.perf_counter()
            try:
                refusal = refusal_of(config, writer, file.weights)
            except Exception as error:
                raise AssertionError(f"{name}: {said}: {type(error).__name__}: {error}") from error
            if refusal is None:
                loaded += 1
            else:
                refused += 1
                assert "\n" not in refusal, said
                assert len(refusal) < 1500, said
            assert time.perf_counter() - begin < SLOWEST, said
    return loaded, refused


@pytest.mark.parametrize("name", FILES)
def test_some_mutations_load_or_are_refused(name):
    loaded, refused = try_all(name, 40, seed=0)
    assert loaded > 0
    assert refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("name", FILES)
def test_many_mutations_load_or_are_refused(name, seed):
    loaded, refused = try_all(name, 300, seed)
    assert loaded > 0
    assert refused > 0


@pytest.mark.parametrize("name", FILES)
def test_a_config_in_another_shape_is_refused(name):
    with open_keras(DATA / name) as file:
        writer = _writer(file, file, None)
        for value in REPLACEMENTS:
            with pytest.raises(KerasFileError):
                parse_model(value, writer)
            for key in ("class_name", "config"):
                with pytest.raises(KerasFileError):
                    parse_model({**file.config, key: value}, writer)
