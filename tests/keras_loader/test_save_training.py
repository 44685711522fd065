"""What acts in training alone goes through a saved file: by jrnn's eyes and by real Keras's."""

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import constraints, initializers, layers, regularizers

import jrnn
from jrnn import initializers as ours
from jrnn.cells.gru import GRUCell
from tests.keras_models import Draw

FORMATS = ("s.keras", "s.h5")
REGULARIZERS = (
    regularizers.L1(0.03),
    regularizers.L2(0.2),
    regularizers.L1L2(0.1, 0.7),
    regularizers.OrthogonalRegularizer(0.3, "columns"),
)
CONSTRAINTS = (
    constraints.MaxNorm(1.5),
    constraints.MaxNorm(3, axis=(0, 1)),
    constraints.MinMaxNorm(0.2, 0.9, 0.7, axis=1),
    constraints.NonNeg(),
    constraints.UnitNorm(axis=1),
)
INITIALIZERS = (
    "he_normal",
    initializers.RandomUniform(-0.3, 0.7),
    initializers.RandomNormal(0.1, 0.3),
    initializers.TruncatedNormal(0.1, 0.3),
    initializers.VarianceScaling(0.7, "fan_out", "untruncated_normal"),
    initializers.Orthogonal(0.9),
    initializers.Constant(0.25),
)
ARRAYS = ("kernel", "recurrent", "bias", "embeddings", "depthwise", "pointwise")
ARRAYS += ("gamma", "beta", "alpha")
MAKE = {
    "SimpleRNN": lambda **o: layers.SimpleRNN(
        4, return_sequences=True, dropout=0.1, recurrent_dropout=0.2, **o
    ),
    "GRU": lambda **o: layers.GRU(4, return_sequences=True, dropout=0.3, **o),
    "LSTM": lambda **o: layers.LSTM(
        4, return_sequences=True, unit_forget_bias=False, recurrent_dropout=0.2, **o
    ),
    "Dense": lambda **o: layers.Dense(4, **o),
    "Conv1D": lambda **o: layers.Conv1D(4, 2, **o),
    "DepthwiseConv1D": lambda **o: layers.DepthwiseConv1D(2, depth_multiplier=2, **o),
    "SeparableConv1D": lambda **o: layers.SeparableConv1D(4, 2, **o),
    "BatchNormalization": lambda **o: layers.BatchNormalization(momentum=0.7, **o),
    "LayerNormalization": lambda **o: layers.LayerNormalization(**o),
    "PReLU": lambda **o: layers.PReLU(**o),
}
IMAGES = {"ConvLSTM1D": lambda **o: layers.ConvLSTM1D(4, 2, **o)}


def keys(kind: str, end: str) -> list[str]:
    """The options of a Keras layer that end so, but for those of arrays that are not trained."""
    config = {**MAKE, **IMAGES}[kind]().get_config()
    return [key for key in config if key.rsplit("_", 1)[0] in ARRAYS and key.endswith(f"_{end}")]


def drawn(kind: str, draw: Draw) -> layers.Layer:
    """A layer with every penalty, constraint and initializer drawn."""
    recurrent = kind in ("SimpleRNN", "GRU", "LSTM", "ConvLSTM1D")
    options = {key: draw.one_of(REGULARIZERS[:3]) for key in keys(kind, "regularizer")}
    options |= {key: draw.one_of(CONSTRAINTS[2:4]) for key in keys(kind, "constraint")}
    if recurrent:
        options |= {key: draw.one_of(INITIALIZERS) for key in keys(kind, "initializer")}
        matrix = REGULARIZERS if kind in MAKE else REGULARIZERS[:3]
        options["kernel_regularizer"] = draw.one_of(matrix)
        options["kernel_constraint"] = draw.one_of(CONSTRAINTS)
        options["bias_initializer"] = draw.one_of((*INITIALIZERS[1:4], INITIALIZERS[-1]))
    options["activity_regularizer"] = draw.one_of(REGULARIZERS[:3])
    return {**MAKE, **IMAGES}[kind](trainable=draw.coin(), **options)


def training(config) -> dict:
    """The options of a Keras config that act in training, with numbers as Python has them."""
    words = ("regularizer", "constraint", "dropout", "trainable", "momentum", "rate", "stddev")
    words += ("recurrent_initializer", "unit_forget_bias", "l1", "l2", "noise_shape")
    found = {key: value for key, value in config.items() if any(word in key for word in words)}
    if "recurrent_initializer" in config:
        found |= {key: value for key, value in config.items() if key.endswith("initializer")}
    for key in ("layer", "backward_layer", "cell"):
        if isinstance(config.get(key), dict):
            found[key] = training(config[key]["config"])
    for key, value in found.items():
        if key.endswith("initializer") and isinstance(value, str):
            found[key] = initializers.serialize(initializers.get(value))
    return plain(found)


