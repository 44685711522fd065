"""Initializers in a config: a loaded cell draws what a layer of its writer's Keras would."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from jrnn import initializers
from jrnn.cells.gru import GRUCell
from jrnn.cells.lstm import LSTMCell
from jrnn.keras_loader.serialized import Unknown
from jrnn.keras_loader.writer import writer_of
from tests.keras_entries import KERAS1, KERAS2, KERAS3, TF1, entry, model_of

KEY = jax.random.key(5)
KERAS11 = writer_of("1.1.2", "tensorflow")
SEED = {"seed": None}


def cell_of(kind="LSTM", writer=KERAS3, **options):
    [layer] = model_of(entry(kind, name="l", units=3, **options), writer=writer).layers
    return layer.cell


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("he_normal", "he_normal"),
        ({"class_name": "GlorotUniform", "config": SEED}, "glorot_uniform"),
        ({"class_name": "Orthogonal", "config": {"gain": 1.0, "seed": 7}}, "orthogonal"),
        ({"class_name": "OrthogonalInitializer", "config": SEED}, "orthogonal"),
        ({"class_name": "Zeros", "config": {"dtype": "float32"}}, "zeros"),
        ({"class_name": "Ones", "config": {}}, "ones"),
        (
            {"class_name": "Orthogonal", "config": {"gain": 0.5, **SEED}},
            initializers.orthogonal(0.5),
        ),
        ({"class_name": "Constant", "config": {"value": 2.0}}, initializers.constant(2.0)),
        (
            {"class_name": "RandomNormal", "config": {"mean": 1.0, "stddev": 0.5, **SEED}},
            initializers.random_normal(1.0, 0.5),
        ),
        (
            {"class_name": "RandomUniform", "config": {"minval": -1.0, "maxval": 0.5, **SEED}},
            initializers.random_uniform(-1.0, 0.5),
        ),
        (
            {
                "class_name": "VarianceScaling",
                "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", **SEED},
            },
            "glorot_uniform",
        ),
        (
            {
                "module": "keras.initializers",
                "class_name": "TruncatedNormal",
                "config": {"mean": 0.0, "stddev": 0.2, "seed": 3},
                "registered_name": None,
            },
            initializers.truncated_normal(0.0, 0.2),
        ),
    ],
    ids=lambda value: f"{value!r:.50}".split(" at 0x")[0],  # every process has its own addresses
)
@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_initializers_in_every_form(value, want, kind):
    cell = cell_of(kind, recurrent_initializer=value, bias_initializer=value)
    assert (cell.recurrent_initializer, cell.bias_initializer) == (want, want)
    assert cell.kernel_initializer == "glorot_uniform"


@pytest.mark.parametrize(
    "value",
    [
        "mine",
        3,
        {"class_name": "Mine", "config": {}},
        {"class_name": "Orthogonal", "config": {}, "registered_name": "mine>Orthogonal"},
        {"class_name": "Constant", "config": {"value": [[1.0]]}},
        {"class_name": "VarianceScaling", "config": {"scale": -1}},
    ],
    ids=lambda value: f"{value!r:.50}".split(" at 0x")[0],  # every process has its own addresses
)
def test_what_is_unknown_loads_and_raises_when_it_is_to_draw(value):
    cell = cell_of(kernel_initializer=value)
    assert isinstance(cell.kernel_initializer, Unknown)
    with pytest.raises(ValueError, match=r"its kernel_initializer is .* cannot compute"):
        cell.init(KEY, 3, 4)


@pytest.mark.parametrize("flag", [True, False])
def test_unit_forget_bias(flag):
    bias = cell_of(unit_forget_bias=flag, bias_initializer="ones").init(KEY, 3, 4).bias
    np.testing.assert_array_equal(bias, np.ones(16))
    bias = cell_of(unit_forget_bias=flag).init(KEY, 3, 4).bias
    np.testing.assert_array_equal(bias, np.repeat([0, float(flag), 0, 0], 4))
    assert cell_of(writer=TF1).unit_forget_bias


@pytest.mark.parametrize("name", ["GRU", "LSTM", "SimpleRNN"])
@pytest.mark.parametrize(
    ("kernel", "recurrent"),
    [
        (("GlorotUniform",), ("Orthogonal",)),
        (("HeNormal",), ("Orthogonal", 0.3)),
        (("VarianceScaling", 3.0, "fan_out"), ("LecunUniform",)),
        (("RandomUniform", -1.0, 2.0), ("RandomNormal", 0.5, 0.2)),
    ],
)
def test_draws_are_spread_as_those_of_keras(name, kernel, recurrent):
    keras.utils.set_random_seed(1)  # before the initializers are made: they take their seeds then
    options = {
        f"{role}_initializer": getattr(keras.initializers, kind)(*values)
        for role, (kind, *values) in (("kernel", kernel), ("recurrent", recurrent))
    }
    layer = getattr(keras.layers, name)(60, **options)
    model = keras.Sequential([keras.Input((2, 50)), layer])
    config = {"class_name": name, "config": layer.get_config()}
    cell = model_of(config, writer=KERAS3).layers[0].cell
    drawn = cell.init(KEY, 50, 60)
    for theirs, ours in zip(model.get_weights(), drawn, strict=False):
        assert theirs.shape == ours.shape
        levels = np.linspace(0.02, 0.98, 13)
        want = np.quantile(theirs, levels)
        np.testing.assert_allclose(
            np.quantile(ours, levels), want, atol=0.04 * max(np.ptp(want), 1e-9)
        )


def test_keras1_draws_gate_by_gate_and_version_12_both_kernels_alike():
    options = {"init": "glorot_uniform", "inner_init": "orthogonal"}
    old, new = cell_of(writer=KERAS11, **options), cell_of(writer=KERAS1, **options)
    gate = np.asarray(old.init(KEY, 30, 40).recurrent_kernel)[:, 40:80] / 1.1
    np.testing.assert_allclose(gate @ gate.T, np.eye(40), atol=1e-5)
    assert new.recurrent_initializer == new.kernel_initializer
    bound = np.sqrt(6 / (30 + 40))
    for kernel in (old.init(KEY, 30, 40).kernel, new.init(KEY, 30, 40).kernel):
        assert 0.98 * bound < np.abs(kernel).max() <= bound
    whole = cell_of(writer=KERAS1, consume_less="gpu", **options)
    rows = np.asarray(whole.init(KEY, 30, 40).recurrent_kernel) / 1.1
    assert rows.shape == (40, 160)
    assert whole.kernel_initializer == "glorot_uniform"


def test_names_of_keras1():
    cell = cell_of("SimpleRNN", KERAS1, init="zero", inner_init="identity")
    assert (cell.kernel_initializer, cell.recurrent_initializer) == ("zeros", "identity")
    options = {"init": "one", "inner_init": "normal", "consume_less": "gpu"}
    cell = cell_of("GRU", KERAS1, **options)
    assert (cell.kernel_initializer, cell.recurrent_initializer) == ("ones", "random_normal")
    assert cell_of(writer=KERAS1, forget_bias_init="one").unit_forget_bias
    assert not cell_of(writer=KERAS1, forget_bias_init="zero").unit_forget_bias
    cell = cell_of(writer=KERAS1, forget_bias_init="uniform")
    with pytest.raises(ValueError, match="forget_bias_init is 'uniform'"):
        cell.init(KEY, 3, 4)


def test_cudnn_cells_and_cells_of_rnn():
    assert cell_of("CuDNNGRU", KERAS2, kernel_initializer="ones") == GRUCell(
        kernel_initializer="ones"
    )
    assert cell_of("CuDNNLSTM", KERAS2, unit_forget_bias=False) == LSTMCell(unit_forget_bias=False)
    inner = entry("GRUCell", name="c", units=3, recurrent_initializer="he_uniform")
    [layer] = model_of(entry("RNN", name="r", cell=inner), writer=KERAS3).layers
    assert layer.cell.recurrent_initializer == "he_uniform"


def test_per_block_draws_each_block_by_itself():
    draw = initializers.per_block(initializers.orthogonal(), 3)
    blocks = np.split(np.asarray(draw(KEY, (4, 12), jnp.float32)), 3, axis=-1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(4), atol=1e-5)
    assert np.abs(blocks[0] - blocks[1]).max() > 0.1
    with pytest.raises(ValueError, match="3 equal blocks"):
        draw(KEY, (4, 10), jnp.float32)
