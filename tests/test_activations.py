"""Activations against NumPy float64 formulas, Keras 3 and finite differences."""

import inspect
import math
import os
import pickle

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrnn import activations
from jrnn.activations import ACTIVATIONS, get
from tests.cases import SLOW_BFLOAT16

# 48 points, none within 0.02 of a kink of any function below.
POINTS = (np.linspace(-7.03, 7.09, 48) + 0.01).reshape(4, 12)
EXTREMES = [0, *(s * v for v in (1e-3, 2.9, 11, 20, 100, 150, 300, 1e3, 2e4) for s in (1, -1))]


def np_sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def np_softplus(x):
    return np.logaddexp(0, x)


def np_elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def np_log_softmax(x):
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def np_sparsemax(x):
    """The projection on the simplex by bisection of its threshold, not by sorting."""
    low, high = x.min(-1, keepdims=True) - 1, x.max(-1, keepdims=True)
    for _ in range(200):
        middle = (low + high) / 2
        above = np.maximum(x - middle, 0).sum(-1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.maximum(x - low, 0)


def np_glu(x):
    first, second = np.split(x, 2, axis=-1)
    return first * np_sigmoid(second)


FORMULAS = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": np_sigmoid,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid_keras2": lambda x, alpha=0.2, beta=0.5: np.clip(alpha * x + beta, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "affine": lambda x, alpha, beta: alpha * x + beta,
    "leaky_relu": lambda x, alpha=0.2: np.where(x < 0, alpha * x, x),
    "thresholded_relu": lambda x, alpha=1.0: np.where(x > alpha, x, 0),
    "scaled_tanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "elu": np_elu,
    "selu": lambda x: 1.0507009873554805 * np_elu(x, 1.6732632423543772),
    "celu": lambda x, alpha=1.0: alpha * np_elu(x / alpha),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": np_softplus,
    "exponential": np.exp,
    "softmax": lambda x: np.exp(np_log_softmax(x)),
    "log_softmax": np_log_softmax,
    "silu": lambda x: x * np_sigmoid(x),
    "swish": lambda x: x * np_sigmoid(x),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2,
    "mish": lambda x: x * np.tanh(np_softplus(x)),
    "glu": np_glu,
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "hard_shrink": lambda x, alpha=0.5: np.where(np.abs(x) > alpha, x, 0),
    "soft_shrink": lambda x, alpha=0.5: np.sign(x) * np.maximum(np.abs(x) - alpha, 0),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "threshold": lambda x, alpha, beta: np.where(x > alpha, x, beta),
    # The difference of squares below 0, where the sum of the definition cancels.
    "squareplus": lambda x, alpha=4.0: (
        np.where(x > 0, x + np.sqrt(x**2 + alpha), alpha / (np.sqrt(x**2 + alpha) + np.abs(x))) / 2
    ),
    "sparse_plus": lambda x: np.where(x >= 1, x, np.clip(x + 1, 0, 2) ** 2 / 4),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "sparsemax": np_sparsemax,
    "log_sigmoid": lambda x: -np_softplus(-x),
}
NEEDED = {
    "affine": {"alpha": 1.7, "beta": 0.3},
    "scaled_tanh": {"alpha": 1.7159, "beta": 2 / 3},
    "threshold": {"alpha": 0.4, "beta": -0.2},
}
OPTIONS = [
    *(("hard_sigmoid_keras2", options) for options in ({"alpha": 0.3}, {"beta": 0.4})),
    *((name, {"alpha": 0.3}) for name in ("leaky_relu", "elu", "celu", "thresholded_relu")),
    *((name, {"alpha": 1.3}) for name in ("hard_shrink", "soft_shrink", "squareplus")),
]
CASES = [(name, NEEDED.get(name, {})) for name in ACTIVATIONS] + OPTIONS
COMPOSED = ("gelu_tanh", "sparse_plus", "sparsemax", "squareplus")  # not just called from JAX
LAST_AXIS = ("softmax", "log_softmax", "sparsemax", "glu")
KERAS_NAME = {
    "hard_shrink": "threshold",
    "soft_shrink": "threshold",
    "leaky_relu": "negative_slope",
}


def case_id(value):
    return value if isinstance(value, str) else ",".join(f"{k}={v:.2g}" for k, v in value.items())


@pytest.fixture
def op_by_op():
    """Half the time: a compiled primitive serves every activation."""
    with jax.disable_jit():
        yield


every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=case_id)


