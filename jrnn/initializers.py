"""Initial weights: `(key, shape, dtype) -> Array`, thin over `jax.nn.initializers`.

As there, `zeros` and `ones` are initializers and the others are called for one: `orthogonal()`.
Defaults are those of Keras. What is random is drawn in float32 at least and then cast, so 16-bit
weights are the rounded 32-bit ones (and QR, which has no 16-bit form, works).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jrnn.names import made

Initializer = Callable[[Array, Sequence[int], DTypeLike], Array]
"""A function `(key, shape, dtype) -> Array` of that shape and dtype."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """`make(*options)` drawn in float32 at least, then cast: hashable, equal by value, picklable.

    Attributes:
        make: a factory of `(key, shape, dtype) -> Array`, as in `jax.nn.initializers`.
        options: its positional arguments.
    """

    make: Callable[..., Any]
    options: tuple[Any, ...] = ()

    def __call__(self, key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        return self.make(*self.options)(key, tuple(shape), wide).astype(dtype)


def get(initializer: str | Initializer, **options: float | str) -> Initializer:
    """Returns the initializer of a name, the same object for the same arguments.

    `get("orthogonal", gain=2.0)` equals `orthogonal(gain=2.0)`.

    Args:
        initializer: a name in `INITIALIZERS`, or an initializer, returned as it is.
        **options: arguments of the named function, under Keras's names.

    Returns:
        A hashable function of a PRNG key, a shape and a dtype.

    Raises:
        ValueError: unknown name; an option the initializer has not, or a missing one it needs.
    """
    if not isinstance(initializer, str) or initializer not in INITIALIZERS:
        return made("initializer", INITIALIZERS, initializer, options)
    return _named(initializer, tuple(sorted(options.items())))


def described(initializer: Initializer) -> tuple[str, dict[str, Any]] | None:
    """Returns a name and options of which `get` makes an equal initializer; None if none do."""
    if initializer in (zeros, ones, unit_forget_bias):
        return initializer.__name__, {}
    if not isinstance(initializer, Drawn):
        return None
    options: tuple[Any, ...] = initializer.options
    if initializer.make is _shifted:
        start, draw, width = options
        if draw is jax.nn.initializers.uniform:
            return "random_uniform", {"minval": start, "maxval": _end(start, width)}
        normal = draw is jax.nn.initializers.normal
        name = "random_normal" if normal else "truncated_normal"
        return name, {"mean": start, "stddev": width}
    if initializer.make is jax.nn.initializers.variance_scaling:
        scale, mode, drawn = options
        names = {made: name for name, made in reversed(_DISTRIBUTIONS.items())}
        return "variance_scaling", {"scale": scale, "mode": mode, "distribution": names[drawn]}
    named = {
        jax.nn.initializers.constant: ("constant", "value"),
        jax.nn.initializers.orthogonal: ("orthogonal", "gain"),
        _identity: ("identity", "gain"),
    }
    if initializer.make not in named:
        return None
    name, option = named[initializer.make]
    return name, {option: options[0]}


def _end(start: float, width: float) -> float:
    """Returns what exactly `width` lies between `start` and, if there is such a number."""
    end = start + width
    near = (end, math.nextafter(end, -math.inf), math.nextafter(end, math.inf))
    return min(near, key=lambda one: (one - start != width, len(repr(one))))


@functools.cache
def _named(name: str, options: tuple[tuple[str, Any], ...]) -> Initializer:
    function, given = INITIALIZERS[name], dict(options)
    if function in (zeros, ones, unit_forget_bias):
        if given:
            raise ValueError(f"initializer {name!r} takes no options, got {given}")
        return function
    return made("initializer", INITIALIZERS, name, given)


def zeros(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Returns zeros of a shape; the key is not used."""
    return jnp.zeros(shape, dtype)


