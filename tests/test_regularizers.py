"""Regularizers: values and gradients beside real Keras 3, and what `get` promises."""

import os
import pickle

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from jrnn import regularizers
from jrnn.regularizers import OverBatch, get
from tests.cases import SLOW_BFLOAT16

CASES = [
    ("l1", {}, "L1"),
    ("l1", {"l1": 0.3}, "L1"),
    ("l2", {}, "L2"),
    ("l2", {"l2": 0.7}, "L2"),
    ("l1_l2", {}, "L1L2"),
    ("l1_l2", {"l1": 0.2, "l2": 0.05}, "L1L2"),
    ("orthogonal", {}, "OrthogonalRegularizer"),
    ("orthogonal", {"factor": 0.4, "mode": "columns"}, "OrthogonalRegularizer"),
]
NAMES = [f"{name}{options}" for name, options, _ in CASES]


def weights(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), "float32")


@pytest.mark.parametrize("dtype", ["float32", SLOW_BFLOAT16, "float16"])
@pytest.mark.parametrize(("name", "options", "kind"), CASES, ids=NAMES)
def test_value_and_gradient_are_those_of_keras(name, options, kind, dtype):
    w = weights(5, 7).at[2].set(0).astype(dtype)  # a row of zeros cannot be made one of length 1
    theirs = getattr(keras.regularizers, kind)(**options)
    np.testing.assert_allclose(get(name, **options)(w), theirs(w), rtol=1e-6)
    w = weights(5, 7).astype(dtype)
    got, want = jax.grad(get(name, **options))(w), jax.grad(theirs)(w)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-9)
    assert got.dtype == dtype


@pytest.mark.parametrize(("name", "options", "kind"), CASES, ids=NAMES)
def test_equal_by_value_hashable_picklable_and_static(name, options, kind):
    one, other = get(name, **options), get(name, **options)
    assert one == other
    assert hash(one) == hash(pickle.loads(pickle.dumps(other)))
    assert one == getattr(regularizers, name)(**options)
    run = jax.jit(lambda regularizer, w: regularizer(w), static_argnums=0)
    np.testing.assert_allclose(run(one, weights(3, 4)), one(weights(3, 4)), rtol=1e-6)
    assert get(one) is one


def test_factors_tell_regularizers_apart():
    assert len({get("l2"), get("l2", l2=0.02), get("l1"), get("l1_l2", l1=0.01, l2=0.01)}) == 4
    assert get("l1_l2", l2=0.01) == get("l2")


def test_penalties_count_every_number_of_any_shape():
    kernel = np.asarray(weights(2, 3, 4, 5), np.float64)
    want = 0.2 * np.abs(kernel).sum() + 0.5 * (kernel**2).sum()
    np.testing.assert_allclose(get("l1_l2", l1=0.2, l2=0.5)(weights(2, 3, 4, 5)), want, rtol=1e-5)


def test_orthogonal_is_zero_for_orthogonal_rows_and_its_factor_for_parallel_ones():
    penalty = get("orthogonal", factor=0.3)
    assert penalty(jnp.diag(jnp.array([1.0, 5.0, -2.0]))) == 0
    row = jnp.array([0.2, -3.0, 1.0])
    np.testing.assert_allclose(penalty(jnp.stack([row, -2 * row, 0.1 * row])), 0.3, rtol=1e-5)


def test_over_batch_does_not_depend_on_how_often_a_row_comes():
    y = weights(3, 4, 2)
    penalty = OverBatch(get("l2", l2=0.5))
    np.testing.assert_allclose(penalty(y), 0.5 * np.sum(np.square(y)) / 3, rtol=1e-6)
    np.testing.assert_allclose(penalty(jnp.concatenate([y, y])), penalty(y), rtol=1e-6)
    assert penalty(y[:0]) == 0
    assert penalty(jnp.float32(2)) == 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: get("l1l2"), "did you mean 'l1_l2'"),
        (lambda: get(None), "unknown regularizer None"),
        (lambda: get("l2", l1=0.1), "takes"),
        (lambda: get("l2", l2=-0.1), "l2 is -0.1"),
        (lambda: get("l1", l1=float("nan")), "l1 is nan"),
        (lambda: get("l1_l2", l1="much"), "l1 is 'much'"),
        (lambda: get(get("l2"), l2=0.1), "no options"),
        (lambda: get("orthogonal", factor=float("inf")), "factor is inf"),
        (lambda: get("orthogonal", mode="both"), "got 'both'"),
        (lambda: get("orthogonal")(weights(3)), r"shape \(3,\)"),
        (lambda: get("orthogonal")(weights(1, 3)), "compares rows, got 1"),
    ],
)
def test_refuses(make, said):
    with pytest.raises(ValueError, match=said):
        make()
