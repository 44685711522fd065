"""What ``save_keras`` refuses, and that nothing is written then; and the layouts in detail."""

import dataclasses
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn.cells.lstm import LSTMCell
from jrnn.keras_loader import save, write
from jrnn.layers.core import DenseParams
from jrnn.model.basic import ActivationLayer, Dense, Masking
from jrnn.model.convolution import Convolution, ConvolutionParams
from jrnn.model.graph import Input, Model, Node, Ref
from jrnn.model.merging import Cosine
from jrnn.model.normalization import UnitNormalization
from jrnn.model.older import (
    Highway,
    HighwayParams,
    LocallyConnected1D,
    LocallyConnected2D,
    MaxoutDense,
)
from jrnn.model.recurrent import Recurrent

DATA = Path(__file__).parents[1] / "data"
FORMATS = ("m.keras", "m.h5", "m.weights.h5")


def chain(*layers, shape=(None, 4, 3)) -> Model:
    """A Sequential model."""
    refs = [Ref("x"), *(Ref(layer.name) for layer in layers)]
    return Model(
        name="chain",
        kind="Sequential",
        inputs=(Input("x", shape, "float32"),),
        nodes=tuple(Node(layer, 0, refs[k : k + 1]) for k, layer in enumerate(layers)),
        outputs=(refs[-1],),
        layers=layers,
    )


def normal(*shape: int):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), "float32")


def lstm(name: str = "lstm", cell: LSTMCell | None = None, **options) -> Recurrent:
    return Recurrent(name=name, kind="LSTM", cell=cell or LSTMCell(), units=2, **options)


def lstm_params():
    return LSTMCell().init(jax.random.key(0), 3, 2)


DENSE = Dense(name="dense", kind="Dense", units=2)
DENSE_PARAMS = DenseParams(normal(3, 2), normal(2))
CONVOLUTION = Convolution(
    name="conv", kind="Conv1D", filters=2, kernel_size=(2,), strides=(1,), dilation=(1,)
)


OLDER = (
    (
        Highway(name="Highway", kind="Highway"),
        HighwayParams(*[normal(3, 3)] * 2, *[normal(3)] * 2),
    ),
    (
        MaxoutDense(name="MaxoutDense", kind="MaxoutDense", units=2, choices=4),
        DenseParams(normal(4, 3, 2), normal(4, 2)),
    ),
    (
        LocallyConnected1D(
            name="LocallyConnected1D", kind="LocallyConnected1D", units=2, width=2, stride=1
        ),
        DenseParams(normal(3, 6, 2), normal(3, 2)),
    ),
    (
        LocallyConnected2D(
            name="LocallyConnected2D", kind="LocallyConnected2D", units=2, kernel_size=(2, 3)
        ),
        DenseParams(normal(3, 6, 2), normal(3, 1, 2)),
    ),
)


