"""Initial weights: moments, ranges, orthogonality, and what `get` promises."""

import os
import pickle

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrnn import initializers
from jrnn.initializers import INITIALIZERS, get

KEY = jax.random.key(7)
SHAPE = (300, 500)
KERNEL = (3, 5, 40, 160)  # spatial axes, then inputs and outputs
# name, options, variance for fans (inputs, outputs), bound in standard deviations of the result
SIGMA = 0.87962566103423978  # standard deviation of a normal cut off at 2
UNIFORM, TRUNCATED, UNBOUNDED = 3**0.5, 2 / SIGMA, None
MOMENTS = [
    ("glorot_uniform", {}, lambda i, o: 2 / (i + o), UNIFORM),
    ("glorot_normal", {}, lambda i, o: 2 / (i + o), TRUNCATED),
    ("he_uniform", {}, lambda i, o: 2 / i, UNIFORM),
    ("he_normal", {}, lambda i, o: 2 / i, TRUNCATED),
    ("lecun_uniform", {}, lambda i, o: 1 / i, UNIFORM),
    ("lecun_normal", {}, lambda i, o: 1 / i, TRUNCATED),
    ("variance_scaling", {}, lambda i, o: 1 / i, TRUNCATED),
    ("variance_scaling", {"scale": 3.0, "mode": "fan_out"}, lambda i, o: 3 / o, TRUNCATED),
    ("variance_scaling", {"distribution": "untruncated_normal"}, lambda i, o: 1 / i, UNBOUNDED),
    ("variance_scaling", {"distribution": "uniform"}, lambda i, o: 1 / i, UNIFORM),
    ("random_normal", {}, lambda i, o: 0.05**2, UNBOUNDED),
    ("normal", {"stddev": 2.0}, lambda i, o: 4.0, UNBOUNDED),
    ("truncated_normal", {}, lambda i, o: (0.05 * SIGMA) ** 2, TRUNCATED),
    ("random_uniform", {}, lambda i, o: 0.1**2 / 12, UNIFORM),
    ("uniform", {"minval": -3.0, "maxval": 3.0}, lambda i, o: 3.0, UNIFORM),
]


def wide(array):
    return np.asarray(array, np.float64)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("name", "options", "variance", "bound"), MOMENTS)
def test_moments_and_range(name, options, variance, bound, dtype):
    drawn = get(name, **options)(KEY, SHAPE, dtype)
    assert drawn.dtype == dtype
    weights, sigma = wide(drawn), variance(*SHAPE) ** 0.5
    assert abs(weights.mean()) < 4 * sigma / weights.size**0.5
    assert abs(weights.std() / sigma - 1) < 0.01
    furthest = np.abs(weights).max() / sigma
    if bound is None:
        assert 4 < furthest < 6  # of 150,000 normal draws
    else:
        assert 0.98 * bound < furthest < bound * (1 + float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize(("name", "options", "variance", "bound"), MOMENTS)
def test_convolution_kernels_count_the_window_in_both_fans(name, options, variance, bound):
    weights = wide(get(name, **options)(KEY, KERNEL, jnp.float32))
    assert abs(weights.var() / variance(15 * 40, 15 * 160) - 1) < 0.03


@pytest.mark.parametrize(("name", "options", "variance", "bound"), MOMENTS)
def test_spread_is_that_of_keras(name, options, variance, bound):
    keras = pytest.importorskip("keras")
    theirs = keras.initializers.get({"class_name": name, "config": {**options, "seed": 3}})(SHAPE)
    ours = wide(get(name, **options)(KEY, SHAPE, jnp.float32))
    levels = np.linspace(0.01, 0.99, 21)
    want = np.quantile(wide(theirs), levels)
    np.testing.assert_allclose(np.quantile(ours, levels), want, atol=0.02 * np.ptp(want))


@pytest.mark.parametrize("name", ["random_normal", "truncated_normal"])
def test_normals_are_shifted_by_their_mean(name):
    plain = get(name, stddev=0.5)(KEY, SHAPE, jnp.float32)
    np.testing.assert_allclose(get(name, mean=3.0, stddev=0.5)(KEY, SHAPE, jnp.float32), plain + 3)


def test_uniform_stays_between_its_ends():
    weights = wide(get("random_uniform", minval=2.0, maxval=5.0)(KEY, SHAPE, jnp.float32))
    assert 2 <= weights.min() < 2.001
    assert 4.999 < weights.max() <= 5
    assert abs(weights.mean() - 3.5) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(24, 24), (24, 96), (96, 24), (3, 4, 6, 24)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape, dtype):
    drawn = get("orthogonal", gain=1.5)(KEY, shape, dtype)
    assert drawn.dtype == dtype
    assert drawn.shape == shape
    matrix = wide(drawn).reshape(-1, shape[-1]) / 1.5
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    accuracy = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=accuracy)


