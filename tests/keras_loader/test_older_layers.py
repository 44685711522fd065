"""Layers without a loop as older Keras wrote them: class names, array layouts and mask rules."""

import numpy as np
import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_layer, parse_model
from jrnn.keras_loader.writer import writer_of
from tests.keras_entries import (
    KERAS1,
    KERAS2,
    KERAS3,
    TF2,
    call2,
    call3,
    dense_arrays,
    entry,
    graph,
    legacy,
    model_of,
    numbers,
    refused_arrays,
    source,
    stored,
    tensor3,
)

THEANO1 = writer_of("1.0.8", "theano")
THEANO2 = writer_of("2.1.6", "theano")
KERAS30 = writer_of("3.0.5", "jax")
TF23 = writer_of("2.3.0-tf", "tensorflow")


def close(found, expected) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def two_inputs(shape=(3, 4, 5)) -> list[np.ndarray]:
    return [numbers(*shape, seed=1), numbers(*shape, seed=2)]


def merged(writer, kind, shape, *, first=None, **options):
    """A functional model of one merge over two inputs."""
    entries = [source("a", (None, *shape)), source("b", (None, *shape))]
    names = ["a", "b"]
    if first is not None:
        before = call3("a") if writer.major >= 3 else call2("a")
        entries.append(entry("Masking", before, name="masked", mask_value=0.0))
        names[0] = "masked"
    call: object = call2(*names)
    if writer.major >= 3:
        call = {"args": [[tensor3(name) for name in names]], "kwargs": {}}
        options["trainable"] = True
    entries.append(entry(kind, call, name="m", **options))
    return parse_model(graph(entries, ["a", "b"], [["m", 0, 0]]), writer)


MODES = {
    "sum": lambda x, y: x + y,
    "ave": lambda x, y: (x + y) / 2,
    "mul": lambda x, y: x * y,
    "max": np.maximum,
}


@pytest.mark.parametrize("mode", MODES)
def test_merge_of_keras1(mode):
    x, y = two_inputs()
    options = {"mode": mode, "mode_type": "raw", "concat_axis": -1, "dot_axes": -1}
    model = merged(KERAS1, "Merge", (4, 5), **options, arguments={}, output_shape=None)
    close(model.apply({}, x, y), MODES[mode](x, y))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_merge_of_keras1_joins(axis):
    x, y = two_inputs()
    model = merged(KERAS1, "Merge", (4, 5), mode="concat", concat_axis=axis, dot_axes=-1)
    close(model.apply({}, x, y), np.concatenate([x, y], axis))


def test_merge_of_keras1_multiplies_vectors():
    x, y = two_inputs((3, 5))
    dots = np.sum(x * y, -1)
    for axes in (-1, 1, [1, 1]):
        model = merged(KERAS1, "Merge", (5,), mode="dot", dot_axes=axes, concat_axis=-1)
        close(model.apply({}, x, y), dots[:, None])
    cosines = dots / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)
    model = merged(KERAS1, "Merge", (5,), mode="cos", dot_axes=[1, 1], concat_axis=-1)
    close(model.apply({}, x, y), cosines[:, None, None])
    x, y = two_inputs((3, 4, 5))
    for axes, sums in (([1, 1], "btf,btg->bfg"), ([2, 2], "btf,bsf->bts"), (1, "btf,btg->bfg")):
        model = merged(KERAS1, "Merge", (4, 5), mode="dot", dot_axes=axes, concat_axis=-1)
        close(model.apply({}, x, y), np.einsum(sums, x, y))
    model = merged(KERAS1, "Merge", (4, 5), mode="cos", dot_axes=[1, 1], concat_axis=-1)
    with pytest.raises(ValueError, match="mode 'cos' is known for two inputs"):
        model.apply({}, x, y)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": ["4wEAAAA=", None, None], "mode_type": "lambda"},
        {"mode": "my_function", "mode_type": "function"},
        {"mode": "sum", "output_shape_type": "lambda", "output_shape": "4wEAAAA="},
    ],
)
def test_merge_of_keras1_with_code(options):
    with pytest.raises(KerasFileError, match="Python code"):
        parse_layer(entry("Merge", name="m", **options), KERAS1)


