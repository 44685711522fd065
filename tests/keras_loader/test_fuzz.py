"""Configs changed in every small way: refused in one line, or loaded; nothing else may happen."""

import copy
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


def _nested(depth: int, make) -> object:
    value: object = 0
    for _ in range(depth):
        value = make(value)
    return value


REPLACEMENTS = (
    *(None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, 10**400, 0.5, -0.0, 1e30, 1e308),
    *(float("nan"), float("inf"), "", "x", "linear", "softmax", "../../etc/passwd", "é\0"),
    *([], {}, [[]], [None], [[None]], ["x", 0, 0], ["x", 0, -1], [["x", 0, 9]], [1e30], [True]),
    {"class_name": "x"},
    {"class_name": []},
    {"class_name": "LSTM", "config": {}},
    {"class_name": "Lambda", "config": {"function": ["4wA=", None, None]}},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 10**30, 0]}},
    {"class_name": "__slice__", "config": {"start": 10**30}},
    _nested(90, lambda inner: [inner]),
    _nested(90, lambda inner: {"a": inner}),
    _nested(40, lambda inner: {"class_name": "TimeDistributed", "config": {"layer": inner}}),
    _nested(40, lambda inner: {"class_name": "Sequential", "config": {"layers": [inner]}}),
)


def places(value: object, path: tuple = ()):
    """Yields the path of every value inside."""
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def at(value, path: tuple):
    for key in path:
        value = value[key]
    return value


def mutate(config: dict, rng: random.Random, paths: list) -> tuple[dict, str]:
    """Returns the config with one to three changes, and what they are."""
    changed, said = copy.deepcopy(config), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice(paths)
        how = rng.choice(("delete", "replace", "replace", "replace", "double", "swap", "copy"))
        try:
            parent = at(changed, path[:-1])
            _change(changed, parent, path, how, rng, paths)
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
        said.append(f"{how} {'/'.join(map(str, path))}")
    return changed, "; ".join(said)


def _change(config, parent, path: tuple, how: str, rng: random.Random, paths: list) -> None:
    key = path[-1]
    if how == "delete":
        del parent[key]
    elif how == "replace":
        parent[key] = copy.deepcopy(rng.choice(REPLACEMENTS))
    elif how == "copy":  # a value from elsewhere in the same file
        parent[key] = copy.deepcopy(at(config, rng.choice(paths)))
    elif how == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif how == "swap" and isinstance(parent, list) and parent:
        other = rng.randrange(len(parent))
        parent[key], parent[other] = parent[other], parent[key]


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
