"""Operations that Keras 3 writes as nodes of a functional model's graph."""

import dataclasses
from collections.abc import Callable, Sequence
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


OPERATIONS: dict[str, Callable[..., jax.Array]] = {
    "Abs": jnp.abs,
    "Absolute": jnp.abs,
    "Add": jnp.add,
    "Any": jnp.any,
    "Cast": _cast,
    "Divide": jnp.divide,
    "Equal": jnp.equal,
    "Exp": jnp.exp,
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
    "Power": jnp.power,
    "Relu": jax.nn.relu,
    "Sigmoid": jax.nn.sigmoid,
    "Sqrt": jnp.sqrt,
    "Square": jnp.square,
    "Subtract": jnp.subtract,
    "Tanh": jnp.tanh,
    "TrueDivide": jnp.true_divide,
}


class _Tensor:
    """Stands in ``Operation.args`` for the next input."""

    def __repr__(self) -> str:
        return "TENSOR"


TENSOR = _Tensor()


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
        args = [next(tensors) if arg is TENSOR else arg for arg in self.args]
        return Result((OPERATIONS[self.kind](*args, **dict(self.options)),), (None,))
