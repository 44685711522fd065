"""Handwritten digits, read row by row: which of ten is it."""

import dataclasses
from collections import Counter
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.typing import ArrayLike

from jrnn.examples.devices import HIDDEN, SPLIT, split
from jrnn.examples.task import Batch, shuffled_rows
from jrnn.flax_wrappers import nnx as jnn


class DigitModel(nnx.Module):
    """A GRU down the rows and one up, their mean, logits; [B, 8, 8] to [B, 10]."""

    def __init__(self, units: int, dropout: float, *, rngs: nnx.Rngs):
        over_devices: Any = {**SPLIT, "bias_metadata": split(None, HIDDEN)}  # [2, G]
        self.layer = jnn.Bidirectional(
            jnn.GRU(8, units, rngs=rngs, **over_devices),
            jnn.GRU(8, units, rngs=rngs, **over_devices),
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.logits = nnx.Linear(2 * units, 10, rngs=rngs)

    def __call__(self, images: ArrayLike) -> jax.Array:
        """Returns logits."""
        return self.logits(self.dropout(self.layer(images).mean(1)))


@dataclasses.dataclass(frozen=True)
class Digits:
    """Classification of scikit-learn's digits, 1797 images of 8 x 8, a quarter held out.

    Attributes:
        units: Units of each direction.
        batch_size: Images of a batch.
        dropout: Probability that a feature is dropped before the last layer.
        learning_rate: Of Adam.
    """

    name: ClassVar[str] = "digits"
    metric: ClassVar[str] = "share read rightly"

    units: int = 64
    batch_size: int = 64
    dropout: float = 0.2
    learning_rate: float = 3e-3

    @cached_property
    def _parts(self) -> tuple[Batch, Batch]:
        """Images in [0, 1] and labels: to train with, held out."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            message = "the digits need scikit-learn: pip install 'jrnn[train]'"
            raise ValueError(message) from error
        digits: Any = load_digits()
        images, labels = (digits.images / 16).astype(np.float32), digits.target
        order = np.random.default_rng(0).permutation(len(labels))
        held, trained = np.split(order, [len(order) // 4])
        return (images[trained], labels[trained]), (images[held], labels[held])

    def settings(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def model(self, rngs: nnx.Rngs) -> nnx.Module:
        return DigitModel(self.units, self.dropout, rngs=rngs)

    def optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def batch(self, seed: int, step: int) -> Batch:
        images, labels = self._parts[0]
        rows = shuffled_rows(len(labels), self.batch_size, seed, step)
        return images[rows], labels[rows]

    def held_out(self) -> Batch:
        return self._parts[1]

    def loss(self, model: DigitModel, batch: Any) -> jax.Array:
        images, labels = batch
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    def measure(self, model: DigitModel, batch: Any) -> jax.Array:
        images, labels = batch
        return (model(images).argmax(-1) == labels).mean()

    def report(self, model: DigitModel) -> str:
        images, labels = self._parts[1]
        read = np.asarray(jnp.argmax(model(images), -1))
        wrong = Counter((want, got) for want, got in zip(labels, read, strict=True) if want != got)
        often = ", ".join(f"{n} x {want} as {got}" for (want, got), n in wrong.most_common(5))
        said = f"{wrong.total()} of {len(labels)} held-out digits are misread"
        return f"{said}; most often: {often}" if wrong else said
