"""ConvLSTM layers: what each writer's config means, where the arrays go, and masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn import ConvLSTMCell, ConvLSTMState, initializers
from jrnn.cli import main
from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_layer
from jrnn.keras_loader.writer import writer_of
from tests.keras_entries import (
    KERAS1,
    KERAS2,
    KERAS3,
    TF2,
    WRITERS,
    entry,
    legacy,
    model_of,
    numbers,
    refused_arrays,
    stored,
)

THEANO1, THEANO2 = writer_of("1.2.2", "theano"), writer_of("2.2.4", "theano")
B, T, C, U = 2, 4, 2, 3
IMAGE, WINDOW = (5, 6), (3, 2)
SHAPE = (None, T, *IMAGE, C)
X = numbers(B, T, *IMAGE, C)
KERNEL, RECURRENT = numbers(*WINDOW, C, 4 * U), numbers(*WINDOW, U, 4 * U)
BIAS = numbers(4 * U)


def conv(name="c", **options) -> dict:
    window = {"filters": U, "kernel_size": list(WINDOW)}
    return entry("ConvLSTM2D", name=name, **{**window, **options})


def keras1(**options) -> dict:
    window = {"nb_filter": U, "nb_row": WINDOW[0], "nb_col": WINDOW[1]}
    return entry("ConvLSTM2D", name="c", **window, **options)


def packed(prefix="") -> list:
    names = ("kernel", "recurrent_kernel", "bias")
    arrays = (KERNEL, RECURRENT, BIAS)
    return [stored(f"{prefix}{name}:0", a) for name, a in zip(names, arrays, strict=True)]


def gate_by_gate(axes=None) -> list:
    """As Keras 1 stores them: W, U and b of i, c, f and o, the kernels' axes in another order."""
    found = []
    for gate in (0, 2, 1, 3):
        for name, array in (("W", KERNEL), ("U", RECURRENT), ("b", BIAS)):
            part = array[..., gate * U : (gate + 1) * U]
            part = part if part.ndim == 1 or axes is None else np.transpose(part, axes)
            found.append(stored(f"c_{name}_{'ifco'[gate]}:0", part))
    return found


def close(a, b, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_defaults_are_the_writers(writer):
    gate = "sigmoid" if writer.major == 3 else "hard_sigmoid_keras2"
    for rank in (1, 2, 3):
        window = tuple(range(2, 2 + rank))
        config = entry(f"ConvLSTM{rank}D", name="c", filters=U, kernel_size=list(window))
        layer = parse_layer(config, writer)
        expected = ConvLSTMCell(rank=rank, kernel_size=window, recurrent_activation=gate)
        assert (layer.cell, layer.units, layer.return_sequences) == (expected, U, False)


def test_every_option_of_keras2_and_3():
    options = {
        "strides": [2, 1],
        "padding": "same",
        "dilation_rate": {"class_name": "__tuple__", "items": [1, 3]},
        "data_format": "channels_first",
        "activation": "relu",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": False,
        "unit_forget_bias": True,
    }
    flags = dict.fromkeys(("return_sequences", "return_state", "go_backwards", "stateful"), True)
    layer = parse_layer(conv(**options, **flags), KERAS3)
    assert layer.cell == ConvLSTMCell(
        kernel_size=WINDOW,
        strides=(2, 1),
        padding="same",
        dilation=(1, 3),
        data_format="channels_first",
        activation="relu",
        recurrent_activation="hard_sigmoid",
        use_bias=False,
    )
    assert all(getattr(layer, flag) for flag in flags)


@pytest.mark.parametrize("ordering", ["tf", "th"])
def test_keras1_spelling(ordering):
    options = {"border_mode": "same", "subsample": [1, 2], "inner_activation": "sigmoid"}
    layer = parse_layer(keras1(dim_ordering=ordering, init="normal", **options), KERAS1)
    formats = {"tf": "channels_last", "th": "channels_first"}
    assert layer.units == U
    assert layer.cell == ConvLSTMCell(
        kernel_size=WINDOW,
        strides=(1, 2),
        padding="same",
        data_format=formats[ordering],
        kernel_initializer=initializers.per_block(initializers.random_normal(), 4),
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"padding": "causal"}, "padding is 'causal', but one of"),
        ({"padding": ["same"]}, r"padding is \['same'\]"),
        ({"data_format": "NHWC"}, "data_format is 'NHWC', but 'channels_last' or"),
        ({"data_format": ["tf"]}, "data_format is"),
        ({"kernel_size": [3]}, r"kernel_size is \[3\], but 2 sizes"),
        ({"kernel_size": [3, 0]}, "kernel_size is"),
        ({"kernel_size": None}, "kernel_size is None"),
        ({"strides": [1, 1, 1]}, r"strides is \[1, 1, 1\], but 2 sizes"),
        ({"dilation_rate": 2.5}, "dilation_rate is 2.5"),
        ({"filters": 0}, "filters is 0"),
        ({"time_major": True}, "time_major"),
        ({"groups": 2}, "'groups' is 2, an option jrnn does not know"),
    ],
)
def test_refused_options(options, said):
    with pytest.raises(KerasFileError, match=said):
        parse_layer(conv(**options), TF2)