def plain(value):
    """Without what Keras writes in two ways: names or objects, lists or tuples, seeds."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "seed"}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def goes_through(model: keras.Model, folder, formats=FORMATS) -> None:
    """jrnn's model is equal after a save, and Keras's layers are as those that were saved."""
    model.save(folder / "m.keras")
    loaded, params = jrnn.load_keras(folder / "m.keras", backend="jax")
    for name in formats:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            jrnn.save_keras(folder / name, loaded, params, backend="jax")
        again, _ = jrnn.load_keras(folder / name, backend="jax")
        assert again == loaded
        theirs = keras.models.load_model(folder / name, compile=False)
        for found, layer in zip(theirs.layers, model.layers, strict=True):
            assert training(found.get_config()) == training(layer.get_config())
        x = np.random.default_rng(0).standard_normal((3, *model.input_shape[1:]))
        x = x.astype(model.inputs[0].dtype)
        model(x), theirs(x)  # whose outputs cost something
        np.testing.assert_allclose(
            [float(loss) for loss in theirs.losses],
            [float(loss) for loss in model.losses],
            rtol=1e-5,
        )


STACKS = {
    "loops": ("SimpleRNN", "GRU", "LSTM"),
    "convolutions": ("DepthwiseConv1D", "SeparableConv1D", "Conv1D"),
    "others": ("BatchNormalization", "LayerNormalization", "PReLU", "Dense"),
    "images": ("ConvLSTM1D",),
}


@pytest.mark.parametrize("kinds", STACKS)
def test_every_option_of_every_layer(kinds, tmp_path):
    keras.utils.clear_session()
    shape, draw = (5, 6, 3) if kinds == "images" else (5, 3), Draw(len(kinds))
    stack = [drawn(kind, draw) for kind in STACKS[kinds]]
    goes_through(keras.Sequential([keras.Input(shape), *stack]), tmp_path, FORMATS[:1])


def test_layers_in_layers(tmp_path):
    keras.utils.clear_session()
    l2 = regularizers.L2(0.1)
    x = keras.Input((5,), dtype="int32")
    h = layers.Embedding(7, 3, embeddings_regularizer=l2, embeddings_constraint="non_neg")(x)
    h = layers.TimeDistributed(layers.Dense(3, kernel_regularizer="l1"), trainable=False)(h)
    back = layers.GRU(3, go_backwards=True, return_sequences=True, bias_regularizer=l2)
    one = layers.GRU(3, return_sequences=True, kernel_constraint=constraints.MaxNorm(0.4))
    h = layers.Bidirectional(one, backward_layer=back)(h)
    cell = layers.LSTMCell(3, dropout=0.2, recurrent_regularizer=l2, kernel_initializer="ones")
    other = layers.SimpleRNNCell(4, bias_constraint="non_neg", bias_initializer="ones")
    h = layers.RNN([cell, other], return_sequences=True, activity_regularizer=l2)(h)
    lone = layers.GRUCell(3, recurrent_dropout=0.3, kernel_regularizer=regularizers.L1(0.3))
    h = layers.RNN(lone, return_sequences=True)(h)
    inner = keras.Sequential([keras.Input((5, 3)), layers.Dense(2, bias_constraint="non_neg")])
    h = layers.ActivityRegularization(l1=0.1, l2=0.3)(inner(h))
    goes_through(keras.Model(x, h), tmp_path)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.99999])
def test_noise_and_dropout(rate, tmp_path):
    keras.utils.clear_session()
    stack = [
        *(layers.Dropout(rate, noise_shape=(None, 1, 3)), layers.GaussianDropout(rate)),
        *(layers.SpatialDropout1D(rate), layers.AlphaDropout(rate), layers.GaussianNoise(rate)),
    ]
    goes_through(keras.Sequential([keras.Input((5, 3)), *stack]), tmp_path, FORMATS[:1])


@settings(max_examples=60, deadline=None)
@given(start=st.floats(-1e3, 1e3), width=st.floats(1e-3, 1e3))
def test_ends_of_a_uniform_initializer(start, width):
    name, options = ours.described(ours.random_uniform(start, start + width))
    assert ours.get(name, **options) == ours.random_uniform(start, start + width)


@pytest.mark.parametrize("name", ours.INITIALIZERS)
def test_every_initializer_is_described(name):
    found = ours.get(name)
    described, options = ours.described(found)
    assert ours.get(described, **options) == found


@keras.saving.register_keras_serializable(package="tests")
class Odd(regularizers.Regularizer):
    """One that jrnn does not know."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor * keras.ops.sum(x**4)

    def get_config(self):
        return {"factor": self.factor}


@pytest.mark.parametrize("name", FORMATS)
def test_what_jrnn_does_not_know_is_written_as_it_was(name, tmp_path):
    keras.utils.clear_session()
    odd = {"kernel_regularizer": Odd(0.5), "kernel_initializer": initializers.Constant(0.5)}
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2, **odd)])
    goes_through(model, tmp_path, [name])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dropout_each_step": True, "dropout": 0.2}, "dropout_each_step is True, and there False"),
        ({"recurrent_dropout": 0.2}, "dropout_per_gate is False, and there True"),
        ({"constraints": (("kernel", jrnn.constraints.radial()),)}, "constraints.*Radial"),
        ({"regularizers": (("kernel", np.sum),)}, "regularizers is .*sum"),
        (
            {"activity_regularizer": jrnn.regularizers.l1(0.1)},
            "activity_regularizer is L1L2.*there OverBatch",
        ),
        (
            {"cell": GRUCell(kernel_initializer=ours.per_block(ours.orthogonal(), 3))},
            "kernel_initializer is .*there 'glorot_uniform'",
        ),
    ],
)
def test_what_keras_3_trains_otherwise_is_told(change, says, tmp_path):
    keras.utils.clear_session()
    model = keras.Sequential([keras.Input((4, 3)), layers.GRU(2, name="g")])
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="jax")
    layer = dataclasses.replace(loaded.layers[0], **change)
    nodes = (loaded.nodes[0]._replace(layer=layer),)
    changed = dataclasses.replace(loaded, layers=(layer,), nodes=nodes)
    with pytest.warns(UserWarning, match=f"layer 'g' .GRU.: .*{says}"):
        jrnn.save_keras(tmp_path / "s.keras", changed, params, backend="jax")
    assert keras.models.load_model(tmp_path / "s.keras", compile=False).layers[0].name == "g"
