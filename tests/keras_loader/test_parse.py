"""Configs as every Keras spells them -> typed layers; what is not understood is refused."""

import pytest

from jrnn import (
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    activations,
    initializers,
    regularizers,
)
from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.parse import parse_layer, parse_model
from jrnn.keras_loader.writer import Writer
from jrnn.model.basic import (
    ActivationLayer,
    Dense,
    Embedding,
    Flatten,
    Identity,
    Masking,
    Permute,
    RepeatVector,
    Reshape,
    TimeDistributed,
)
from jrnn.model.noise import Dropout, GaussianNoise
from jrnn.model.recurrent import Bidirectional, Recurrent
from tests.keras_entries import (
    KERAS1,
    KERAS2,
    KERAS3,
    TF1,
    TF2,
    WRITERS,
    entry,
    sequential,
)


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_hard_sigmoid_is_the_writers_own(writer: Writer):
    name = "hard_sigmoid" if writer.major == 3 else "hard_sigmoid_keras2"
    layer = parse_layer(entry("LSTM", units=2, recurrent_activation="hard_sigmoid"), writer)
    assert layer.cell.recurrent_activation == name
    dense = parse_layer(entry("Dense", units=2, activation="hard_sigmoid"), writer)
    assert dense.activation == name
    assert activations.get(name)(2.75) == (1.0 if writer.major < 3 else pytest.approx(0.958333))


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_recurrent_defaults_are_the_writers(writer: Writer):
    gate = writer.gate_activation + ("_keras2" if writer.gate_activation == "hard_sigmoid" else "")
    cells = {
        "SimpleRNN": SimpleRNNCell(),
        "GRU": GRUCell(recurrent_activation=gate, reset_after=writer.reset_after),
        "LSTM": LSTMCell(recurrent_activation=gate),
    }
    for kind, cell in cells.items():
        layer = parse_layer(entry(kind, name="r", units=5), writer)
        assert layer == Recurrent(
            name="r", kind=kind, cell=cell, units=5, masked_start=writer.masked_start(False)
        )


def test_keras1_spelling():
    config = {
        "name": "lstm_1",
        "output_dim": 6,
        "inner_activation": "sigmoid",
        "activation": "relu",
        "init": "glorot_uniform",
        "inner_init": "orthogonal",
        "forget_bias_init": "one",
        "consume_less": "gpu",
        "W_regularizer": {"name": "WeightRegularizer", "l2": 0.1},
        "dropout_W": 0.2,
        "dropout_U": 0.1,
        "input_dim": 3,
        "input_length": None,
        "batch_input_shape": [None, 7, 3],
        "input_dtype": "float32",
        "go_backwards": True,
        "stateful": False,
        "unroll": False,
        "return_sequences": True,
        "trainable": False,
    }
    assert parse_layer({"class_name": "LSTM", "config": config}, KERAS1) == Recurrent(
        name="lstm_1",
        kind="LSTM",
        trainable=False,
        regularizers=(("kernel", regularizers.l2(0.1)),),
        dropout=0.2,
        recurrent_dropout=0.1,
        cell=LSTMCell(
            activation="relu",
            recurrent_activation="sigmoid",
            recurrent_initializer=initializers.orthogonal(1.1),
        ),
        units=6,
        go_backwards=True,
        return_sequences=True,
        masked_start="state",
    )


def test_every_recurrent_option_of_keras3():
    config = {
        "name": "g",
        "trainable": True,
        "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "units": 4,
        "activation": "swish",
        "recurrent_activation": None,
        "use_bias": False,
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "dropout": 0.5,
        "recurrent_dropout": 0.5,
        "reset_after": False,
        "seed": 1,
    }
    found = parse_layer(
        {
            "module": "keras.layers",
            "class_name": "GRU",
            "registered_name": None,
            "config": config,
            "build_config": {"input_shape": [None, 4, 3]},
        },
        KERAS3,
    )
    assert found == Recurrent(
        name="g",
        kind="GRU",
        cell=GRUCell(
            activation="swish", recurrent_activation="linear", reset_after=False, use_bias=False
        ),
        units=4,
        dropout=0.5,
        recurrent_dropout=0.5,
        dropout_per_gate=True,
        return_sequences=True,
        return_state=True,
        go_backwards=True,
        stateful=True,
        unroll=True,
        zero_output_for_mask=False,  # Keras 3 on JAX ignores it when unrolled
        masked_start="zeros",
    )


def test_time_major_and_zero_output_of_tf_keras():
    layer = parse_layer(entry("GRU", units=1, time_major=True, zero_output_for_mask=True), TF2)
    assert layer.time_major
    assert layer.zero_output_for_mask