@pytest.mark.parametrize(
    ("model", "params", "says"),
    [
        (chain(lstm(time_major=True)), {"lstm": lstm_params()}, "'lstm'.*time_major"),
        (
            chain(lstm(cell=LSTMCell(cell_clip=3.0))),
            {"lstm": lstm_params()},
            "'lstm'.*cell_clip",
        ),
        (
            chain(lstm(cell=LSTMCell(output_activation="relu"))),
            {"lstm": lstm_params()},
            "'lstm'.*output_activation",
        ),
        (
            chain(dataclasses.replace(DENSE, activation=jnp.sin)),
            {"dense": DENSE_PARAMS},
            "'dense'.*activation 'sin'",
        ),
        (
            chain(dataclasses.replace(DENSE, name="a/b")),
            {"a/b": DENSE_PARAMS},
            "'a/b'.*names with '/'",
        ),
        (
            chain(dataclasses.replace(CONVOLUTION, padding="full")),
            {"conv": DenseParams(normal(2, 3, 2), normal(2))},
            "'conv'.*padding 'full'",
        ),
        (
            chain(UnitNormalization(name="unit", kind="UnitNormalization", smallest=1e-6)),
            {},
            "'unit'.*smallest is 1e-06, and there 1e-12",
        ),
        (
            chain(
                Masking(name="masking", kind="Masking"),
                lstm(masked_start="state", stateful=True, return_sequences=True),
                shape=(2, 4, 3),
            ),
            {"lstm": lstm_params()},
            "'lstm'.*masked_start is 'state', and there 'zeros'.*backend='jax'",
        ),
        (chain(DENSE, shape=None), {"dense": DENSE_PARAMS}, "shape of its input 'x'"),
        *(
            (chain(layer), {layer.name: params}, f"{layer.kind!r}.*Keras 3 has no such layer")
            for layer, params in OLDER
        ),
        (chain(Cosine(name="cosine", kind="Merge")), {}, "'cosine'.*merge mode 'cos'"),
        (
            chain(ActivationLayer(name="act", kind="Activation", activation="scaled_tanh")),
            {},
            "'act'.*scaled_tanh",
        ),
    ],
)
@pytest.mark.parametrize("name", FORMATS[:2])
def test_what_keras_3_has_not(name, model, params, says, tmp_path, monkeypatch):
    monkeypatch.setattr(save, "check_together", lambda model, params: None)
    with pytest.raises(ValueError, match=says) as error:
        jrnn.save_keras(tmp_path / name, model, params)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lstm(masked_start="state", stateful=True, return_sequences=True), (2, 4, 3)),
        (lstm(masked_start="state", return_sequences=True), (None, None, 3)),
        (lstm(zeroes_mirrored_steps=True, go_backwards=True), (None, 4, 3)),
        (dataclasses.replace(CONVOLUTION, same_rule="theano"), (None, 4, 3)),
    ],
)
def test_a_difference_that_changes_no_number_is_none(layer, shape, tmp_path):
    """Without a mask, without a state to repeat, without padding: the programs are equal."""
    params = lstm_params() if layer.name == "lstm" else DenseParams(normal(2, 3, 2), normal(2))
    if layer.name == "conv":
        params = ConvolutionParams(*params)
    model = chain(layer, shape=shape)
    jrnn.save_keras(tmp_path / "m.keras", model, {layer.name: params})
    again, _ = jrnn.load_keras(tmp_path / "m.keras")
    x = normal(2, 4, 3)
    expected = model.apply({layer.name: params}, x)
    np.testing.assert_array_equal(again.apply({layer.name: params}, x), expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda params: {}, "hold \\[\\], but arrays for the layers \\['dense'\\]"),
        (lambda params: {**params, "other": DENSE_PARAMS}, "'other'"),
        (lambda params: {"dense": DenseParams(normal(3, 2))}, "'dense'.*needs kernel.*bias"),
        (lambda params: {"dense": DenseParams(normal(3, 4), normal(4))}, "'dense'.*\\(any, 2\\)"),
        (lambda params: {"dense": DenseParams(normal(5, 2), normal(2))}, "do not fit together"),
        (lambda params: {"dense": None}, "'dense'.*NoneType"),
        (
            lambda params: {"dense": DenseParams(jnp.ones((3, 2), int), normal(2))},
            "'dense'.*int32.*floating",
        ),
        (lambda params: [DENSE_PARAMS], "hold list"),
    ],
)
@pytest.mark.parametrize("name", FORMATS)
def test_params_that_do_not_fit(name, change, says, tmp_path):
    model, params = chain(DENSE), {"dense": DENSE_PARAMS}
    jrnn.save_keras(tmp_path / name, model, params)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ValueError, match=says):
        jrnn.save_keras(tmp_path / name, model, change(params))
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_names_and_places(tmp_path):
    model, params = chain(DENSE), {"dense": DENSE_PARAMS}
    for name, says in (("m.pt", "ending"), ("none/m.keras", "cannot be written")):
        with pytest.raises(ValueError, match=says):
            jrnn.save_keras(tmp_path / name, model, params)
    for arguments, says in (
        ((None, model, params), "path is a NoneType"),
        ((tmp_path / "m.keras", params, model), "model is a dict"),
    ):
        with pytest.raises(ValueError, match=says):
            jrnn.save_keras(*arguments)
    with pytest.raises(ValueError, match="being traced"):
        jax.jit(lambda params: jrnn.save_keras(tmp_path / "m.keras", model, params))(params)
    with pytest.raises(ValueError, match="path is a NoneType"):
        jrnn.load_keras(None)  # pyright: ignore[reportArgumentType]
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(ValueError, match="folder"):
        jrnn.save_keras(tmp_path / "folder.h5", model, params)
    with pytest.raises(ValueError, match="backend is 'theano'"):
        jrnn.save_keras(tmp_path / "m.keras", model, params, backend="theano")
    jrnn.save_keras(str(tmp_path / "M.KERAS"), model, params)
    with pytest.raises(ValueError, match="is there already"):
        jrnn.save_keras(tmp_path / "M.KERAS", model, params, overwrite=False)
    jrnn.save_keras(tmp_path / "M.KERAS", model, params)


@pytest.mark.parametrize("name", FORMATS)
def test_a_write_that_fails_leaves_what_was_there(name, tmp_path, monkeypatch):
    model, params = chain(DENSE), {"dense": DENSE_PARAMS}
    jrnn.save_keras(tmp_path / name, model, params)
    before = (tmp_path / name).read_bytes()

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(OSError, match="no space"):
        jrnn.save_keras(tmp_path / name, model, params)
    assert (tmp_path / name).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_long_lists_of_names_are_split(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "LARGEST_ATTRIBUTE", 100)
    layers = [dataclasses.replace(DENSE, name=f"dense_{k}", units=3) for k in range(40)]
    params = {
        layer.name: DenseParams(normal(3, 3) + k, normal(3)) for k, layer in enumerate(layers)
    }
    jrnn.save_keras(tmp_path / "m.h5", chain(*layers), params)
    with h5py.File(tmp_path / "m.h5") as file:
        names = [key for key in file["model_weights"].attrs if key.startswith("layer_names")]
        assert "layer_names0" in names
        assert len(names) > 3
    _, again = jrnn.load_keras(tmp_path / "m.h5")
    for name, own in params.items():
        np.testing.assert_array_equal(again[name].kernel, own.kernel)


def test_what_no_output_depends_on(tmp_path):
    model = chain(DENSE, dataclasses.replace(DENSE, name="second"))
    model = dataclasses.replace(model, kind="Functional", outputs=(Ref("dense"),))
    params = {"dense": DENSE_PARAMS, "second": DenseParams(normal(2, 2), normal(2))}
    with pytest.raises(ValueError, match="'second': no output"):
        jrnn.save_keras(tmp_path / "m.keras", model, params)


def test_weights_alone_of_what_keras_3_has_not(tmp_path):
    """They may be for a model with a function of one's own in the activation's place."""
    model, params = jrnn.load_keras(DATA / "keras-2.2.4/lstm_last.h5")
    jrnn.save_keras(tmp_path / "m.weights.h5", model, params)
    _, again = jrnn.load_keras(tmp_path / "m.weights.h5", config=model)
    jax.tree.map(np.testing.assert_array_equal, again, params)
