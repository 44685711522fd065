"""What every task has."""

from typing import Any, ClassVar, Protocol

import jax
import numpy as np
import optax
from flax import nnx

Batch = tuple[np.ndarray, ...]  # rows first


class Task(Protocol):
    """A model, its data and its loss: a frozen dataclass of choices.

    Attributes:
        name: What ``jrnn train`` calls it.
        metric: What ``measure`` returns, in words.
        batch_size: Rows of a batch.
        units: Units of each layer.
    """

    name: ClassVar[str]
    metric: ClassVar[str]

    @property
    def batch_size(self) -> int: ...

    @property
    def units(self) -> int: ...

    def settings(self) -> dict[str, Any]:
        """Returns what a run must keep to from its start to its end."""
        ...

    def model(self, rngs: nnx.Rngs) -> nnx.Module:
        """Returns the untrained model."""
        ...

    def optimizer(self) -> optax.GradientTransformation:
        """Returns what turns gradients into steps."""
        ...

    def batch(self, seed: int, step: int) -> Batch:
        """Returns the rows of a step (1, 2, ...), the same wherever they are asked for."""
        ...

    def held_out(self) -> Batch:
        """Returns the rows that training never sees."""
        ...

    def loss(self, model: Any, batch: Any) -> jax.Array:
        """Returns what training lowers, a scalar: a mean over rows."""
        ...

    def measure(self, model: Any, batch: Any) -> jax.Array:
        """Returns the metric, a scalar."""
        ...

    def report(self, model: Any) -> str:
        """Returns some lines on what the trained model does."""
        ...


def shuffled_rows(rows: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Returns indices [batch_size] of a step, the first of which is 1.

    Every epoch takes each row once, in a new order.

    Raises:
        ValueError: If there are not as many rows.
    """
    if not 0 < batch_size <= rows:
        raise ValueError(f"jrnn train: batch size {batch_size}, but 1 to {rows} rows can be taken")
    epoch, place = divmod(step - 1, rows // batch_size)
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    return order[place * batch_size : (place + 1) * batch_size]
