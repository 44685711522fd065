"""What a config may not hold: each is refused with the layer's name, and never guessed at."""

import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.config import HARMLESS
from jrnn.keras_loader.layers import LAYERS
from jrnn.keras_loader.parse import parse_layer, parse_model
from tests.keras_entries import KERAS2, KERAS3, TF2, WRITERS, entry, sequential

GROUPED = {"head_dim": 2, "num_query_heads": 4, "num_key_value_heads": 2}


def layer(kind: str, **options) -> dict:
    """A layer of any kind with what it needs, and more."""
    dense = ("Dense", "TimeDistributedDense")
    recurrent = kind in ("LSTM", "GRU", "SimpleRNN", *dense, "CuDNNLSTM", "CuDNNGRU")
    rank = next((int(k) for k in "123" if f"{k}D" in kind), 0)
    wanted = {
        **({"units": 2} if recurrent else {}),
        **({"input_dim": 3, "output_dim": 2} if kind == "Embedding" else {}),
        **({"n": 2} if kind == "RepeatVector" else {}),
        **({"dims": [1]} if kind == "Permute" else {}),
        **({"target_shape": [2]} if kind == "Reshape" else {}),
        **({"axes": 1} if kind == "Dot" else {}),
        **({"num_heads": 2, "key_dim": 3} if kind == "MultiHeadAttention" else {}),
        **({"groups": 1} if kind == "GroupNormalization" else {}),
        **({"equation": "ab,bc->ac", "output_shape": 2} if kind == "EinsumDense" else {}),
        **({"filters": 2, "implementation": 1} if "LocallyConnected" in kind else {}),
        **({"output_dim": 2, "nb_feature": 3} if kind == "MaxoutDense" else {}),
        **(GROUPED if "QueryAttention" in kind else {}),
        **({"filters": 4} if "Conv" in kind and "Depthwise" not in kind else {}),
        **({"kernel_size": [3] * rank} if "Conv" in kind or "LocallyConnected" in kind else {}),
        **({"output_size": [2] * rank} if "Adaptive" in kind else {}),
    }
    return entry(kind, name="my_layer", **{**wanted, **options})


def refusal(config, writer=KERAS3) -> str:
    with pytest.raises(KerasFileError) as caught:
        parse_layer(config, writer)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("kind", LAYERS)
def test_options_with_a_meaning_are_refused_and_others_ignored(kind):
    plain = parse_layer(layer(kind), TF2)
    message = refusal(layer(kind, peephole=True), TF2)
    assert "'my_layer'" in message
    assert kind in message
    assert "'peephole' is True" in message
    for nothing in (None, False, 0, "", [], {}):
        assert parse_layer(layer(kind, peephole=nothing), TF2) == plain
    read = {"name", "trainable", "dtype", "input_dim", "noise_shape"}
    read |= {"dropout", "recurrent_dropout", "dropout_W", "dropout_U"}
    read |= {"implementation"} if "LocallyConnected" in kind else set()
    anything = {key: ["anything"] for key in HARMLESS - read}
    assert parse_layer(layer(kind, **anything), TF2).name == "my_layer"
    of_training = ("_regularizer", "_constraint", "_initializer", "init", "unit_forget_bias")
    ignored = {key: value for key, value in anything.items() if not key.endswith(of_training)}
    assert parse_layer(layer(kind, **ignored), TF2) == plain


@pytest.mark.parametrize(
    "units", [0, -1, 2**31, 10**30, True, False, "8", None, 2.5, 1e30, [8], {}, float("nan")]
)
@pytest.mark.parametrize("kind", ["LSTM", "Dense"])
def test_sizes_that_are_none(kind, units):
    assert "units is" in refusal(layer(kind, units=units))