def test_refused_arrays():
    model = model_of(conv(), shape=SHAPE)
    for position, shape in ((0, (2, 3, C, 12)), (1, (3, 2, C, 12)), (2, (2, 12)), (0, (3, 2, 12))):
        arrays = packed()
        arrays[position] = stored(arrays[position].path, np.ones(shape, "f4"))
        assert "ConvLSTM2D(units=3) needs" in refused_arrays(model, legacy(c=arrays))
    assert "the file holds" in refused_arrays(model, legacy(c=packed()[:2]))


@pytest.mark.parametrize(("ordering", "axes"), [("tf", None), ("th", (3, 2, 0, 1))])
def test_keras1_stores_each_gate_for_itself(ordering, axes):
    shape = SHAPE if ordering == "tf" else (None, T, C, *IMAGE)
    model = model_of(keras1(dim_ordering=ordering), writer=KERAS1, shape=shape)
    params = build_params(model, legacy(c=gate_by_gate(axes)))["c"]
    for found, expected in zip(params, (KERNEL, RECURRENT, BIAS), strict=True):
        np.testing.assert_array_equal(found, expected)
    y = model.apply({"c": params}, X if ordering == "tf" else np.moveaxis(X, -1, 2))
    cell = ConvLSTMCell(kernel_size=WINDOW, recurrent_activation="hard_sigmoid_keras2")
    _, expected = jrnn.conv_lstm(params, X, cell=cell, return_sequences=False)
    close(y, expected if ordering == "tf" else np.moveaxis(expected, -1, 1))


@pytest.mark.parametrize("writer", [THEANO1, THEANO2], ids=str)
def test_theano_flips_its_kernels(writer):
    model = model_of(conv(padding="same"), writer=writer, shape=SHAPE)
    params = build_params(model, legacy(c=packed()))["c"]
    np.testing.assert_array_equal(params.kernel, KERNEL[::-1, ::-1])
    np.testing.assert_array_equal(params.recurrent_kernel, RECURRENT[::-1, ::-1])
    np.testing.assert_array_equal(params.bias, BIAS)
    assert model.layers[-1].cell.same_rule == "theano"
    one = model_of(keras1(dim_ordering="th"), writer=THEANO1, shape=(None, T, C, *IMAGE))
    turned = build_params(one, legacy(c=gate_by_gate((3, 2, 0, 1))))["c"]
    np.testing.assert_array_equal(turned.kernel, KERNEL[::-1, ::-1])


def masked_model(writer, *layers):
    """Steps that are masked before they become images."""
    inner = entry("Reshape", name="r", target_shape=[*IMAGE, C])
    images = entry("TimeDistributed", name="t", layer=inner)
    shape = (None, T, IMAGE[0] * IMAGE[1] * C)
    return model_of(entry("Masking", name="m"), images, *layers, writer=writer, shape=shape)


MASK = np.array([[0, 1, 0, 1], [1, 1, 0, 0]], bool)
MASKED = np.where(MASK[..., None], X.reshape(B, T, -1), 0)


