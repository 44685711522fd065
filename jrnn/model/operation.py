"""Operations that Keras 3 writes as nodes of a functional model's graph."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.model.layer import Layer, Result


class Slice(NamedTuple):
    """A slice that hashes."""

    start: int | None
    stop: int | None
    step: int | None


def _get_item(x: jax.Array, key: Any) -> jax.Array:
    keys = key if type(key) is tuple else (key,)
    return x[tuple(slice(*one) if isinstance(one, Slice) else one for one in keys)]


def _cast(x: jax.Array, dtype: str) -> jax.Array:
    return x.astype(jax.dtypes.canonicalize_dtype(dtype))


def _as_is(x: jax.Array, dtype: str | None) -> jax.Array:
    return x if dtype is None else _cast(x, dtype)


def _ones_like(x: jax.Array, dtype: str | None) -> jax.Array:
    return jnp.ones_like(x, dtype=dtype and jax.dtypes.canonicalize_dtype(dtype))


def _zeros_like(x: jax.Array, dtype: str | None) -> jax.Array:
    return jnp.zeros_like(x, dtype=dtype and jax.dtypes.canonicalize_dtype(dtype))


OPERATIONS: dict[str, Callable[..., jax.Array]] = {
    "Abs": jnp.abs,
    "Absolute": jnp.abs,
    "Add": jnp.add,
    "Any": jnp.any,
    "Cast": _cast,
    "Concatenate": jnp.concatenate,
    "ConvertToTensor": _as_is,
    "Divide": jnp.divide,
    "Equal": jnp.equal,
    "Exp": jnp.exp,
    "ExpandDims": jnp.expand_dims,
    "GetItem": _get_item,
    "Greater": jnp.greater,
    "GreaterEqual": jnp.greater_equal,
    "Less": jnp.less,
    "LessEqual": jnp.less_equal,
    "Log": jnp.log,
    "LogicalAnd": jnp.logical_and,
    "LogicalNot": jnp.logical_not,
    "LogicalOr": jnp.logical_or,
    "Maximum": jnp.maximum,
    "Minimum": jnp.minimum,
    "Multiply": jnp.multiply,
    "Negative": jnp.negative,
    "NotEqual": jnp.not_equal,
    "OnesLike": _ones_like,
    "Power": jnp.power,
    "Relu": jax.nn.relu,
    "Sigmoid": jax.nn.sigmoid,
    "Sqrt": jnp.sqrt,
    "Square": jnp.square,
    "Subtract": jnp.subtract,
    "Tanh": jnp.tanh,
    "TrueDivide": jnp.true_divide,
    "ZerosLike": _zeros_like,
}


class _Tensor:
    """Stands in ``Operation.args`` for the next input."""

    def __repr__(self) -> str:
        return "TENSOR"


TENSOR = _Tensor()


def _filled(arg: Any, tensors: Iterator[jax.Array]) -> Any:
    """Returns an argument with tensors in their places, in tuples too."""
    if type(arg) is tuple:
        return tuple(_filled(item, tensors) for item in arg)
    return next(tensors) if arg is TENSOR else arg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation(Layer):
    """A function of tensors and constants.

    Attributes:
        args: The arguments; each ``TENSOR`` takes the next input.
        options: Keyword arguments, as pairs.
    """

    args: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def cast_inputs(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Returns the inputs as they are: an operation has no dtype of its own."""
        return inputs

    def call(self, params, inputs, masks, state=None) -> Result:
        """Returns the function's value; no mask passes."""
        tensors = iter(inputs)
        args = _filled(self.args, tensors)
        return Result((OPERATIONS[self.kind](*args, **dict(self.options)),), (None,))
