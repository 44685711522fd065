"""Small configs that ask for much work: calls within calls, long chains, many inputs."""

import json
import time
from pathlib import Path

import pytest

from jrnn import KerasFileError, load_keras
from jrnn.keras_loader import size
from jrnn.keras_loader.build import abstract_run, blank_inputs
from jrnn.keras_loader.parse import parse_model
from jrnn.keras_loader.size import check_size
from jrnn.keras_loader.writer import writer_of
from jrnn.model.basic import ActivationLayer

DATA = Path(__file__).parents[1] / "data"
WRITER = writer_of("2.2.4", "tensorflow")
INPUT = {"batch_input_shape": [None, 3]}


def functional(name: str, layers: list[dict], output: list) -> dict:
    first = {"class_name": "InputLayer", "config": {"name": "i", **INPUT}, "inbound_nodes": []}
    config = {"name": name, "layers": [{"name": "i", **first}, *layers]}
    config |= {"input_layers": [["i", 0, 0]], "output_layers": [output]}
    return {"class_name": "Model", "name": name, "config": config}


def doubled(times: int) -> dict:
    """A model of one layer, called twice in a model that is called twice in a model, ..."""
    layer = {"class_name": "Activation", "name": "a", "inbound_nodes": [[["i", 0, 0]]]}
    layer["config"] = {"name": "a", "activation": "tanh"}
    model = functional("m", [layer], ["a", 0, 0])
    for k in range(times):
        name = model["name"]
        model["inbound_nodes"] = [[["i", 0, 0]], [[name, 1, 0]]]
        model = functional(f"m{k}", [model], [name, 2, 0])
    return model


def chain(length: int) -> dict:
    layers = [
        {"class_name": "Activation", "config": {"name": f"a{k}", "activation": "tanh", **INPUT}}
        for k in range(length)
    ]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


def merged(inputs: int) -> dict:
    layer = {"class_name": "Add", "name": "a", "config": {"name": "a"}}
    layer["inbound_nodes"] = [[["i", 0, 0]] * inputs]
    return functional("m", [layer], ["a", 0, 0])


@pytest.mark.parametrize("times", [0, 1, 5])
def test_counts_what_a_run_calls(times, monkeypatch):
    calls = []
    run = ActivationLayer.run

    def noted(self, *args):
        calls.append(self.name)
        return run(self, *args)

    monkeypatch.setattr(ActivationLayer, "run", noted)
    model = parse_model(doubled(times), WRITER)
    abstract_run(model, {}, blank_inputs(model))
    assert len(calls) == 2**times
    monkeypatch.setattr(size, "_MOST_CALLS", len(calls))
    check_size(model)
    monkeypatch.setattr(size, "_MOST_CALLS", len(calls) - 1)
    with pytest.raises(KerasFileError, match=f"makes {2**times} calls"):
        check_size(model)


@pytest.mark.parametrize(
    ("make", "most", "match"),
    [
        (chain, 4_096, "makes 4097 calls of layers"),
        (merged, 16_383, "with 16385 inputs"),  # and the model's own output
        (doubled, 11, "makes 4096 calls of layers with 20477 inputs"),
    ],
)
def test_the_most_and_one_more(make, most, match):
    check_size(parse_model(make(most), WRITER))
    with pytest.raises(KerasFileError, match=match):
        check_size(parse_model(make(most + 1), WRITER))


def test_a_doubling_file_is_refused_at_once(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(doubled(35)))
    assert path.stat().st_size < 20_000
    weights = DATA / "keras-2.2.4/cudnn_lstm_gru_weights.h5"
    begin = time.monotonic()
    with pytest.raises(KerasFileError, match=r"m.json.*more than a billion calls"):
        load_keras(path, weights=weights)
    assert time.monotonic() - begin < 5