def test_sizes_that_are_whole_floats_are_taken():
    assert parse_layer(layer("LSTM", units=1e3), KERAS3).units == 1000
    assert parse_layer(layer("LSTM", units=2**31 - 1), KERAS3).units == 2**31 - 1


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("LSTM", {"return_sequences": "yes"}, "return_sequences is 'yes'"),
        ("LSTM", {"stateful": 2}, "stateful is 2"),
        ("GRU", {"reset_after": "v3"}, "reset_after is 'v3'"),
        ("GRU", {"num_constants": 1}, "constants"),
        ("GRU", {"time_distributed": True}, "'time_distributed' is True"),
        ("Masking", {"mask_value": "0"}, "mask_value is '0'"),
        ("Masking", {"mask_value": 10**400}, "mask_value is 1000"),
        ("Dropout", {"rate": [0.5]}, "rate is [0.5]"),
        ("Permute", {"dims": [1, 3]}, "dims (1, 3)"),
        ("Permute", {"dims": "12"}, "dims is '12'"),
        ("Reshape", {"target_shape": [-1, -1]}, "more than one size open"),
        ("Reshape", {"target_shape": [-2]}, "target_shape is [-2]"),
        ("Reshape", {"target_shape": [2**40]}, "target_shape is"),
        ("Embedding", {"input_dim": 0}, "input_dim is 0"),
        ("RepeatVector", {"n": -1}, "n is -1"),
        ("Dense", {"dtype": "complex64"}, "dtype policy is 'complex64'"),
        ("Dense", {"dtype": "int8_from_float32"}, "dtype policy is 'int8_from_float32'"),
    ],
)
def test_values_of_no_sense(kind, options, said):
    assert said in refusal(layer(kind, **options))


def test_names_that_are_no_text():
    assert "name ['d']" in refusal(entry("Dense", name=["d"], units=1))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("QuantizedDTypePolicy", "gptq"),
        ("QuantizedFloat8DTypePolicy", "float8"),
        ("Int4DTypePolicy", "int4/128"),
        ("QuantizedDTypePolicy", None),
    ],
)
def test_quantised_policies(kind, mode):
    policy = {"class_name": kind, "config": {"mode": mode, "source_name": "float32"}}
    assert "of quantised layers jrnn loads" in refusal(layer("Embedding", dtype=policy))


@pytest.mark.parametrize(
    "quantizer",
    [
        3,
        {"class_name": "Other", "config": {}},
        {"class_name": "AbsMaxQuantizer", "config": {"value_range": [-300, 127]}},
        {"class_name": "AbsMaxQuantizer", "config": {"value_range": 127}},
        {"class_name": "AbsMaxQuantizer", "config": {"output_dtype": "uint8"}},
        {"class_name": "AbsMaxQuantizer", "config": {"epsilon": "small"}},
    ],
)
def test_quantisers_of_inputs(quantizer):
    policy = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}
    found = {"class_name": "QuantizationConfig", "config": {"activation_quantizer": quantizer}}
    message = refusal(layer("Dense", dtype=policy, quantization_config=found))
    assert "its inputs are quantised by" in message