def test_sequential_of_keras1_that_merges_models():
    def branch(name: str, units: int) -> dict:
        first = entry("Dense", name=name, output_dim=units, batch_input_shape=[None, 3])
        return {"class_name": "Sequential", "config": [first]}

    merge = entry("Merge", name="m", mode="concat", layers=[branch("d1", 2), branch("d2", 4)])
    last = entry("Dense", name="d3", output_dim=5)
    model = parse_model({"class_name": "Sequential", "config": [merge, last]}, KERAS1)
    assert [spec.name for spec in model.inputs] == ["d1_input", "d2_input"]
    arrays = {
        "d1": dense_arrays(3, 2, seed=1), "d2": dense_arrays(3, 4, seed=3), "m": [],
        "d3": dense_arrays(6, 5, seed=5),
    }  # fmt: skip
    x, y = numbers(7, 3, seed=8), numbers(7, 3, seed=9)
    (w1, b1), (w2, b2), (w3, b3) = (
        [array.read() for array in arrays[name]] for name in ("d1", "d2", "d3")
    )
    expected = np.concatenate([x @ w1 + b1, y @ w2 + b2], -1) @ w3 + b3
    close(model.apply(build_params(model, legacy(**arrays)), x, y), expected)


def correlation(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """What a window at every place inside of x sees: [B, S, U] for [B, S, C], one or two axes S."""
    rank = kernel.ndim - 2
    sizes = [n - k + 1 for n, k in zip(x.shape[1:-1], kernel.shape, strict=False)]
    found = np.zeros((x.shape[0], *sizes, kernel.shape[-1]), np.float64)
    for place in np.ndindex(*kernel.shape[:rank]):
        seen = tuple(slice(p, p + n) for p, n in zip(place, sizes, strict=True))
        found += x[(slice(None), *seen)] @ kernel[place]
    return found


def convolution1(writer, kernel, x, **options) -> np.ndarray:
    config = {"nb_filter": 6, "filter_length": 2, "subsample_length": 1, "bias": True, **options}
    layer = entry("Convolution1D", name="c", activation="linear", **config)
    model = model_of(layer, writer=writer, shape=(None, *x.shape[1:]))
    bias = numbers(6, seed=4)
    arrays = [stored("c_W", kernel), stored("c_b", bias)]
    params = build_params(model, legacy(c=arrays))
    return np.asarray(model.apply(params, x)) - bias


def test_convolution1d_of_keras1():
    x, kernel = numbers(3, 7, 4), numbers(2, 4, 6)
    wide = kernel[:, None]
    close(convolution1(KERAS1, wide, x, border_mode="valid"), correlation(x, kernel))
    padded = np.pad(x, ((0, 0), (0, 1), (0, 0)))
    close(convolution1(KERAS1, wide, x, border_mode="same"), correlation(padded, kernel))


def test_convolution1d_of_theano():
    x, kernel = numbers(3, 7, 4), numbers(2, 4, 6)
    older = np.moveaxis(kernel, 0, 2).transpose(1, 0, 2)[..., None]  # [U, C, K, 1]
    assert older.shape == (6, 4, 2, 1)
    flipped = correlation(x, kernel[::-1])
    close(convolution1(THEANO1, older, x, border_mode="valid"), flipped)
    close(convolution1(THEANO1, kernel[:, None], x, border_mode="valid"), flipped)
    padded = np.pad(x, ((0, 0), (1, 0), (0, 0)))  # before, where TensorFlow pads behind
    close(convolution1(THEANO1, older, x, border_mode="same"), correlation(padded, kernel[::-1]))
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    close(convolution1(THEANO1, older, x, border_mode="full"), correlation(padded, kernel[::-1]))
    layer = entry("Conv1D", name="c", filters=6, kernel_size=[2], strides=[1], padding="same",
                  data_format="channels_last", dilation_rate=[1], use_bias=False)  # fmt: skip
    model = model_of(layer, writer=THEANO2, shape=(None, 7, 4))
    params = build_params(model, legacy(c=[stored("c/kernel", kernel)]))
    padded = np.pad(x, ((0, 0), (1, 0), (0, 0)))
    close(np.asarray(model.apply(params, x)), correlation(padded, kernel[::-1]))


@pytest.mark.parametrize("ordering", ["th", "tf"])
def test_convolution2d_of_keras1(ordering):
    x, kernel = numbers(2, 6, 5, 4), numbers(3, 2, 4, 6)
    layer = entry("Convolution2D", name="c", nb_filter=6, nb_row=3, nb_col=2, border_mode="valid",
                  subsample=[1, 1], dim_ordering=ordering, bias=False)  # fmt: skip
    held = kernel.transpose(3, 2, 0, 1) if ordering == "th" else kernel
    x_held = np.moveaxis(x, -1, 1) if ordering == "th" else x
    model = model_of(layer, writer=KERAS1, shape=(None, *x_held.shape[1:]))
    params = build_params(model, legacy(c=[stored("c_W:0", held)]))
    y = np.asarray(model.apply(params, x_held))
    close(np.moveaxis(y, 1, -1) if ordering == "th" else y, correlation(x, kernel))


def test_a_kernel_that_does_not_fit():
    layer = entry("Conv1D", name="c", filters=6, kernel_size=[2], use_bias=False)
    model = model_of(layer, shape=(None, 7, 4))
    message = refused_arrays(model, legacy(c=[stored("c/kernel:0", numbers(3, 4, 6))]))
    assert "(3, 4, 6), but kernel of Conv1D needs (2, any, 6)" in message
    message = refused_arrays(model, legacy(c=[stored("c/kernel:0", numbers(2, 5, 6))]))
    assert "x has 4 channels, but kernel (2, 5, 6)" in message
    small = model_of(layer, shape=(None, 1, 4))
    message = refused_arrays(small, legacy(c=[stored("c/kernel:0", numbers(2, 4, 6))]))
    assert "smaller than the window (2,)" in message


def test_batch_normalization_of_keras1():
    x = numbers(3, 4, 5)
    gamma, beta, mean = (numbers(5, seed=seed) for seed in (1, 2, 3))
    variance = np.abs(numbers(5, seed=4)) + 0.1
    layer = entry("BatchNormalization", name="n", epsilon=0.01, mode=0, axis=-1, momentum=0.99)
    model = model_of(layer, writer=KERAS1, shape=(None, 4, 5))
    names = ("gamma", "beta", "running_mean", "running_std")
    values = (gamma, beta, mean, variance)
    arrays = [stored(f"n_{name}", value) for name, value in zip(names, values, strict=True)]
    params = build_params(model, legacy(n=arrays))
    expected = (x - mean) / np.sqrt(variance + 0.01) * gamma + beta
    close(model.apply(params, x), expected)
    for mode in (1, 2):
        with pytest.raises(KerasFileError, match="batch's own statistics"):
            parse_layer(entry("BatchNormalization", name="n", mode=mode), KERAS1)


def test_statistics_stand_behind_what_is_trained_in_a_nested_list():
    first = entry("BatchNormalization", name="n", axis=[2])
    last = entry("Dense", name="d", units=2)
    inner = entry("Sequential", name="inner", layers=[
        entry("InputLayer", name="i", batch_input_shape=[None, 4, 3]), first, last])  # fmt: skip
    values = [numbers(3, seed=1), numbers(3, seed=2), numbers(3, 2, seed=3), numbers(2, seed=4)]
    values += [numbers(3, seed=5), np.abs(numbers(3, seed=6))]
    names = ("gamma", "beta", "kernel", "bias", "moving_mean", "moving_variance")
    arrays = [stored(f"{n}:0", v) for n, v in zip(names, values, strict=True)]
    model = model_of(inner, writer=TF2)
    params = build_params(model, legacy(inner=arrays))["inner"]
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        np.testing.assert_array_equal(getattr(params["n"], name), values[names.index(name)])
    np.testing.assert_array_equal(params["d"].kernel, values[2])


def test_thresholded_relu():
    x = np.array([[-1.0, 0.5, 0.75, 2.0]], np.float32)
    model = model_of(entry("ThresholdedReLU", name="t", theta=0.75), shape=(None, 4))
    close(model.apply({}, x), np.array([[0, 0, 0, 2.0]]))


def masked_mean(writer) -> np.ndarray:
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3) + 1
    x[0, 1] = 0
    layers = entry("Masking", name="k", mask_value=0.0), entry("GlobalAveragePooling1D", name="g")
    return x, model_of(*layers, writer=writer, shape=(None, 4, 3)).apply({}, x)