def ones(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Returns ones of a shape; the key is not used."""
    return jnp.ones(shape, dtype)


def unit_forget_bias(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    """Returns the LSTM bias `[0] * U + [1] * U + [0] * 2U` for gates in the order i, f, g, o.

    The forget gate starts open (Jozefowicz et al. 2015), as in Keras with `unit_forget_bias`.

    Args:
        key: not used.
        shape: `[4U]`.
        dtype: of the result.

    Returns:
        `[4U]`.

    Raises:
        ValueError: the shape is not `[4U]`.
    """
    if len(shape) != 1 or shape[0] % 4:
        raise ValueError(f"unit_forget_bias makes an LSTM bias of shape [4U], got {tuple(shape)}")
    units = shape[0] // 4
    return zeros(key, shape, dtype).at[units : 2 * units].set(1)


def constant(value: float = 0.0) -> Initializer:
    """Returns an initializer of arrays full of `value`."""
    return Drawn(jax.nn.initializers.constant, (value,))


def identity(gain: float = 1.0) -> Initializer:
    """Returns an initializer of `gain` on the diagonal of a matrix, square or not, else 0."""
    return Drawn(_identity, (gain,))


def orthogonal(gain: float = 1.0) -> Initializer:
    """Returns an initializer of `gain Q`, Q with orthonormal columns, or rows if they are fewer.

    Of a shape with more than two axes, all but the last count as one (Saxe et al. 2014).
    """
    return Drawn(jax.nn.initializers.orthogonal, (gain,))


def random_normal(mean: float = 0.0, stddev: float = 0.05) -> Initializer:
    """Returns an initializer of `mean + stddev n`, n standard normal."""
    return Drawn(_shifted, (mean, jax.nn.initializers.normal, stddev))


def truncated_normal(mean: float = 0.0, stddev: float = 0.05) -> Initializer:
    """Returns an initializer of `mean + stddev n`, n standard normal cut off at -2 and 2.

    The standard deviation of the result is 0.88 stddev: like Keras and JAX, no correction.
    """
    return Drawn(_shifted, (mean, jax.nn.initializers.truncated_normal, stddev))


def random_uniform(minval: float = -0.05, maxval: float = 0.05) -> Initializer:
    """Returns an initializer of numbers uniform in [minval, maxval)."""
    return Drawn(_shifted, (minval, jax.nn.initializers.uniform, maxval - minval))


def variance_scaling(
    scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
) -> Initializer:
    """Returns an initializer of zero mean and variance `scale / n`.

    n is the fan: inputs `shape[-2] * prod(shape[:-2])`, outputs `shape[-1] * prod(shape[:-2])`.

    Args:
        scale: positive.
        mode: n is "fan_in", "fan_out" or their mean "fan_avg".
        distribution: "truncated_normal" (cut off at two sigma, its variance corrected),
            "untruncated_normal" or "uniform".

    Returns:
        An initializer for shapes of at least two axes.

    Raises:
        ValueError: scale, mode or distribution is none of these.
    """
    if scale <= 0:
        raise ValueError(f"variance_scaling needs a positive scale, got {scale}")
    if mode not in ("fan_in", "fan_out", "fan_avg"):
        raise ValueError(f"variance_scaling has modes fan_in, fan_out, fan_avg, got {mode!r}")
    if distribution not in _DISTRIBUTIONS:
        raise ValueError(f"variance_scaling draws from {[*_DISTRIBUTIONS]}, got {distribution!r}")
    options = (scale, mode, _DISTRIBUTIONS[distribution])
    return Drawn(jax.nn.initializers.variance_scaling, options)


def glorot_uniform() -> Initializer:
    """Returns uniform numbers of variance 2 / (inputs + outputs) (Glorot & Bengio 2010)."""
    return variance_scaling(1.0, "fan_avg", "uniform")


def glorot_normal() -> Initializer:
    """Returns truncated normal numbers of variance 2 / (inputs + outputs)."""
    return variance_scaling(1.0, "fan_avg")


def he_uniform() -> Initializer:
    """Returns uniform numbers of variance 2 / inputs (He et al. 2015)."""
    return variance_scaling(2.0, "fan_in", "uniform")


def he_normal() -> Initializer:
    """Returns truncated normal numbers of variance 2 / inputs."""
    return variance_scaling(2.0, "fan_in")


def lecun_uniform() -> Initializer:
    """Returns uniform numbers of variance 1 / inputs (LeCun et al. 1998)."""
    return variance_scaling(1.0, "fan_in", "uniform")


def lecun_normal() -> Initializer:
    """Returns truncated normal numbers of variance 1 / inputs."""
    return variance_scaling(1.0, "fan_in")


def per_block(initializer: Initializer, blocks: int) -> Initializer:
    """Returns an initializer that draws each of `blocks` equal parts of the last axis by itself."""
    return Drawn(_per_block, (initializer, blocks))


def _identity(gain: float) -> Initializer:
    def init(key: Array, shape: Sequence[int], dtype: DTypeLike) -> Array:
        if len(shape) != 2:
            raise ValueError(f"identity makes a matrix, got shape {tuple(shape)}")
        return gain * jnp.eye(*shape, dtype=dtype)

    return init


def _per_block(initializer: Initializer, blocks: int) -> Initializer:
    def init(key: Array, shape: Sequence[int], dtype: DTypeLike) -> Array:
        if not shape or shape[-1] % blocks:
            raise ValueError(f"shape {tuple(shape)} does not end in {blocks} equal blocks")
        part = (*shape[:-1], shape[-1] // blocks)
        keys = jax.random.split(key, blocks)
        return jnp.concatenate([initializer(one, part, dtype) for one in keys], axis=-1)

    return init


def _shifted(shift: float, make: Callable[[float], Any], width: float) -> Initializer:
    def init(key: Array, shape: Sequence[int], dtype: DTypeLike) -> Array:
        return shift + make(width)(key, shape, dtype)

    return init


_DISTRIBUTIONS = {
    "truncated_normal": "truncated_normal",
    "normal": "truncated_normal",  # as in Keras
    "untruncated_normal": "normal",
    "uniform": "uniform",
}
_FUNCTIONS = (
    *(zeros, ones, unit_forget_bias, constant, identity, orthogonal, random_normal),
    *(truncated_normal, random_uniform, variance_scaling, glorot_uniform, glorot_normal),
    *(he_uniform, he_normal, lecun_uniform, lecun_normal),
)
INITIALIZERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {f.__name__: f for f in _FUNCTIONS}
    | {"zero": zeros, "one": ones, "normal": random_normal, "uniform": random_uniform}
)
"""The initializers, and the functions that make one by name, as `get` looks them up; read-only."""
