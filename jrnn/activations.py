"""Every activation by name, with alpha and beta where the op set has them.

Each is a plain function of one floating array `x` of any shape (softmax, log_softmax, glu and
sparsemax: over the last axis) that returns the same shape and dtype (glu: half the last axis).
`alpha` and `beta` are the shape parameters of ONNX and ND4J, whatever Keras calls them. Functions
without a source in their docstring are those of `jax.nn` and Keras 3 of that name.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import Array

from jrnn.names import look_up

Activation = Callable[[Array], Array]
"""A function of one array that returns one of the same shape and dtype."""


@dataclasses.dataclass(frozen=True)
class BoundActivation:
    """An activation with its alpha and beta filled in: hashable, equal by value, picklable."""

    function: Callable[..., Array]
    options: tuple[tuple[str, float], ...]

    def __call__(self, x: Array) -> Array:
        return self.function(x, **dict(self.options))


def get(
    activation: str | Activation | None, *, alpha: float | None = None, beta: float | None = None
) -> Activation:
    """Returns the activation function of a name, the same object for the same arguments.

    `get(name, alpha=a)(x) == ACTIVATIONS[name](x, alpha=a)`.

    Args:
        activation: a name in `ACTIVATIONS`, None (linear), or a function, returned as it is.
        alpha: first parameter, for a named activation that has one; None takes its default.
        beta: second parameter, likewise.

    Returns:
        A hashable function of one array, fit for a static argument of `jax.jit`.

    Raises:
        ValueError: unknown name; a parameter the activation has not, or a missing one it needs.
    """
    if callable(activation):
        if alpha is not None or beta is not None:
            raise ValueError(
                f"activation {activation!r} is a function, so alpha and beta must be None, got "
                f"alpha={alpha}, beta={beta}; bind them with functools.partial instead"
            )
        return activation
    name = "linear" if activation is None else activation
    look_up("activation", ACTIVATIONS, name)
    given = (("alpha", alpha), ("beta", beta))
    return _bound(name, tuple((key, float(value)) for key, value in given if value is not None))


@functools.cache
def _bound(name: str, options: tuple[tuple[str, float], ...]) -> Activation:
    function = ACTIVATIONS[name]
    parameters = inspect.signature(function).parameters
    takes = [key for key in ("alpha", "beta") if key in parameters]
    needs = [key for key in takes if parameters[key].default is inspect.Parameter.empty]
    given = [key for key, _ in options]
    if not set(needs) <= set(given) <= set(takes):
        raise ValueError(
            f"activation {name!r} takes {takes or 'neither alpha nor beta'}, of these without "
            f"default {needs or 'none'}; got {given or 'none'}"
        )
    return BoundActivation(function, options) if options else function


def linear(x: Array) -> Array:
    """Returns x."""
    return jnp.asarray(x)


def tanh(x: Array) -> Array:
    """Returns (e^x - e^-x) / (e^x + e^-x)."""
    return jnp.tanh(x)


def sigmoid(x: Array) -> Array:
    """Returns 1 / (1 + e^-x)."""
    return jax.nn.sigmoid(x)


def hard_sigmoid(x: Array) -> Array:
    """Returns relu6(x + 3) / 6, the form of Keras 3; see hard_sigmoid_keras2."""
    return jax.nn.hard_sigmoid(x)


def hard_sigmoid_keras2(x: Array, *, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """Returns clip(alpha x + beta, 0, 1), hard_sigmoid of Keras 1 and 2, Theano, ND4J and ONNX."""
    return jnp.clip(alpha * x + beta, 0, 1)


def relu(
    x: Array, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """Returns min(x, max_value) where x > threshold, else negative_slope (x - threshold)."""
    above = jax.nn.relu(x) if threshold == 0 else jnp.where(x > threshold, x, 0)
    if max_value is not None:
        above = jnp.clip(above, 0, max_value)
    if negative_slope == 0:
        return above
    return above - negative_slope * jax.nn.relu(threshold - x)


def relu6(x: Array) -> Array:
    """Returns min(max(x, 0), 6)."""
    return jax.nn.relu6(x)


def affine(x: Array, *, alpha: float, beta: float) -> Array:
    """Returns alpha x + beta (ONNX, ND4J).

    No defaults: ND4J's op and onnxruntime demand both, and ND4J's documented 0, 0 is a constant.
    """
    return alpha * x + beta


def leaky_relu(x: Array, *, alpha: float = 0.2) -> Array:
    """Returns x where x >= 0, else alpha x.

    The default is that of the Keras 3 activation; ONNX's is 0.01, Keras's LeakyReLU layer's 0.3.
    """
    return jax.nn.leaky_relu(x, alpha)


def thresholded_relu(x: Array, *, alpha: float = 1.0) -> Array:
    """Returns x where x > alpha, else 0 (ONNX, ND4J; ND4J's op has no default)."""
    return jnp.where(x > alpha, x, 0)


def scaled_tanh(x: Array, *, alpha: float, beta: float) -> Array:
    """Returns alpha tanh(beta x) (ONNX, ND4J); no defaults, as in affine."""
    return alpha * jnp.tanh(beta * x)


def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """Returns x where x > 0, else alpha (e^x - 1)."""
    return jax.nn.elu(x, alpha)


def selu(x: Array) -> Array:
    """Returns 1.0507 elu(x, alpha=1.6733), the constants of Klambauer et al. 2017 in full."""
    return jax.nn.selu(x)


def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """Returns max(x, 0) + alpha (e^(min(x, 0) / alpha) - 1)."""
    return jax.nn.celu(x, alpha)


def softsign(x: Array) -> Array:
    """Returns x / (1 + |x|)."""
    return jax.nn.soft_sign(x)


def softplus(x: Array) -> Array:
    """Returns log(1 + e^x)."""
    return jax.nn.softplus(x)


def exponential(x: Array) -> Array:
    """Returns e^x."""
    return jnp.exp(x)


def softmax(x: Array) -> Array:
    """Returns e^x / sum(e^x)."""
    return jax.nn.softmax(x)


def log_softmax(x: Array) -> Array:
    """Returns x - log(sum(e^x))."""
    return jax.nn.log_softmax(x)


def silu(x: Array) -> Array:
    """Returns x sigmoid(x), also called swish."""
    return jax.nn.silu(x)


def gelu(x: Array) -> Array:
    """Returns x (1 + erf(x / sqrt(2))) / 2."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: Array) -> Array:
    """Returns x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, the approximate gelu."""
    # Beyond 10 the tanh is exactly 1 in float64 too, while the slope of x^3 overflows in float16.
    inner = jnp.abs(x) < 10
    return jnp.where(inner, jax.nn.gelu(jnp.where(inner, x, 0)), jnp.maximum(x, 0))


def mish(x: Array) -> Array:
    """Returns x tanh(softplus(x))."""
    return jax.nn.mish(x)


def glu(x: Array) -> Array:
    """Returns a sigmoid(b), where a and b are the halves of the last axis."""
    if x.shape[-1] % 2:
        raise ValueError(f"glu halves the last axis and needs it even, got shape {x.shape}")
    return jax.nn.glu(x)


def hard_silu(x: Array) -> Array:
    """Returns x relu6(x + 3) / 6, also called hard_swish."""
    return jax.nn.hard_silu(x)


def hard_tanh(x: Array) -> Array:
    """Returns clip(x, -1, 1)."""
    return jax.nn.hard_tanh(x)


def hard_shrink(x: Array, *, alpha: float = 0.5) -> Array:
    """Returns x where |x| > alpha, else 0."""
    return jnp.where(jnp.abs(x) > alpha, x, 0)


def soft_shrink(x: Array, *, alpha: float = 0.5) -> Array:
    """Returns sign(x) max(|x| - alpha, 0)."""
    return jnp.where(x > alpha, x - alpha, jnp.where(x < -alpha, x + alpha, 0))


def tanh_shrink(x: Array) -> Array:
    """Returns x - tanh(x)."""
    return x - jnp.tanh(x)


def threshold(x: Array, *, alpha: float, beta: float) -> Array:
    """Returns x where x > alpha, else beta; Keras too has no defaults."""
    return jnp.where(x > alpha, x, beta)


def squareplus(x: Array, *, alpha: float = 4.0) -> Array:
    """Returns (x + sqrt(x^2 + alpha)) / 2, alpha > 0 (Keras calls it b)."""
    # x^2 overflows (in float16 from 256 on) and x + |x| cancels for x < 0: so hypot, and the
    # conjugate form below 0. `where` for |x|, because the slope of `abs` at 0 is 0.
    half = jnp.where(x >= 0, x, -x) / 2 + jnp.hypot(x, jnp.asarray(alpha**0.5, x.dtype)) / 2
    return jnp.where(x >= 0, half, alpha / 4 / half)


def sparse_plus(x: Array) -> Array:
    """Returns 0 for x <= -1, (x + 1)^2 / 4 between, x for x >= 1."""
    # The clip keeps the slope of the square, which `where` does not select, from overflowing.
    return jnp.where(x >= 1, x, jax.nn.sparse_plus(jnp.clip(x, -1, 1)))


def sparse_sigmoid(x: Array) -> Array:
    """Returns clip((x + 1) / 2, 0, 1)."""
    return jax.nn.sparse_sigmoid(x)


def sparsemax(x: Array) -> Array:
    """Returns max(x - tau, 0) with the tau that makes the last axis sum to 1.

    tau = (sum of the k largest - 1) / k, for the largest k with 1 + k x_(k) > sum of the k largest
    (Martins & Astudillo 2016). Keras up to 3.15 takes another tau once k > 1 (its issue 23425).
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    wide -= jax.lax.stop_gradient(wide.max(-1, keepdims=True))
    ordered = jnp.flip(jnp.sort(wide, -1), -1)
    counts = jnp.arange(1, x.shape[-1] + 1, dtype=wide.dtype)
    support = 1 + counts * ordered > jnp.cumsum(ordered, -1)
    total = jnp.where(support, ordered, 0).sum(-1, keepdims=True)
    tau = (total - 1) / support.sum(-1, keepdims=True)
    return jnp.maximum(wide - tau, 0).astype(x.dtype)


def log_sigmoid(x: Array) -> Array:
    """Returns -log(1 + e^-x)."""
    return jax.nn.log_sigmoid(x)


_FUNCTIONS = (
    *(linear, tanh, sigmoid, hard_sigmoid, hard_sigmoid_keras2, relu, relu6, affine, leaky_relu),
    *(thresholded_relu, scaled_tanh, elu, selu, celu, softsign, softplus, exponential, softmax),
    *(log_softmax, silu, gelu, gelu_tanh, mish, glu, hard_silu, hard_tanh, hard_shrink),
    *(soft_shrink, tanh_shrink, threshold, squareplus, sparse_plus, sparse_sigmoid, sparsemax),
    log_sigmoid,
)
ACTIVATIONS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {f.__name__: f for f in _FUNCTIONS} | {"swish": silu, "hard_swish": hard_silu}
)
"""The functions by name, as `get` looks them up; read-only."""