@pytest.mark.parametrize(
    "activation",
    [
        "odd_act",
        "my_package>swish",
        "Keras>gelu",
        "tanh ",
        "Tanh",
        "affine",
        "hard_sigmoid_keras2",
        3,
        ["tanh"],
        True,
        {},
        {"class_name": "PReLU", "config": {}},
        {"class_name": "LeakyReLU"},
        {"class_name": "LeakyReLU", "config": {"slope_of_mine": 0.1}},
        {"class_name": "LeakyReLU", "config": {"alpha": "0.1"}},
        {"module": "my.layers", "class_name": "LeakyReLU", "config": {}},
        {"class_name": "LeakyReLU", "config": {}, "registered_name": "my>LeakyReLU"},
        {"module": "builtins", "class_name": "function", "config": "tanh"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("writer", [KERAS2, KERAS3], ids=str)
def test_unknown_activations(activation, writer):
    assert refusal(layer("LSTM", activation=activation), writer)
    assert refusal(layer("GRU", recurrent_activation=activation), writer)
    assert refusal(layer("Dense", activation=activation), writer)


@pytest.mark.parametrize(
    "origin",
    [
        {"module": "my_package.layers"},
        {"module": "builtins"},
        {"module": "os"},
        {"module": "keras_hub.layers"},
        {"module": ["keras"]},
        {"registered_name": "my_package>LSTM"},
        {"registered_name": "Custom"},
        {"registered_name": ["LSTM"]},
    ],
    ids=repr,
)
def test_classes_from_elsewhere(origin):
    assert "cannot load this layer" in refusal({**layer("LSTM"), **origin})
    with pytest.raises(KerasFileError, match="of Keras is needed"):
        parse_model({**sequential(layer("LSTM")), **origin}, KERAS3)


@pytest.mark.parametrize("origin", [{"module": "keras.layers"}, {"registered_name": "LSTM"}])
def test_classes_of_keras_by_full_name(origin):
    assert parse_layer({**layer("LSTM"), **origin}, KERAS3) == parse_layer(layer("LSTM"), KERAS3)


LAMBDAS = [
    {"name": "l", "function": ["4wEAAAA=", None, None], "function_type": "lambda"},
    {"name": "l", "function": "os.system", "function_type": "function"},
    {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}},
]


@pytest.mark.parametrize("writer", WRITERS, ids=str)
@pytest.mark.parametrize("config", LAMBDAS, ids=["marshalled", "named", "keras3"])
def test_lambda(config, writer):
    inner = {"class_name": "Lambda", "config": config}
    assert "Python code" in refusal(inner, writer)
    for around in (entry("TimeDistributed", layer=inner), entry("Bidirectional", layer=inner)):
        assert "Python code" in refusal(around, writer)
    with pytest.raises(KerasFileError, match="Python code"):
        parse_model(sequential(layer("LSTM"), inner), writer)


@pytest.mark.parametrize("kind", ["TFSMLayer", "StringLookup", "TorchModuleWrapper", "lstm", "", 3])
def test_unknown_classes(kind):
    assert refusal(entry(kind, name="my_layer"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": layer("Dense")}, "is a Dense, but a recurrent layer"),
        ({"layer": None}, "where a layer is needed"),
        ({"layer": layer("LSTM"), "backward_layer": layer("LSTM")}, "same go_backwards"),
        ({"layer": layer("LSTM"), "merge_mode": "max"}, "merge_mode is 'max'"),
        ({"layer": layer("LSTM"), "merge_mode": ["sum"]}, "merge_mode is"),
        ({"layer": layer("LSTM"), "num_constants": 2}, "constants"),
        ({"layer": layer("LSTM"), "weights_shared": True}, "'weights_shared' is True"),
        *(
            (
                {"layer": layer("LSTM"),
                 "backward_layer": layer("LSTM", go_backwards=True, **{option: True})},
                f"{option} differs",
            )
            for option in ("return_sequences", "return_state", "stateful", "time_major")
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bidirectional(options, said):
    assert said in refusal(entry("Bidirectional", name="b", **options))


def test_time_distributed():
    for inner in (layer("LSTM", stateful=True), entry("Bidirectional", layer=layer("GRU"))):
        outer = entry("TimeDistributed", name="t", layer=inner)
        if inner["class_name"] == "LSTM":
            assert "stateful" in refusal(outer)
        else:
            assert parse_layer(outer, KERAS3).layer.kind == "Bidirectional"
    assert "where a layer is needed" in refusal(entry("TimeDistributed", name="t"))


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        "LSTM",
        {},
        {"class_name": "Sequential"},
        {"class_name": "Sequential", "config": None},
        {"class_name": "Sequential", "config": []},
        {"class_name": "Sequential", "config": {"layers": []}},
        {"class_name": "Sequential", "config": {"layers": [None]}},
        {"class_name": "Functional", "config": []},
        {"class_name": "Functional", "config": {"layers": {}}},
        {"class_name": ["Sequential"], "config": {}},
        {"class_name": "MyModel", "config": {"layers": [layer("LSTM")]}},
        layer("LSTM"),
    ],
    ids=repr,
)
def test_models_that_are_none(config):
    for writer in WRITERS:
        with pytest.raises(KerasFileError):
            parse_model(config, writer)


def test_two_layers_of_one_name():
    with pytest.raises(KerasFileError, match="two of its layers have the name 'my_layer'"):
        parse_model(sequential(layer("LSTM"), layer("Dense")), KERAS3)


@pytest.mark.parametrize("shape", ["x", [None, -1], [None, 2.0], [None, 2**40], [None, "3"], 7])
def test_input_shapes_of_no_sense(shape):
    first = entry("InputLayer", name="x", batch_shape=shape)
    model = entry("Sequential", name="s", layers=[first, layer("LSTM")])
    with pytest.raises(KerasFileError, match="input shape"):
        parse_model(model, KERAS3)