@every_case
@pytest.mark.usefixtures("op_by_op")
def test_values_are_those_of_the_formula(name, options):
    with jax.enable_x64(True):
        got = get(name, **options)(jnp.asarray(POINTS))
    np.testing.assert_allclose(got, FORMULAS[name](POINTS, **options), rtol=1e-13, atol=1e-14)


@every_case
@pytest.mark.usefixtures("op_by_op")
def test_gradients_are_those_of_finite_differences(name, options):
    order = 2 if name in COMPOSED else 1
    with jax.enable_x64(True):
        check_grads(get(name, **options), (jnp.asarray(POINTS),), order, rtol=1e-5, atol=1e-5)


@every_case
@pytest.mark.usefixtures("op_by_op")
@pytest.mark.parametrize("dtype", ["float32", SLOW_BFLOAT16, "float16"])
def test_narrow_types_are_kept_and_follow_float64_far_out(name, options, dtype):
    far = [v for v in EXTREMES if name != "exponential" or v < 10]
    # A last-axis function sees one large and one small number; the others each number alone.
    x = np.stack([far, np.full_like(far, 0.5)], -1) if name in LAST_AXIS else np.asarray(far)
    narrow = jnp.asarray(x, dtype)
    activation = get(name, **options)

    first = slice(1) if name in LAST_AXIS else slice(None)

    def values_and_slopes(x):
        return activation(x), jax.grad(lambda x: activation(x)[..., first].sum())(x)

    got = values_and_slopes(narrow)
    with jax.enable_x64(True):
        want = values_and_slopes(jnp.asarray(np.asarray(narrow, np.float64)))
    accuracy = 8 * float(jnp.finfo(dtype).eps)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == dtype
        assert not g.weak_type
        np.testing.assert_allclose(np.asarray(g, np.float64), w, rtol=accuracy, atol=accuracy)


@pytest.mark.parametrize("name", ["softplus", "squareplus", "sparse_plus", "mish", "gelu_tanh"])
def test_slope_is_0_and_1_at_the_far_ends_of_float32(name):
    slope = jax.vmap(jax.grad(get(name)))(jnp.asarray([-3e38, -1e19, 1e19, 3e38]))
    np.testing.assert_array_equal(slope, [0, 0, 1, 1])


def test_squareplus_keeps_its_small_values_on_the_left():
    got = activations.squareplus(jnp.asarray([-1e4, -1e6]))
    np.testing.assert_allclose(got, [1e-4, 1e-6], rtol=1e-6)  # alpha / (4 |x|)


@pytest.mark.parametrize("negative_slope", [0.0, 0.1])
@pytest.mark.parametrize("max_value", [None, 3.3, 6.0])
@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_relu_options_are_those_of_keras(negative_slope, max_value, threshold):
    keras = pytest.importorskip("keras")
    options = {"negative_slope": negative_slope, "max_value": max_value, "threshold": threshold}
    x = jnp.asarray(POINTS, jnp.float32)
    got, got_back = jax.vjp(lambda x: activations.relu(x, **options), x)
    want, want_back = jax.vjp(lambda x: keras.activations.relu(x, **options), x)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got_back(x)[0], want_back(x)[0], rtol=1e-6, atol=1e-6)


def test_no_activation_of_keras_is_missing():
    keras = pytest.importorskip("keras")
    names = {name for name, value in vars(keras.activations).items() if inspect.isfunction(value)}
    assert len(names) > 30
    assert names - {"get", "serialize", "deserialize"} <= set(ACTIVATIONS)


