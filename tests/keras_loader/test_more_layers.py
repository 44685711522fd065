"""Every layer without a loop, as real Keras 3 computes it: random options, weights and masks.

A row of ``LAYERS`` makes layers with drawn options; the models around them are made here, saved in
both of Keras's formats, loaded, and compared.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jrnn

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers

from tests.keras_models import Draw

BATCH, STEPS, FEATURES, TOKENS = 3, 6, 4, 7
IMAGE = (6, 7, 8)  # no two axes of the same size, and wherever the channels are, an even number
VOLUME = (4, 3, 6, 5)
SHAPES = {1: (STEPS, FEATURES), 2: IMAGE, 3: VOLUME}


@dataclasses.dataclass(frozen=True)
class Case:
    """How one layer is drawn, and what it is called on."""

    make: Callable[[Draw], layers.Layer]
    shape: tuple[int, ...] = (STEPS, FEATURES)
    inputs: int = 1
    masked: bool = False  # whether masks may reach it


def floats(draw: Draw, *shape: int) -> list:
    return draw.rng.uniform(0.5, 2.0, shape).astype("float32").tolist()


def some_size(draw: Draw, rank: int, largest: int = 3) -> tuple[int, ...]:
    return tuple(int(n) for n in draw.rng.integers(1, largest + 1, rank))


def convolution(kind: type, rank: int, **extra: Callable[[Draw], Any]) -> Case:
    def make(draw: Draw) -> layers.Layer:
        strides = some_size(draw, rank, 2)
        dilation = some_size(draw, rank, 2) if max(strides) == 1 else (1,) * rank
        if "Depthwise" in kind.__name__ or "Separable" in kind.__name__:  # TensorFlow takes no more
            strides, dilation = (strides[0],) * rank, (dilation[0],) * rank
        paddings = ("valid", "same", "causal") if kind is layers.Conv1D else ("valid", "same")
        pairs = zip(some_size(draw, rank), dilation, strict=True)
        return kind(
            kernel_size=tuple(min(size, 4 - apart) for size, apart in pairs),  # 3 steps at most
            strides=strides,
            dilation_rate=dilation,
            padding=draw.one_of(paddings),
            activation=draw.one_of((None, "tanh", "softmax")),
            use_bias=draw.coin(),
            data_format=draw.one_of(("channels_last", "channels_first")),
            **{name: one(draw) for name, one in extra.items()},
        )

    return Case(make, shape=(8, 6) if rank == 1 else SHAPES[rank])


def transposed(kind: type, rank: int) -> Case:
    def make(draw: Draw) -> layers.Layer:
        strides = some_size(draw, rank)
        more = tuple(draw.one_of(range(stride)) for stride in strides)
        return kind(
            5,
            some_size(draw, rank, 4),
            strides=strides,
            padding=draw.one_of(("valid", "same")),
            output_padding=draw.one_of((None, more)),
            dilation_rate=some_size(draw, rank, 2) if max(strides) == 1 else 1,
            activation=draw.one_of((None, "tanh", "softmax")),
            use_bias=draw.coin(),
            data_format=draw.one_of(("channels_last", "channels_first")),
        )

    return Case(make, shape=SHAPES[rank])


def adaptive_pooling(kind: type, rank: int) -> Case:
    def make(draw: Draw) -> layers.Layer:
        formats = "channels_last", "channels_first"
        # Of 7 windows Keras 3.15 on JAX rounds some to where nothing is: NaN.
        return kind(some_size(draw, rank, 6), data_format=draw.one_of(formats))

    return Case(make, shape=SHAPES[rank])


def pooling(kind: type, rank: int) -> Case:
    def make(draw: Draw) -> layers.Layer:
        return kind(
            pool_size=some_size(draw, rank),
            strides=draw.one_of((None, some_size(draw, rank))),
            padding=draw.one_of(("valid", "same")),
            data_format=draw.one_of(("channels_last", "channels_first")),
        )

    return Case(make, shape=SHAPES[rank])


def global_pooling(kind: type, rank: int) -> Case:
    def make(draw: Draw) -> layers.Layer:
        formats = ("channels_last", "channels_first") if rank > 1 else ("channels_last",)
        return kind(keepdims=draw.coin(), data_format=draw.one_of(formats))

    return Case(make, shape=SHAPES[rank], masked=rank == 1)


def merge(kind: type, inputs: int = 3) -> Case:
    return Case(lambda draw: kind(), inputs=inputs, masked=True)


def dot(draw: Draw) -> layers.Layer:
    axes = draw.one_of((1, 2, -1, (1, 1), (2, -1)))
    return layers.Dot(axes=axes, normalize=draw.coin())


def batch_normalization(draw: Draw) -> layers.Layer:
    return layers.BatchNormalization(
        axis=draw.one_of((-1, 1, 2)),
        epsilon=draw.one_of((1e-3, 0.1)),
        scale=draw.coin(),
        center=draw.coin(),
    )


def layer_normalization(draw: Draw) -> layers.Layer:
    return layers.LayerNormalization(
        axis=draw.one_of((-1, 1, [1, 2], [-1])),
        epsilon=draw.one_of((1e-3, 0.1)),
        scale=draw.coin(),
        center=draw.coin(),
        rms_scaling=draw.coin(),
    )


def group_normalization(draw: Draw) -> layers.Layer:
    axis, groups = draw.one_of(((-1, 2), (1, 3), (2, 4), (2, 1), (1, -1)))
    return layers.GroupNormalization(groups, axis=axis, scale=draw.coin(), center=draw.coin())


def normalization(draw: Draw) -> layers.Layer:
    given = draw.one_of(
        (
            {},
            {"mean": floats(draw, FEATURES), "variance": floats(draw, FEATURES)},
            {"mean": 0.3, "variance": 2.0},
        )
    )
    return layers.Normalization(axis=draw.one_of((-1, 2)), invert=draw.coin(), **given)


def rescaling(draw: Draw) -> layers.Layer:
    scale = draw.one_of((0.25, floats(draw, FEATURES)))
    return layers.Rescaling(scale, offset=draw.one_of((0.0, -1.5)))


def einsum_dense(draw: Draw) -> layers.Layer:
    equation, shape, bias_axes = draw.one_of(
        (
            ("abc,cd->abd", (None, 5), "d"),
            ("abc,bcd->ad", 5, None),
            ("abc,cd->adb", (5, STEPS), "db"),
            ("...x,xy->...y", 5, "y"),
            ("abc...,cb->ab...", STEPS, "b"),
        )
    )
    activation = draw.one_of((None, "tanh", "hard_sigmoid"))
    return layers.EinsumDense(equation, shape, bias_axes=bias_axes, activation=activation)


def spectral_normalization(draw: Draw) -> layers.Layer:
    inner = draw.one_of(
        (
            lambda: layers.Dense(5, activation="tanh", use_bias=draw.coin()),
            lambda: layers.Conv1D(5, 2, padding="same", use_bias=draw.coin()),
            lambda: layers.Conv1DTranspose(3, 2),
            lambda: layers.DepthwiseConv1D(2),
            lambda: layers.EinsumDense("...x,xy->...y", 5, bias_axes="y"),
        )
    )
    return layers.SpectralNormalization(inner(), power_iterations=draw.one_of((1, 3)))


def relu(draw: Draw) -> layers.Layer:
    return layers.ReLU(
        max_value=draw.one_of((None, 0.5, 6.0)),
        negative_slope=draw.one_of((0.0, 0.2)),
        threshold=draw.one_of((0.0, 0.3)),
    )


def ends(draw: Draw) -> tuple[int, int]:
    return int(draw.rng.integers(0, 3)), int(draw.rng.integers(0, 2))


ADAPTIVE = {
    f"Adaptive{mode}Pooling{rank}D": adaptive_pooling(
        getattr(layers, f"Adaptive{mode}Pooling{rank}D"), rank
    )
    for mode in ("Average", "Max")
    for rank in SHAPES
    if hasattr(layers, "AdaptiveMaxPooling1D")  # from Keras 3.12 on
}
LAYERS = {
    **ADAPTIVE,
    "Add": merge(layers.Add),
    "AdditiveAttention": Case(
        lambda draw: layers.AdditiveAttention(use_scale=draw.coin()), inputs=3, masked=True
    ),
    "Attention": Case(
        lambda draw: layers.Attention(
            use_scale=draw.coin(), score_mode=draw.one_of(("dot", "concat"))
        ),
        inputs=3,
        masked=True,
    ),
    "Average": merge(layers.Average),
    "AveragePooling1D": pooling(layers.AveragePooling1D, 1),
    "AveragePooling2D": pooling(layers.AveragePooling2D, 2),
    "AveragePooling3D": pooling(layers.AveragePooling3D, 3),
    "BatchNormalization": Case(batch_normalization, masked=True),
    "Concatenate": Case(
        lambda draw: layers.Concatenate(axis=draw.one_of((-1, 2, 1))), inputs=3, masked=True
    ),
    "Conv1D": convolution(
        layers.Conv1D, 1, filters=lambda draw: 4, groups=lambda draw: draw.one_of((1, 2))
    ),
    "Conv2D": convolution(
        layers.Conv2D, 2, filters=lambda draw: 6, groups=lambda draw: draw.one_of((1, 2))
    ),
    "Conv3D": convolution(layers.Conv3D, 3, filters=lambda draw: 3),
    "Conv1DTranspose": transposed(layers.Conv1DTranspose, 1),
    "Conv2DTranspose": transposed(layers.Conv2DTranspose, 2),
    "Conv3DTranspose": transposed(layers.Conv3DTranspose, 3),
    "Cropping1D": Case(lambda draw: layers.Cropping1D(ends(draw))),
    "Cropping2D": Case(lambda draw: layers.Cropping2D((ends(draw), ends(draw))), shape=IMAGE),
    "Cropping3D": Case(lambda draw: layers.Cropping3D((1, (0, 1), ends(draw))), shape=VOLUME),
    "DepthwiseConv1D": convolution(
        layers.DepthwiseConv1D, 1, depth_multiplier=lambda draw: draw.one_of((1, 2))
    ),
    "DepthwiseConv2D": convolution(
        layers.DepthwiseConv2D, 2, depth_multiplier=lambda draw: draw.one_of((1, 2))
    ),
    "Dot": Case(dot, inputs=2, masked=True),
    "EinsumDense": Case(einsum_dense, masked=True),
    "ELU": Case(lambda draw: layers.ELU(alpha=draw.one_of((1.0, 0.3))), masked=True),
    "GlobalAveragePooling1D": global_pooling(layers.GlobalAveragePooling1D, 1),
    "GlobalAveragePooling2D": global_pooling(layers.GlobalAveragePooling2D, 2),
    "GlobalAveragePooling3D": global_pooling(layers.GlobalAveragePooling3D, 3),
    "GlobalMaxPooling1D": global_pooling(layers.GlobalMaxPooling1D, 1),
    "GlobalMaxPooling2D": global_pooling(layers.GlobalMaxPooling2D, 2),
    "GlobalMaxPooling3D": global_pooling(layers.GlobalMaxPooling3D, 3),
    "GroupNormalization": Case(group_normalization, masked=True),
    "Identity": Case(lambda draw: layers.Identity(), masked=True),
    "LayerNormalization": Case(layer_normalization, masked=True),
    "LeakyReLU": Case(
        lambda draw: layers.LeakyReLU(negative_slope=draw.one_of((0.3, 0.1))), masked=True
    ),
    "MaxPooling1D": pooling(layers.MaxPooling1D, 1),
    "MaxPooling3D": pooling(layers.MaxPooling3D, 3),
    "MaxPooling2D": pooling(layers.MaxPooling2D, 2),
    "Maximum": merge(layers.Maximum),
    "Minimum": merge(layers.Minimum),
    "Multiply": merge(layers.Multiply),
    "Normalization": Case(normalization, masked=True),
    "PReLU": Case(
        lambda draw: layers.PReLU(shared_axes=draw.one_of((None, [1], [1, 2]))), masked=True
    ),
    "RMSNormalization": Case(
        lambda draw: layers.RMSNormalization(axis=draw.one_of((-1, 2, [1, 2]))), masked=True
    ),
    "ReLU": Case(relu, masked=True),
    "Rescaling": Case(rescaling, masked=True),
    "SeparableConv1D": convolution(
        layers.SeparableConv1D,
        1,
        filters=lambda draw: 5,
        depth_multiplier=lambda draw: draw.one_of((1, 2)),
    ),
    "SeparableConv2D": convolution(
        layers.SeparableConv2D,
        2,
        filters=lambda draw: 5,
        depth_multiplier=lambda draw: draw.one_of((1, 2)),
    ),
    "Softmax": Case(lambda draw: layers.Softmax(axis=draw.one_of((-1, 1, [1, 2])))),
    "SpectralNormalization": Case(spectral_normalization, masked=True),
    "Subtract": merge(layers.Subtract, inputs=2),
    "UnitNormalization": Case(
        lambda draw: layers.UnitNormalization(axis=draw.one_of((-1, 1, [1, 2]))), masked=True
    ),
    "UpSampling1D": Case(lambda draw: layers.UpSampling1D(draw.one_of((1, 2, 3)))),
    "UpSampling2D": Case(
        lambda draw: layers.UpSampling2D(
            some_size(draw, 2),
            interpolation=draw.one_of(("nearest", "bilinear")),
            data_format=draw.one_of(("channels_last", "channels_first")),
        ),
        shape=IMAGE,
    ),
    "UpSampling3D": Case(
        lambda draw: layers.UpSampling3D(
            some_size(draw, 3, 2), data_format=draw.one_of(("channels_last", "channels_first"))
        ),
        shape=VOLUME,
    ),
    "ZeroPadding1D": Case(lambda draw: layers.ZeroPadding1D(ends(draw))),
    "ZeroPadding2D": Case(
        lambda draw: layers.ZeroPadding2D(
            (ends(draw), ends(draw)), data_format=draw.one_of(("channels_last", "channels_first"))
        ),
        shape=IMAGE,
    ),
    "ZeroPadding3D": Case(lambda draw: layers.ZeroPadding3D((1, (0, 2), ends(draw))), shape=VOLUME),
}


def draw_model(case: Case, draw: Draw) -> keras.Model:
    """A functional model of the layer; where masks matter, with loops before and behind it."""
    inputs, xs = [], []
    for _ in range(case.inputs):
        x = keras.Input(case.shape)
        inputs.append(x)
        if case.masked and draw.coin():
            x = layers.Masking(0.0)(x)
        if case.masked and draw.coin():
            x = layers.LSTM(case.shape[-1], return_sequences=True)(x)
        xs.append(x)
    layer = case.make(draw)
    y = layer(xs if case.inputs > 1 else xs[0])
    outputs = [y]
    if case.masked and len(y.shape) == 3:  # the mask that comes out
        outputs.append(layers.LSTM(3, return_sequences=draw.coin())(y))
    return keras.Model(inputs if case.inputs > 1 else inputs[0], outputs)


def draw_weights(model: keras.Model, draw: Draw) -> None:
    for weight in model.weights:
        if "int" in str(weight.dtype):
            continue
        values = draw.rng.standard_normal(weight.shape)
        positive = "variance" in weight.name
        weight.assign(0.5 + np.abs(values) if positive else 0.5 * values)
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()


def draw_inputs(model: keras.Model, draw: Draw) -> list[np.ndarray]:
    """Random values; some steps are zero, but never all, as a mean of nothing is NaN."""
    found = []
    for spec in model.inputs:
        values = draw.rng.standard_normal((BATCH, *spec.shape[1:])).astype("float32")
        gone = draw.rng.random((BATCH, spec.shape[1])) < 0.4
        gone[:, 0] = False
        values[gone] = 0
        found.append(values)
    return found


def round_trip(model: keras.Model, inputs: list[np.ndarray], folder) -> None:
    expected = model(inputs if len(inputs) > 1 else inputs[0])
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    for name in ("m.keras", "m.h5"):
        model.save(folder / name)
        loaded, params = jrnn.load_keras(folder / name, backend="jax")
        outputs = loaded.apply(params, *inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        assert len(outputs) == len(expected)
        for output, value in zip(outputs, expected, strict=True):
            assert output.shape == value.shape
            np.testing.assert_allclose(output, np.asarray(value), rtol=1e-5, atol=1e-5)


def one_of_many(kind: str, seed: int, folder) -> None:
    keras.utils.clear_session()
    draw = Draw(1000 * seed + len(kind))
    model = draw_model(LAYERS[kind], draw)
    draw_weights(model, draw)
    round_trip(model, draw_inputs(model, draw), folder)


@pytest.mark.parametrize("kind", LAYERS)
def test_same_numbers(kind, tmp_path):
    one_of_many(kind, 0, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
def test_same_numbers_for_many(kind, tmp_path):
    for seed in range(1, 30):
        one_of_many(kind, seed, tmp_path)


@pytest.mark.parametrize("kind", [layers.Add, layers.Multiply, layers.Maximum, layers.Average])
def test_inputs_of_other_ranks_and_sizes(kind, tmp_path):
    keras.utils.clear_session()
    xs = [keras.Input(shape) for shape in ((STEPS, FEATURES), (FEATURES,), (1, FEATURES))]
    masked = layers.Masking(0.0)(xs[0])
    model = keras.Model(xs, kind()([masked, *xs[1:]]))
    draw = Draw(7)
    inputs = [draw.rng.standard_normal((BATCH, *x.shape[1:])).astype("float32") for x in xs]
    inputs[0][:, 2] = 0
    round_trip(model, inputs, tmp_path)


@pytest.mark.parametrize(
    ("make", "passes"),
    [
        (lambda: layers.Reshape((STEPS, FEATURES)), True),
        (lambda: layers.Reshape((STEPS, -1)), True),
        (lambda: layers.Permute((1, 2)), True),
        (lambda: layers.Reshape((FEATURES, STEPS)), False),
    ],
)
def test_what_changes_nothing_passes_the_mask_on_jax(make, passes, tmp_path):
    keras.utils.clear_session()
    stack = [layers.Masking(0.0), make(), layers.LSTM(3)]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *stack])
    draw = Draw(3)
    draw_weights(model, draw)
    inputs = draw_inputs(model, draw)
    round_trip(model, inputs, tmp_path)
    loaded, params = jrnn.load_keras(tmp_path / "m.keras", backend="tensorflow")
    elsewhere = np.asarray(loaded.apply(params, *inputs))
    assert passes == (not np.allclose(elsewhere, np.asarray(model(inputs[0])), atol=1e-3))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_normalizations_compute_in_32_bits(policy, tmp_path):
    keras.utils.clear_session()
    stack = [layers.Conv1D(4, 3), layers.BatchNormalization(), layers.LayerNormalization()]
    stack += [layers.AveragePooling1D(2, padding="same"), layers.MaxPooling1D(2)]
    for layer in stack:
        layer.dtype_policy = keras.DTypePolicy(policy)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *stack])
    draw = Draw(5)
    draw_weights(model, draw)
    (x,) = draw_inputs(model, draw)
    model.save(tmp_path / "m.keras")
    loaded, params = jrnn.load_keras(tmp_path / "m.keras")
    y, expected = loaded.apply(params, x), model(x)
    assert str(y.dtype) == str(expected.dtype)
    np.testing.assert_allclose(
        np.asarray(y, "float32"), np.asarray(expected, "float32"), rtol=0.02, atol=0.02
    )
