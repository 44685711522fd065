"""``load_keras`` over real files: which file gives what, and what is said when one is missing."""

import json
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

import jrnn
from jrnn import KerasFileError
from jrnn.keras_loader.load import load

DATA = Path(__file__).parents[1] / "data"
KERAS3 = DATA / "keras-3.15-jax"
KERAS2 = DATA / "keras-2.2.4"
WEIGHTS = KERAS2 / "embed_mask_lstm_dense_weights.h5"
JSON = KERAS2 / "embed_mask_lstm_dense.json"
WHOLE = KERAS2 / "embed_mask_lstm_dense.h5"


def same(params, others) -> None:
    assert jax.tree.structure(params) == jax.tree.structure(others)
    jax.tree.map(np.testing.assert_array_equal, params, others)


def test_architecture_and_weights_from_files_of_any_kind():
    model, params = jrnn.load_keras(WHOLE)
    for found, weights in (
        jrnn.load_keras(WEIGHTS, config=JSON),
        jrnn.load_keras(WEIGHTS, config=WHOLE),
        jrnn.load_keras(WEIGHTS, config=model),
        jrnn.load_keras(JSON, weights=WEIGHTS),
        jrnn.load_keras(str(WHOLE), weights=str(WEIGHTS)),
    ):
        assert found == model
        same(weights, params)


def test_the_first_files_kind_and_the_architectures_writer():
    loaded = load(WEIGHTS, config=JSON)
    assert loaded.kind == "legacy_weights"
    assert str(loaded.writer) == "Keras 2.2.4 on tensorflow"
    assert load(JSON, weights=WEIGHTS).kind == "config"
    assert load(KERAS3 / "lstm_last.keras").kind == "keras"
    assert load(WEIGHTS, config=loaded.model).writer is None


def test_what_is_missing_is_asked_for():
    for arguments, said in (
        ({"path": WEIGHTS}, "weights alone; give the architecture"),
        ({"path": JSON}, "give the weights file"),
        ({"path": WHOLE, "weights": JSON}, "give the weights file"),
        ({"path": WEIGHTS, "config": WEIGHTS}, "give the architecture"),
        ({"path": DATA / "nothing.h5"}, "No such file"),
        ({"path": WEIGHTS, "config": DATA / "nothing.json"}, "nothing.json"),
        ({"path": WHOLE, "weights": KERAS3 / "lstm_last.keras"}, "lstm_last.keras"),
    ):
        with pytest.raises(KerasFileError, match=said):
            jrnn.load_keras(**arguments)


def test_unknown_backends():
    with pytest.raises(ValueError, match="backend is 'mxnet'"):
        jrnn.load_keras(WHOLE, backend="mxnet")


def test_the_backend_decides_what_masked_steps_start_with():
    def starts(backend):
        model, _ = jrnn.load_keras(KERAS3 / "mask_explicit_initial_state.keras", backend=backend)
        recurrent = [layer for layer in model.layers if hasattr(layer, "masked_start")]
        return {layer.masked_start for layer in recurrent if not layer.unroll}

    assert starts("jax") == {"state"}
    assert starts("tensorflow") == starts("torch") == starts(None) == {"zeros"}


def zipped(path, config: dict, source: Path) -> Path:
    """A copy of a .keras file with another config."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as copy:
        for member in archive.namelist():
            changed = member == "config.json"
            copy.writestr(member, json.dumps(config) if changed else archive.read(member))
    return path


def config_of(source: Path) -> dict:
    with zipfile.ZipFile(source) as archive:
        return json.loads(archive.read("config.json"))


def test_errors_name_the_file_the_layer_and_both_shapes(tmp_path):
    source = KERAS3 / "lstm_last.keras"
    config = config_of(source)
    lstm = next(x for x in config["config"]["layers"] if x["class_name"] == "LSTM")
    name, units = lstm["config"]["name"], lstm["config"]["units"]
    lstm["config"]["units"] = units + 1
    with pytest.raises(KerasFileError) as caught:
        jrnn.load_keras(zipped(tmp_path / "model.keras", config, source))
    message = str(caught.value)
    for part in ("model.keras", repr(name), f"{4 * units})", f"{4 * units + 4})", "kernel of LSTM"):
        assert part in message


def test_nothing_is_read_unless_everything_fits(tmp_path, monkeypatch):
    source = KERAS3 / "embed_mask_lstm_dense.keras"
    config = config_of(source)
    config["config"]["layers"][-1]["config"]["units"] += 1
    path = zipped(tmp_path / "model.keras", config, source)
    read = []
    original = jrnn.keras_loader.read.StoredArray.read
    monkeypatch.setattr(
        jrnn.keras_loader.read.StoredArray,
        "read",
        lambda self: read.append(self.path) or original(self),
    )
    with pytest.raises(KerasFileError):
        jrnn.load_keras(path)
    assert read == []
    _, params = jrnn.load_keras(source)
    assert len(read) == len(jax.tree.leaves(params))


def test_parameters_outlive_the_file():
    model, params = jrnn.load_keras(WHOLE)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))
    assert model.apply(params, np.array([[1, 2, 0]])).shape[0] == 1
