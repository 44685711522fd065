"""A language model of characters: given a text so far, which character comes next."""

import dataclasses
import hashlib
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jrnn.examples.devices import SPLIT
from jrnn.examples.task import Batch
from jrnn.flax_wrappers import nnx as jnn

MEASURED = 1000  # excerpts at most that the metric is of


class CharacterModel(nnx.Module):
    """Embedding, layers of LSTM, logits; [B, T] of characters to [B, T, V].

    Parameters start as those of Keras's layers do.
    """

    def __init__(
        self, vocabulary: int, features: int, units: int, dropout: float, *, rngs: nnx.Rngs
    ):
        glorot = nnx.initializers.glorot_uniform()
        starts: Any = {"kernel_init": glorot, "unit_forget_bias": True, "rngs": rngs, **SPLIT}
        self.embedding = nnx.Embed(
            vocabulary,
            features,
            embedding_init=lambda key, shape, dtype: jax.random.uniform(
                key, shape, dtype, -0.05, 0.05
            ),
            rngs=rngs,
        )
        layers = [jnn.LSTM(features, units, **starts), jnn.LSTM(units, units, **starts)]
        self.layers = jnn.StackedRNN(layers, dropout=dropout, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.logits = nnx.Linear(units, vocabulary, kernel_init=glorot, rngs=rngs)

    def __call__(self, characters: jax.Array, carries: Any = None) -> tuple[Any, jax.Array]:
        """Returns the carries after the last character, and logits [B, T, V]."""
        carries, ys = self.layers(
            self.embedding(characters), initial_carry=carries, return_carry=True
        )
        return carries, self.logits(self.dropout(ys))


@dataclasses.dataclass(frozen=True)
class Characters:
    """Next-character prediction in a text, its last tenth held out.

    The text that comes with jrnn is "Alice's Adventures in Wonderland" by Lewis Carroll (1865),
    which is in the public domain.

    Attributes:
        text: A file of UTF-8 text; None for the one that comes with jrnn.
        units: Units of each of the two layers.
        features: Size of a character's embedding.
        batch_size: Excerpts of a batch.
        length: Characters of an excerpt.
        dropout: Probability that a feature is dropped, after each layer.
        learning_rate: Of Adam.
    """

    name: ClassVar[str] = "characters"
    metric: ClassVar[str] = "bits per character"

    text: str | None = None
    units: int = 128
    features: int = 32
    batch_size: int = 32
    length: int = 100
    dropout: float = 0.25
    learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        if len(self._codes) < 20 * (self.length + 1):
            raise ValueError(
                f"jrnn train: the text has {len(self._codes)} characters, but excerpts of "
                f"{self.length} need {20 * (self.length + 1)}; give a longer text"
            )

    @cached_property
    def _text(self) -> str:
        bundled = resources.files("jrnn") / "data" / "alice.txt"
        file = bundled if self.text is None else Path(self.text)
        try:
            return file.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"jrnn train: {self.text!r} is not UTF-8 text: {error}") from error

    @cached_property
    def alphabet(self) -> str:
        """The characters of the text, each once."""
        return "".join(sorted(set(self._text)))

    @cached_property
    def _codes(self) -> np.ndarray:
        return np.searchsorted(list(self.alphabet), list(self._text)).astype(np.int32)

    @property
    def _cut(self) -> int:
        return len(self._codes) * 9 // 10

    def settings(self) -> dict[str, Any]:
        digest = hashlib.sha256(self._text.encode()).hexdigest()
        return {**dataclasses.asdict(self), "text": digest}

    def model(self, rngs: nnx.Rngs) -> nnx.Module:
        sizes = len(self.alphabet), self.features, self.units, self.dropout
        return CharacterModel(*sizes, rngs=rngs)

    def optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.learning_rate))

    def batch(self, seed: int, step: int) -> Batch:
        """Returns excerpts from anywhere, [B, length], and what comes next in each, [B, length]."""
        draw = np.random.default_rng((seed, step))
        return self._excerpts(draw.integers(self._cut - self.length, size=self.batch_size))

    def held_out(self) -> Batch:
        """Returns the held-out text in excerpts; of a long one, as many as fit into memory."""
        starts = np.arange(self._cut, len(self._codes) - self.length, self.length)
        return self._excerpts(starts[:: -(-len(starts) // MEASURED)])

    def _excerpts(self, starts: np.ndarray) -> Batch:
        windows = self._codes[starts[:, None] + np.arange(self.length + 1)]
        return windows[:, :-1], windows[:, 1:]

    def loss(self, model: CharacterModel, batch: Any) -> jax.Array:
        now, following = batch
        _, logits = model(now)
        return optax.softmax_cross_entropy_with_integer_labels(logits, following).mean()

    def measure(self, model: CharacterModel, batch: Any) -> jax.Array:
        return self.loss(model, batch) / jnp.log(2.0)

    def report(self, model: CharacterModel) -> str:
        begin = self._text[self._cut :][:6]  # held out, and of characters that the text has
        return "The model writes:\n" + self.write(model, begin, 300, jax.random.key(0))

    def write(self, model: CharacterModel, begin: str, length: int, key: jax.Array) -> str:
        """Returns ``begin`` and how the model goes on, a character at a time.

        Raises:
            ValueError: If ``begin`` is empty, or has a character that the text has not.
        """
        if not begin or set(begin) - set(self.alphabet):
            raise ValueError(f"jrnn train: {begin!r} is not written in {self.alphabet!r}")

        @nnx.jit
        def go_on(model: CharacterModel, carries: Any, codes: Any, key: jax.Array) -> Any:
            carries, logits = model(codes, carries)
            return carries, jax.random.categorical(key, logits[:, -1:])

        codes = jnp.array([[self.alphabet.index(character) for character in begin]])
        carries, written = None, []
        for draw in jax.random.split(key, length):
            carries, codes = go_on(model, carries, codes, draw)
            written.append(self.alphabet[int(codes[0, 0])])
        return begin + "".join(written)