PLAIN = [
    (entry("Dense", name="d", output_dim=3, bias=False, activation="tanh"), KERAS1,
     Dense(name="d", kind="Dense", units=3, activation="tanh", use_bias=False)),
    (entry("Dense", name="d", units=3), KERAS3, Dense(name="d", kind="Dense", units=3)),
    (entry("Embedding", name="e", input_dim=9, output_dim=2, dtype="int32", mask_zero=True,
           input_length=5, dropout=0.0), KERAS2,
     Embedding(name="e", kind="Embedding", input_dim=9, output_dim=2, mask_zero=True)),
    (entry("Masking", name="m", mask_value=-1), KERAS2,
     Masking(name="m", kind="Masking", mask_value=-1.0)),
    (entry("Activation", name="a", activation="elu"), TF1,
     ActivationLayer(name="a", kind="Activation", activation="elu")),
    (entry("Dropout", name="d", p=0.25), KERAS1, Dropout(name="d", kind="Dropout", rate=0.25)),
    (entry("Dropout", name="d", rate=0.25, noise_shape=[1], seed=3), KERAS3,
     Dropout(name="d", kind="Dropout", rate=0.25, noise_shape=(1,))),
    (entry("GaussianNoise", name="n", stddev=0.5), KERAS2,
     GaussianNoise(name="n", kind="GaussianNoise", stddev=0.5)),
    (entry("ActivityRegularization", name="n", l1=0.1, l2=0.2), KERAS2,
     Identity(
         name="n", kind="ActivityRegularization", activity_regularizer=regularizers.l1_l2(0.1, 0.2)
     )),
    (entry("Flatten", name="f", data_format="channels_first"), TF2,
     Flatten(name="f", kind="Flatten", channels_first=True)),
    (entry("Reshape", name="r", target_shape={"class_name": "__tuple__", "items": [-1, 2]}), TF2,
     Reshape(name="r", kind="Reshape", target_shape=(-1, 2))),
    (entry("Permute", name="p", dims=[2, 1]), KERAS1,
     Permute(name="p", kind="Permute", dims=(2, 1))),
    (entry("RepeatVector", name="v", n=1e3), KERAS3,
     RepeatVector(name="v", kind="RepeatVector", n=1000)),
]  # fmt: skip


@pytest.mark.parametrize(("config", "writer", "expected"), PLAIN, ids=lambda v: str(v)[:40])
def test_plain_layers(config, writer, expected):
    assert parse_layer(config, writer) == expected


@pytest.mark.parametrize(
    ("policy", "dtype"),
    [
        (None, None),
        ("float32", None),
        ("float16", "float16"),
        ({"class_name": "Policy", "config": {"name": "mixed_float16"}}, "float16"),
        ({"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}, "bfloat16"),
        ({"class_name": "DTypePolicy", "config": {"name": "float64"}}, "float64"),
    ],
)
def test_dtype_policies(policy, dtype):
    assert parse_layer(entry("Dense", units=1, dtype=policy), KERAS3).dtype == dtype


def lstm(**options) -> dict:
    return entry("LSTM", **{"name": "inner", "units": 2, **options})


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_bidirectional_defaults_by_writer(writer: Writer):
    outer = entry("Bidirectional", name="b", layer=lstm(return_sequences=True), merge_mode="ave")
    found = parse_layer(outer, writer)
    assert isinstance(found, Bidirectional)
    assert found.merge == "ave"
    assert (found.forward.go_backwards, found.backward.go_backwards) == (False, True)
    zeroes = writer.tf or writer.major == 3
    assert found.forward.zero_output_for_mask == found.backward.zero_output_for_mask == zeroes
    last = parse_layer(entry("Bidirectional", layer=lstm()), writer)
    assert not last.forward.zero_output_for_mask
    assert last.merge == "concat"


def test_bidirectional_negates_before_keras3_and_forces_then():
    outer = entry("Bidirectional", layer=lstm(go_backwards=True), merge_mode=None)
    for writer in (KERAS1, KERAS2, TF2):
        found = parse_layer(outer, writer)
        assert (found.forward.go_backwards, found.backward.go_backwards) == (True, False)
        assert found.merge is None
    with pytest.raises(KerasFileError, match="same go_backwards"):
        parse_layer(outer, KERAS3)


def test_bidirectional_with_its_own_backward_layer():
    backward = entry("GRU", name="back", units=5, go_backwards=True, reset_after=False)
    found = parse_layer(entry("Bidirectional", layer=lstm(), backward_layer=backward), KERAS3)
    assert found.backward.units == 5
    assert found.backward.cell == GRUCell(reset_after=False)


def test_time_distributed_holds_layers_and_models():
    outer = entry("TimeDistributed", name="t", layer=entry("Dense", name="d", units=2))
    found = parse_layer(outer, KERAS2)
    inner = Dense(name="d", kind="Dense", units=2)
    assert found == TimeDistributed(name="t", kind="TimeDistributed", layer=inner)
    inner = sequential(lstm(), name="s")
    model = parse_layer(entry("TimeDistributed", name="t", layer=inner), KERAS2)
    assert model.layer == parse_model(inner, KERAS2)


def test_activation_objects_of_keras():
    leaky = {"class_name": "LeakyReLU", "config": {"name": "l", "alpha": 0.25}}
    layer = parse_layer(entry("Dense", units=1, activation=leaky), TF2)
    assert layer.activation == activations.get("leaky_relu", alpha=0.25)
    leaky = {"module": "keras.layers", "class_name": "LeakyReLU", "config": {}}
    layer = parse_layer(entry("Dense", units=1, activation=leaky), KERAS3)
    assert layer.activation == activations.get("leaky_relu", alpha=0.3)
    elu = {"class_name": "ELU", "config": {"alpha": 2}}
    assert parse_layer(lstm(activation=elu), TF2).cell.activation(-100.0) == -2.0