@pytest.mark.parametrize("writer", [KERAS2, TF2, KERAS3], ids=str)
@pytest.mark.parametrize("backwards", [False, True])
def test_masks_of_steps(writer, backwards):
    options = {"return_sequences": True, "go_backwards": backwards, "return_state": True}
    gate = {"recurrent_activation": "sigmoid", "padding": "same"}
    model = masked_model(writer, conv(**options, **gate))
    params = build_params(model, legacy(c=packed()))
    y = model.apply(params, MASKED)
    cell = ConvLSTMCell(kernel_size=WINDOW, padding="same")
    state, expected = jrnn.conv_lstm(
        params["c"], X, cell=cell, mask=MASK, reverse=backwards, masked_output="repeat"
    )
    close(y, np.flip(expected, 1) if backwards else expected)
    outputs = model.layers[-1].run(params["c"], [X], [MASK]).outputs
    for found, final in zip(outputs, (y, *state), strict=True):
        close(found, final)


def test_zero_output_for_mask_is_not_handed_on_by_tf_keras():
    options = {"return_sequences": True, "zero_output_for_mask": True}
    for writer, zeroes in ((TF2, False), (KERAS3, True)):
        assert parse_layer(conv(**options), writer).zero_output_for_mask == zeroes
        inner = conv("i", return_sequences=True)
        both = parse_layer(entry("Bidirectional", name="b", layer=inner), writer)
        assert both.forward.zero_output_for_mask == zeroes
        assert both.backward.zero_output_for_mask == zeroes
    model = masked_model(KERAS3, conv(**options, padding="same"))
    y = model.apply(build_params(model, legacy(c=packed())), MASKED)
    assert (np.any(y, (2, 3, 4)) == MASK).all()


def test_a_mask_of_pixels_is_refused():
    model = model_of(entry("Masking", name="m"), conv(), shape=SHAPE)
    assert "needs one of steps [B, T]" in refused_arrays(model, legacy(c=packed()))


def test_stateful_and_initial_state():
    model = model_of(
        conv(stateful=True, return_sequences=True, return_state=True, data_format="channels_first"),
        writer=KERAS3,
        shape=(B, None, C, *IMAGE),
    )
    params = build_params(model, legacy(c=packed()))
    x = np.moveaxis(X, -1, 2)
    whole = model.apply(params, x)
    state, first = model.apply(params, x[:, :2], return_state=True)
    second = model.apply(params, x[:, 2:], state=state)
    close(np.concatenate([first, second], 1), whole)
    assert isinstance(state["c"], ConvLSTMState)
    given = model.layers[-1].run(params["c"], [x[:, 2:], *state["c"]], [None])
    close(given.outputs[0], second)


def test_gradients_reach_every_parameter():
    model = model_of(conv(padding="same"), writer=KERAS3, shape=SHAPE)
    params = build_params(model, legacy(c=packed()))
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, X) ** 2)))(params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_real_keras_files(rank, tmp_path, capsys):
    keras = pytest.importorskip("keras", minversion="3.0")
    make = getattr(keras.layers, f"ConvLSTM{rank}D")
    sizes, first = (5, 4, 6)[:rank], {"data_format": "channels_first"}
    x = keras.Input((T, C, *sizes))
    h = make(U, 3, padding="same", return_sequences=True, **first)(x)
    inner = make(2, 2, strides=2, return_sequences=True, return_state=True, **first)
    outputs = keras.layers.Bidirectional(inner, merge_mode=None)(h)
    model = keras.Model(x, [make(U, 2, dilation_rate=2, **first, go_backwards=True)(h), *outputs])
    rng = np.random.default_rng(rank)
    for weight in model.weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape))
    xs = rng.standard_normal((B, T, C, *sizes)).astype("float32")
    expected = jax.tree.leaves(model(xs))
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
        loaded, params = jrnn.load_keras(tmp_path / name)
        for found, theirs in zip(loaded.apply(params, xs), expected, strict=True):
            close(found, theirs, 1e-5)
    (tmp_path / "m.json").write_text(model.to_json())
    for name in ("m.keras", "m.json"):  # without arrays their shapes are worked out
        assert main(["inspect", str(tmp_path / name)]) == 0
        assert f"{model.count_params():,}" in capsys.readouterr().out
