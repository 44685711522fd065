"""What every layer of a model is: a name, choices, and a pure call."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jrnn.constraints import Constraint
from jrnn.regularizers import Regularizer

Mask = jax.Array | None


class Training(NamedTuple):
    """That a call is one of training, and what its dropout and noise are drawn from.

    Attributes:
        key: A PRNG key, or None where nothing may be drawn.
    """

    key: jax.Array | None

    def part(self, index: int) -> "Training":
        """Returns what the call number ``index`` of several draws from."""
        return self if self.key is None else Training(jax.random.fold_in(self.key, index))

    def needed_key(self) -> jax.Array:
        """Returns the key; raises ``ValueError`` if there is none."""
        if self.key is None:
            raise ValueError(
                "it is random in training; give key=jax.random.key(...), or rngs to a Flax module"
            )
        return self.key


class Result(NamedTuple):
    """What a layer's call gives back."""

    outputs: tuple[jax.Array, ...]
    masks: tuple[Mask, ...]  # one per output
    state: Any = None  # of a stateful layer, for its next call
    unmasked: tuple[jax.Array, ...] = ()  # tensors that have no mask for any later call


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of a model: choices only; its parameters are handed to ``call``.

    Attributes:
        name: The layer's name, also its key in the model's parameters.
        kind: The Keras class it stands for.
        dtype: What inputs and parameters are cast to before the call. None stands for Keras's
            float32: 16-bit numbers are widened to it, and float64 stays where x64 is enabled.
        trainable: Whether the file says that training may change the parameters.
        regularizers: Pairs of an array's name in the layer's parameters and the penalty on it.
        constraints: Pairs of an array's name and its projection after a step of training.
        activity_regularizer: The penalty on each of its outputs, for a whole batch.
        cast_ends_mask: Whether an input that is cast loses its mask (Keras 3.0 to 3.13).
    """

    name: str
    kind: str
    dtype: str | None = None
    trainable: bool = True
    regularizers: tuple[tuple[str, Regularizer], ...] = ()
    constraints: tuple[tuple[str, Constraint], ...] = ()
    activity_regularizer: Regularizer | None = None
    cast_ends_mask: bool = False

    def call(
        self, params: Any, inputs: Sequence[Any], masks: Sequence[Mask], state: Any = None
    ) -> Result:
        """Returns outputs, their masks and the next state, for inputs and their masks."""
        return self.train(params, inputs, masks, state, None)

    def train(
        self,
        params: Any,
        inputs: Sequence[Any],
        masks: Sequence[Mask],
        state: Any,
        training: Training | None,
    ) -> Result:
        """Returns the same, in training unless that is None; for most layers it is no other.

        A layer has either ``call`` or, if it is another one in training, this.
        """
        if training is None:
            raise NotImplementedError(f"{type(self).__name__} has neither call nor train")
        return self.call(params, inputs, masks, state)

    def passed_masks(self, masks: Sequence[Mask], count: int) -> tuple[Mask, ...]:
        """Returns what becomes of the inputs' masks at ``count`` outputs, whatever is computed."""
        return (masks[0], *[None] * (count - 1))

    def run(
        self,
        params: Any,
        inputs: Sequence[Any],
        masks: Sequence[Mask],
        state: Any = None,
        training: Training | None = None,
    ) -> Result:
        """Returns ``call`` or ``train`` on parameters and inputs in the layer's dtype."""
        params, inputs = self.cast(params), self.cast_inputs(inputs)
        if training is None:
            result = self.call(params, inputs, masks, state)
        else:
            result = self.train(params, inputs, masks, state, training)
        self.show_outputs(result)
        return result

    def show_outputs(self, result: Result) -> None:
        """Hands a call's outputs to ``watch_outputs`` where there is a penalty on them."""
        found = _found.get()
        if found is not None and self.activity_regularizer is not None:
            found.extend((self, output) for output in result.outputs)

    def cast_inputs(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Returns the inputs in the layer's dtype."""
        return self.cast(list(inputs))

    def cast(self, tree: Any) -> Any:
        """Returns a pytree with its floating-point leaves in the layer's dtype."""

        def fit(a):
            if not jnp.issubdtype(a.dtype, jnp.floating):
                return a
            if self.dtype is None:
                return a.astype(jnp.float32) if a.dtype.itemsize == 2 else a
            dtype = jax.dtypes.canonicalize_dtype(self.dtype)
            return a if a.dtype == dtype else a.astype(dtype)  # itself: see Result.unmasked

        return jax.tree.map(fit, tree)


_found: ContextVar[list[tuple[Layer, jax.Array]] | None] = ContextVar("found", default=None)


@contextlib.contextmanager
def watch_outputs() -> Iterator[list[tuple[Layer, jax.Array]]]:
    """Collects (layer, output) of every call inside whose layer has an activity regularizer."""
    found: list[tuple[Layer, jax.Array]] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


def steps_of(mask: Mask) -> Mask:
    """Returns a mask of more axes as one of steps [B, T]: a step counts if anything in it does."""
    return mask if mask is None or mask.ndim <= 2 else mask.any(axis=tuple(range(2, mask.ndim)))
