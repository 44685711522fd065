"""``save_keras``: files of every Keras, loaded, saved in each format and loaded again."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jrnn
from jrnn.keras_loader import build, save
from jrnn.keras_loader.load import load

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "manifest.json").read_text())
# What Keras 3 does not read from a .h5 file.
NOT_AS_H5 = {
    "keras-3.15-jax/dtype_bfloat16.h5": "bfloat16",
    "keras-3.15-jax/dtype_bfloat16.keras": "bfloat16",
}
FORMATS = ("m.keras", "m.h5", "m.weights.h5")
# What Keras 3 computes otherwise.
DIFFERENT = {
    "keras-1.0.8-theano/highway.h5": "Highway",
    "keras-1.2.2-theano/highway.h5": "Highway",
    "keras-1.2.2-theano/maxout_dense.h5": "MaxoutDense",
    "keras-2.0.8/mask_initial_state.h5": "masked_start",
    "keras-2.1.6-tf/list_nested_seq.h5": "is not known",
    "keras-2.1.6-tf/td_of_masked_td.h5": "mask_to_inner",
    "keras-2.2.2-tf/stacked_state_masked.h5": "reverse_states",
    "keras-2.2.4/embed_bigru_tagger.h5": "zero_output_for_mask",
    "keras-2.2.4/seq2seq_masked.h5": "masked_start",
    "keras-2.3.1/mask_bidir.h5": "zero_output_for_mask",
    "keras-3.0.5-jax/merge_masked.h5": "mask_rule",
    "keras-3.0.5-jax/softmax_explicit_mask.keras": "mask_rule",
    "keras-3.13-jax/cast_mask.keras": "cast_ends_mask",
    "tf.keras-2.13/softmax_explicit_mask.keras": "mask_rule",
    "tf.keras-2.14/locally_connected.keras": "LocallyConnected1D.*Keras 3 has no such layer",
    "tf.keras-2.2/relu_masked.h5": "passes_mask",
    "tf.keras-2.2/softmax_masked.h5": "mask_rule",
    "tf.keras-2.2/time_major_bidir.h5": "time_major",
    "tf.keras-2.3/softmax_after_mask.h5": "mask_rule",
    "tf.keras-2.4/softmax_explicit_mask.h5": "mask_rule",
    "tf.keras-2.15/td_masking_lstm.h5": "mask_from_inner",
    "tf.keras-2.15/td_masking_lstm.keras": "mask_from_inner",
}
UNSAVED = "tf.keras-2.2/peephole_nested.h5"  # no form of Keras 3 has peepholes


def files():
    """Every file with numbers, once: its name, how to load it, and its inputs."""
    found = {}
    for case in CASES:
        for _, name, *options in case.get("commands", ()):
            given = dict(zip(options[::2], options[1::2], strict=False))
            found[name] = {
                key: given.get(f"--{key}") for key in ("config", "weights", "backend", "data")
            }
    return found.items()


FILES = [pytest.param(name, given, id=name) for name, given in files() if name != UNSAVED]


@pytest.mark.parametrize("name", FORMATS)
def test_peepholes_are_refused(name, tmp_path):
    loaded = load(DATA / UNSAVED)
    with pytest.raises(ValueError, match=r"'rnn_3' .*Keras 3 has no cell with peepholes"):
        jrnn.save_keras(tmp_path / name, loaded.model, loaded.params)
    assert not list(tmp_path.iterdir())


def load_case(name: str, given: dict):
    paths = {key: given[key] and DATA / given[key] for key in ("config", "weights")}
    return load(DATA / name, **paths, backend=given["backend"])


def same_bits(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def quick(monkeypatch):
    """Without running models on shapes each time that a file is read: other tests do."""
    for module in (build, save):
        monkeypatch.setattr(module, "check_together", lambda model, params: None)


@pytest.mark.parametrize(("name", "given"), FILES)
@pytest.mark.usefixtures("quick")
def test_round_trip_is_exact(name, given, tmp_path, monkeypatch):
    loaded = load_case(name, given)
    model, params = loaded.model, loaded.params
    reason = DIFFERENT.get(name)
    if reason:
        for saved in FORMATS[:2]:
            with pytest.raises(ValueError, match=reason):
                jrnn.save_keras(tmp_path / saved, model, params)
        assert list(tmp_path.iterdir()) == []
        jrnn.save_keras(tmp_path / "m.weights.h5", model, params)
        return same_bits(load(tmp_path / "m.weights.h5", config=model).params, params)
    jrnn.save_keras(tmp_path / "m.keras", model, params)
    first = load(tmp_path / "m.keras")
    same_bits(first.params, params)
    monkeypatch.setattr(save, "check_same", lambda *one_config: None)  # has just been checked
    jrnn.save_keras(tmp_path / "m.weights.h5", model, params)
    same_bits(load(tmp_path / "m.weights.h5", config=first.model).params, params)
    if name in NOT_AS_H5:
        with pytest.raises(ValueError, match=NOT_AS_H5[name]):
            jrnn.save_keras(tmp_path / "m.h5", model, params)
        return None
    jrnn.save_keras(tmp_path / "m.h5", model, params)
    second = load(tmp_path / "m.h5")
    same_bits(second.params, params)
    assert second.model == first.model


@pytest.mark.parametrize(
    "name",
    [
        "keras-1.0.8-theano/simplernn_cpu.h5",
        "keras-2.2.4/cudnn_lstm_gru.h5",
        "tf.keras-2.3/stacked_cells_state.h5",
        "tf_keras-2.21/seq2seq_masked.h5",
    ],
)
def test_outputs_are_the_same_bits(name, tmp_path):
    given = dict(files())[name]
    loaded = load_case(name, given)
    jrnn.save_keras(tmp_path / "m.keras", loaded.model, loaded.params)
    model, params = jrnn.load_keras(tmp_path / "m.keras")
    with np.load(DATA / given["data"]) as data:
        xs = [data[f"x{k}"] for k in range(len(model.inputs))]
    outputs = model.apply(params, *xs)
    assert np.any(jax.tree.leaves(outputs)[0])
    same_bits(outputs, loaded.model.apply(loaded.params, *xs))


def test_a_model_is_always_the_same_file(tmp_path):
    model, params = jrnn.load_keras(DATA / "keras-3.15-jax/bidir_state.keras")
    for name in FORMATS:
        jrnn.save_keras(tmp_path / f"1{name}", model, params)
        jrnn.save_keras(tmp_path / f"2{name}", model, params)
        assert (tmp_path / f"1{name}").read_bytes() == (tmp_path / f"2{name}").read_bytes()


def test_counts():
    """The manifest is whole, and most of its models are ones that Keras 3 can hold."""
    assert len(FILES) >= 220