@every_case
@pytest.mark.usefixtures("op_by_op")
def test_values_and_gradients_are_those_of_keras(name, options):
    keras = pytest.importorskip("keras")
    if (theirs := getattr(keras.activations, name, None)) is None:
        pytest.skip("not in Keras")
    x = jnp.asarray(POINTS, jnp.float32)
    if name == "sparsemax":
        x = 4 * x  # one winner: Keras 3.15 is wrong for more (keras issue 23425)
    arguments: dict = {KERAS_NAME.get(name, key): value for key, value in options.items()}
    if name == "threshold":
        arguments = {"threshold": options["alpha"], "default_value": options["beta"]}
    if name == "squareplus":
        arguments = {"b": options.get("alpha", 4.0)}
    got, got_back = jax.vjp(get(name, **options), x)
    want, want_back = jax.vjp(lambda x: theirs(x, **arguments), x)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    slopes = jnp.sin(jnp.arange(got.size, dtype=x.dtype)).reshape(got.shape)
    np.testing.assert_allclose(got_back(slopes)[0], want_back(slopes)[0], rtol=1e-5, atol=1e-5)


def test_gelu_tanh_is_keras_gelu_approximate():
    keras = pytest.importorskip("keras")
    x = jnp.asarray([*POINTS.ravel(), -12, 12], jnp.float32)
    want = keras.activations.gelu(x, approximate=True)
    np.testing.assert_allclose(activations.gelu_tanh(x), want, rtol=1e-6, atol=1e-6)


def test_sparsemax_of_ties_and_of_long_rows_sums_to_one():
    got = activations.sparsemax(jnp.asarray([[0.5, 0.5, 0.1], [7.0, 7.0, 7.0]]))
    np.testing.assert_allclose(got, [[7 / 15, 7 / 15, 1 / 15], [1 / 3] * 3], rtol=1e-6)
    long = jnp.asarray(np.random.default_rng(0).normal(size=2000) / 1000, jnp.bfloat16)
    assert abs(float(activations.sparsemax(long).astype(jnp.float32).sum()) - 1) < 0.01


def test_nan_is_not_hidden():
    for name in set(ACTIVATIONS) - {"threshold", "thresholded_relu", "hard_shrink", "soft_shrink"}:
        got = get(name, **NEEDED.get(name, {}))(jnp.asarray([jnp.nan, 1.0]))
        assert jnp.isnan(got[0]), name


@every_case
def test_the_same_request_gets_the_same_object(name, options):
    activation = get(name, **options)
    assert get(name, **{key: np.float64(value) for key, value in options.items()}) is activation
    assert {activation: name}[get(name, **options)] == name
    assert pickle.loads(pickle.dumps(activation)) == activation


def test_other_parameters_get_another_object():
    assert get("elu", alpha=2) is get("elu", alpha=2.0)
    assert get("elu", alpha=2) != get("elu", alpha=3)
    assert get("elu", alpha=2) != get("celu", alpha=2)


def test_jit_traces_once_for_equal_requests():
    traces = []

    def apply(activation, x):
        traces.append(activation)
        return activation(x)

    apply = jax.jit(apply, static_argnums=0)
    for alpha, want in ((0.5, -0.5), (0.5, -0.5), (0.25, -0.25)):
        assert apply(get("leaky_relu", alpha=alpha), jnp.float32(-1)) == want
    assert len(traces) == 2


def test_none_linear_and_functions_pass_through():
    assert get(None) is get("linear") is activations.linear
    assert get(jnp.sin) is jnp.sin
    assert get(get("elu", alpha=2)) is get("elu", alpha=2)
    assert get("swish") is get("silu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "sigmoyd"}, "did you mean 'sigmoid'.*names: .*tanh"),
        ({"activation": "qqqq"}, "unknown activation 'qqqq'; names: .*relu"),
        ({"activation": 3}, "unknown activation 3"),
        ({"activation": ["tanh"]}, "unknown activation"),
        ({"activation": "tanh", "alpha": 1.0}, "'tanh' takes neither alpha nor beta.*got.*alpha"),
        ({"activation": "elu", "beta": 1.0}, r"takes \['alpha'\].*got \['beta'\]"),
        ({"activation": "affine", "alpha": 1.0}, r"without default \['alpha', 'beta'\]"),
        ({"activation": "scaled_tanh"}, "got none"),
        ({"activation": jnp.tanh, "alpha": 1.0}, "is a function"),
    ],
)
def test_wrong_requests_say_what_to_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        get(**arguments)


def test_glu_refuses_an_odd_axis():
    with pytest.raises(ValueError, match=r"even.*\(2, 3\)"):
        activations.glu(jnp.zeros((2, 3)))