def test_means_leave_out_masked_steps_from_keras_2_2_3_on():
    for writer in (KERAS2, TF2, KERAS3, TF23):
        x, y = masked_mean(writer)
        close(y, np.stack([x[0, [0, 2, 3]].mean(0), x[1].mean(0)]))
    x, y = masked_mean(writer_of("2.1.6-tf", "tensorflow"))
    close(y, x.mean(1))


@pytest.mark.parametrize(
    ("writer", "kind", "counts"),
    [
        (KERAS2, "Add", [1, 0, 1, 0]),
        (TF2, "Maximum", [1, 0, 1, 0]),
        (KERAS30, "Add", [1, 1, 1, 1]),
        (KERAS3, "Add", [1, 1, 1, 1]),  # one input has no mask
        (KERAS2, "Concatenate", [1, 0, 1, 0]),
        (KERAS3, "Concatenate", [1, 1, 1, 1]),
        (KERAS30, "Concatenate", [1, 1, 1, 1]),
        (TF2, "Dot", [1, 1, 1, 1]),
    ],
)
def test_masks_of_merges(writer, kind, counts):
    x, y = two_inputs((2, 4, 3))
    x[:, [1, 3]] = 0
    options = {"axes": [2, 2]} if kind == "Dot" else {}
    model = merged(writer, kind, (4, 3), first="masked", **options)
    result = model.call({}, [x, y], [None, None])
    mask = result.masks[0]
    np.testing.assert_array_equal(np.ones((2, 4)) if mask is None else mask, [counts] * 2)


