"""LocallyConnected2D of Keras 1 and 2 beside a loop over windows in NumPy."""

import jax
import numpy as np
import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_layer
from tests.keras_entries import KERAS1, TF2, WRITERS, entry, legacy, model_of, numbers, stored

IMAGE, UNITS = (6, 7, 2), 3


def windows(x, size, strides):
    """Every window [h, w, C] by its place."""
    height, width = x.shape[:2]
    return {
        (i, j): x[top : top + size[0], left : left + size[1]]
        for i, top in enumerate(range(0, height - size[0] + 1, strides[0]))
        for j, left in enumerate(range(0, width - size[1] + 1, strides[1]))
    }


def expected_of(x, kernel, bias, size, strides):
    """One image's output in float64, a dot product for each window and channel."""
    found = windows(x.astype("float64"), size, strides)
    rows, columns = (1 + max(place[k] for place in found) for k in (0, 1))
    y = np.zeros((rows, columns, UNITS))
    for number, (i, j) in enumerate(sorted(found)):
        y[i, j] = found[i, j].reshape(-1) @ kernel[number]
    return np.tanh(y + (0 if bias is None else bias))


def options(writer, size, strides, *, use_bias):
    if writer is KERAS1:
        names = {"nb_filter": UNITS, "nb_row": size[0], "nb_col": size[1], "subsample": strides}
        return {**names, "bias": use_bias, "border_mode": "valid", "dim_ordering": "tf"}
    names = {"filters": UNITS, "kernel_size": size, "strides": strides, "implementation": 1}
    return {**names, "use_bias": use_bias, "padding": "valid", "data_format": "channels_last"}


@pytest.mark.parametrize("writer", WRITERS[:-1], ids=str)
@pytest.mark.parametrize(
    ("size", "strides", "use_bias"),
    [
        ([2, 3], [1, 1], True),
        ([3, 1], [2, 3], True),
        ([1, 4], [3, 2], False),
        ([6, 7], [1, 1], True),
    ],
)
def test_every_window_has_a_kernel(writer, size, strides, use_bias):
    x = numbers(4, *IMAGE, seed=1)
    places = windows(x[0], size, strides)
    rows, columns = (1 + max(place[k] for place in places) for k in (0, 1))
    kernel = numbers(rows * columns, size[0] * size[1] * IMAGE[-1], UNITS, seed=2)
    bias = numbers(rows, columns, UNITS, seed=3) if use_bias else None
    config = entry(
        "LocallyConnected2D",
        name="l",
        activation="tanh",
        **options(writer, size, strides, use_bias=use_bias),
    )
    model = model_of(config, writer=writer, shape=(None, *IMAGE))
    arrays = [stored("l/kernel:0", kernel)] + ([stored("l/bias:0", bias)] if use_bias else [])
    params = build_params(model, legacy(l=arrays))
    expected = np.stack([expected_of(one, kernel, bias, size, strides) for one in x])
    np.testing.assert_allclose(jax.jit(model.apply)(params, x), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"the kernel .* is for"):
        model.apply(params, np.zeros((1, 9, 9, 2), "float32"))


@pytest.mark.parametrize(
    "wrong", [{"implementation": 2}, {"data_format": "channels_first"}, {"padding": "same"}]
)
def test_what_is_not_known(wrong):
    given = {"filters": 2, "kernel_size": [2, 2], "implementation": 1, **wrong}
    with pytest.raises(KerasFileError, match="'l'"):
        parse_layer(entry("LocallyConnected2D", name="l", **given), TF2)