def test_orthogonal_is_not_always_the_same_and_has_both_signs():
    first, second = (get("orthogonal")(jax.random.key(k), (24, 24), jnp.float32) for k in (0, 1))
    assert np.abs(wide(first) - wide(second)).max() > 0.1
    signs = {
        round(float(np.linalg.det(wide(get("orthogonal")(jax.random.key(k), (3, 3), jnp.float32)))))
        for k in range(20)
    }
    assert signs == {-1, 1}  # the whole orthogonal group, not rotations only


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", sorted(set(INITIALIZERS) - {"unit_forget_bias"}))
def test_narrow_weights_are_the_rounded_wide_ones_and_repeat(name, dtype):
    initializer = get(name)
    narrow = initializer(KEY, (6, 20), dtype)
    np.testing.assert_array_equal(narrow, initializer(KEY, (6, 20), jnp.float32).astype(dtype))
    jitted = jax.jit(initializer, static_argnums=(1, 2))(KEY, (6, 20), dtype)
    np.testing.assert_allclose(wide(jitted), wide(narrow), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize(("name", "options", "variance", "bound"), MOMENTS)
def test_another_key_draws_other_weights(name, options, variance, bound):
    first, second = (get(name, **options)(jax.random.key(k), (9, 9), jnp.float32) for k in (0, 1))
    assert not np.any(wide(first) == wide(second))


def test_fixed_values():
    np.testing.assert_array_equal(get("zeros")(KEY, (2, 3), jnp.float32), np.zeros((2, 3)))
    np.testing.assert_array_equal(get("ones")(KEY, (2, 3), jnp.float32), np.ones((2, 3)))
    np.testing.assert_array_equal(get("constant")(KEY, (2, 3), jnp.float32), np.zeros((2, 3)))
    got = get("constant", value=2.5)(KEY, (2, 3), jnp.bfloat16)
    np.testing.assert_array_equal(wide(got), np.full((2, 3), 2.5))
    got = get("identity", gain=0.5)(KEY, (2, 3), jnp.float32)
    np.testing.assert_array_equal(got, [[0.5, 0, 0], [0, 0.5, 0]])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unit_forget_bias_is_one_in_the_second_quarter(dtype):
    bias = get("unit_forget_bias")(KEY, (12,), dtype)
    assert bias.dtype == dtype
    np.testing.assert_array_equal(wide(bias), [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])


def test_unit_forget_bias_is_the_one_keras_builds():
    keras = pytest.importorskip("keras")
    layer = keras.layers.LSTM(5)
    layer.build((None, None, 3))
    want = layer.cell.bias.numpy()
    np.testing.assert_array_equal(get("unit_forget_bias")(KEY, want.shape, jnp.float32), want)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_same_request_gets_the_same_object(name):
    initializer = get(name)
    assert get(name) is initializer
    assert {initializer: name}[get(name)] == name
    assert pickle.loads(pickle.dumps(initializer)) == initializer
    assert get(initializer) is initializer


def test_options_distinguish_and_functions_agree_with_names():
    assert get("orthogonal", gain=2.0) is get("orthogonal", gain=2.0)
    assert get("orthogonal", gain=2.0) == initializers.orthogonal(2.0) != get("orthogonal")
    assert get("normal") == get("random_normal")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("orthogonl"), "did you mean 'orthogonal'.*names: .*zeros"),
        (lambda: get("qqqq"), "unknown initializer 'qqqq'; names: "),
        (lambda: get(["zeros"]), "unknown initializer"),  # type: ignore
        (lambda: get("orthogonal", gian=2.0), "'orthogonal' takes .*gain.*gian"),
        (lambda: get("zeros", value=1.0), "'zeros' takes no options"),
        (lambda: get(initializers.zeros, value=1.0), "is a function"),
        (lambda: get("variance_scaling", scale=0.0), "positive scale"),
        (lambda: get("variance_scaling", mode="fan"), "fan_in, fan_out, fan_avg, got 'fan'"),
        (lambda: get("variance_scaling", distribution="cauchy"), "uniform.*got 'cauchy'"),
        (lambda: get("unit_forget_bias")(KEY, (10,), jnp.float32), r"\[4U\], got \(10,\)"),
        (lambda: get("unit_forget_bias")(KEY, (2, 8), jnp.float32), r"\[4U\], got \(2, 8\)"),
        (lambda: get("identity")(KEY, (2, 2, 2), jnp.float32), r"matrix, got shape \(2, 2, 2\)"),
    ],
)
def test_wrong_requests_say_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