@pytest.mark.parametrize(
    ("config", "writer", "said"),
    [
        (entry("Conv1D", filters=2, kernel_size=[3, 3]), KERAS2, "kernel_size is [3, 3], but 1"),
        (entry("Conv1D", filters=2, kernel_size=0), KERAS2, "kernel_size is 0"),
        (entry("Conv2D", filters=2, kernel_size=3, padding="causal"), KERAS2, "padding is 'caus"),
        (entry("Conv1D", filters=2, kernel_size=3, padding="full"), KERAS1, "padding is 'full'"),
        (entry("Conv1DTranspose", filters=2, kernel_size=3, output_padding=1), KERAS3,
         "output_padding (1,) is not less than strides (1,)"),
        (entry("Conv2DTranspose", filters=2, kernel_size=3), THEANO2, "Theano's transposed"),
        (entry("AdaptiveMaxPooling1D", output_size=2**17), KERAS3, "more than 65536 windows"),
        (entry("Conv1D", filters=2, kernel_size=3, data_format="NWC"), KERAS2, "data_format is"),
        (entry("MaxPooling1D", border_mode="same"), THEANO1, "padding 'same' of Theano"),
        (entry("MaxPooling2D", pool_size=[2]), KERAS2, "pool_size is [2], but 2 sizes"),
        (entry("BatchNormalization", axis=[1, 2]), TF2, "axis is (1, 2), but one axis"),
        (entry("BatchNormalization", renorm=True), TF2, "'renorm' is True"),
        (entry("Concatenate", axis="last"), KERAS2, "axis is 'last'"),
        (entry("Dot", axes=0), KERAS2, "axes after the batch's"),
        (entry("Dot", axes=[1, 2, 3]), KERAS2, "one or two axes"),
        (entry("UpSampling2D", interpolation="bicubic"), KERAS3, "interpolation is 'bicubic'"),
        (entry("UpSampling2D", interpolation="bilinear"), KERAS2, "of Keras 2.2.4 on tensor"),
        (entry("ZeroPadding2D", padding=[1, 2, 3]), KERAS2, "two amounts for each axis"),
        (entry("Cropping1D", cropping=[-1, 2]), KERAS2, "two amounts for each axis"),
        (entry("Rescaling", scale="big"), KERAS3, "scale is 'big'"),
        (entry("Normalization", mean=[1.0], variance=None), KERAS3, "one of mean and variance"),
        (entry("Attention", score_mode="cosine"), KERAS3, "score_mode is 'cosine'"),
        (entry("Softmax", axis=None), KERAS3, ""),
        (entry("Softmax", axis=[]), KERAS3, "axis is []"),
        (entry("Merge", mode="min"), KERAS1, "mode is 'min'"),
    ],
)  # fmt: skip
def test_refusals(config, writer, said):
    if not said:
        assert parse_layer(config, writer).axis == (-1,)
        return
    with pytest.raises(KerasFileError) as caught:
        parse_layer(config, writer)
    assert said in str(caught.value)
