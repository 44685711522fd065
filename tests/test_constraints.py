"""Constraints: values and gradients beside real Keras 3, and what `get` promises."""

import os
import pickle

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from jrnn import constraints
from jrnn.constraints import get
from tests.cases import SLOW_BFLOAT16

CASES = [
    ("max_norm", {}, "MaxNorm"),
    ("max_norm", {"max_value": 0.7, "axis": 1}, "MaxNorm"),
    ("max_norm", {"max_value": 3, "axis": (0, 1)}, "MaxNorm"),
    ("min_max_norm", {}, "MinMaxNorm"),
    ("min_max_norm", {"min_value": 2.0, "max_value": 2.4}, "MinMaxNorm"),
    ("min_max_norm", {"min_value": 4.0, "max_value": 5.0, "rate": 0.3, "axis": -1}, "MinMaxNorm"),
    ("non_neg", {}, "NonNeg"),
    ("unit_norm", {}, "UnitNorm"),
    ("unit_norm", {"axis": (0, 1)}, "UnitNorm"),
]
NAMES = [f"{name}{options}" for name, options, _ in CASES]
RADIAL = ("radial", {}, None)


def weights(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), "float32")


@pytest.mark.parametrize("dtype", ["float32", SLOW_BFLOAT16, "float16"])
@pytest.mark.parametrize(("name", "options", "kind"), CASES, ids=NAMES)
def test_value_and_gradient_are_those_of_keras(name, options, kind, dtype):
    ours, theirs = get(name, **options), getattr(keras.constraints, kind)(**options)
    w = weights(5, 7, 3).astype(dtype)
    assert ours(w).dtype == dtype
    np.testing.assert_allclose(ours(w), theirs(w), rtol=1e-6)
    zeros = w.at[:, 2].set(0)
    np.testing.assert_allclose(ours(zeros), theirs(zeros), rtol=1e-6)
    c = weights(5, 7, 3, seed=1).astype(dtype)
    got, want = (jax.grad(lambda w, f=f: jnp.sum(f(w) * c))(w) for f in (ours, theirs))
    np.testing.assert_allclose(
        got.astype("float32"), want.astype("float32"), rtol=1e-4, atol=8 * jnp.finfo(dtype).eps
    )


@pytest.mark.parametrize(("name", "options", "kind"), CASES, ids=NAMES)
def test_gradient_is_finite_where_all_weights_are_zero(name, options, kind):
    grad = jax.grad(lambda w: jnp.sum(get(name, **options)(w)))(jnp.zeros((4, 3)))
    assert np.isfinite(grad).all()


@pytest.mark.parametrize(("name", "options", "kind"), [*CASES, RADIAL], ids=[*NAMES, "radial"])
def test_equal_by_value_hashable_picklable_and_idempotent(name, options, kind):
    one, other = get(name, **options), get(name, **options)
    assert one == other == getattr(constraints, name)(**options)
    assert hash(one) == hash(pickle.loads(pickle.dumps(other)))
    assert get(one) is one
    run = jax.jit(lambda constraint, w: constraint(w), static_argnums=0)
    w = weights(4, 4, 2, 3)
    np.testing.assert_allclose(run(one, w), one(w), rtol=1e-5, atol=1e-7)
    if "rate" not in options and kind is not None:
        np.testing.assert_allclose(one(one(w)), one(w), rtol=1e-5, atol=1e-7)


def test_one_axis_is_the_same_in_brackets():
    assert get("unit_norm", axis=[1]) == get("unit_norm", axis=1)
    assert get("unit_norm", axis=[0, 1]) == get("unit_norm", axis=(0, 1))


def padded_outwards(kernel):
    """The loop of tf.keras: from the middle outwards, a frame of one number at a time."""
    size = kernel.shape[0]
    start = size // 2
    middle = kernel[start - 1, start - 1]
    grown = np.full((1, 1) if size % 2 else (2, 2), middle)
    for index in range(0 if size % 2 else 1, start):
        grown = np.pad(grown, 1, constant_values=kernel[start + index, start + index])
    return grown


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7])
def test_radial_makes_each_ring_one_number(size):
    w = weights(size, size, 2, 3)
    want = np.empty(w.shape, "float32")
    for c in range(2):
        for u in range(3):
            want[:, :, c, u] = padded_outwards(np.asarray(w[:, :, c, u]))
    np.testing.assert_array_equal(get("radial")(w), want)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: get("maxnorm"), "did you mean 'max_norm'"),
        (lambda: get("non_neg", axis=1), "takes"),
        (lambda: get("max_norm", max_value="big"), "high is 'big'"),
        (lambda: get("min_max_norm", rate=float("nan")), "rate is nan"),
        (lambda: get("unit_norm", axis=0.5), "axis"),
        (lambda: get("unit_norm", axis=()), "axis"),
        (lambda: get("radial")(weights(3, 3)), r"shape \(3, 3\)"),
        (lambda: get("radial")(weights(3, 4, 1, 1)), r"shape \(3, 4, 1, 1\)"),
        (lambda: get("radial")(weights(1, 1, 2, 2)), r"shape \(1, 1, 2, 2\)"),
    ],
)
def test_refuses(make, said):
    with pytest.raises(ValueError, match=said):
        make()
