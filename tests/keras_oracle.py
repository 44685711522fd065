"""Real Keras 3 on JAX as an oracle: random configurations, and Keras's outputs of each."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np

from jrnn.activations import ACTIVATIONS
from jrnn.cells.gru import GRUCell, GRUParams, GRUState
from jrnn.cells.lstm import LSTMCell, LSTMParams, LSTMState
from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNParams, SimpleRNNState
from jrnn.layers.named import gru, lstm, simple_rnn

# What Keras 3.15.1 cannot do in a recurrent layer, or does wrongly.
EXCLUDED = {
    "glu": "halves the last axis, so that the state no longer fits: the layer raises",
    "threshold": "has two arguments without default: the layer raises when called",
    "sparsemax": "takes a wrong tau once two outputs are not zero (keras issue 23425)",
}
NOT_IN_KERAS = ("hard_sigmoid_keras2", "affine", "thresholded_relu", "scaled_tanh", "gelu_tanh")
NAMES = tuple(name for name in ACTIVATIONS if name not in (*EXCLUDED, *NOT_IN_KERAS))
MERGES = ("concat", "sum", "mul", "ave", None)
MASKS = (None, "random", "leading", "trailing", "all")


class Kind(NamedTuple):
    """One recurrent layer on both sides."""

    keras_layer: type
    layer: Callable
    cell: type
    params: type
    state: type


KINDS = {
    "SimpleRNN": Kind(
        keras.layers.SimpleRNN, simple_rnn, SimpleRNNCell, SimpleRNNParams, SimpleRNNState
    ),
    "GRU": Kind(keras.layers.GRU, gru, GRUCell, GRUParams, GRUState),
    "LSTM": Kind(keras.layers.LSTM, lstm, LSTMCell, LSTMParams, LSTMState),
}


@dataclasses.dataclass(frozen=True)
class Direction:
    """One layer's own choices; ``options`` are those that Keras and jrnn call the same."""

    kind: str
    units: int
    implementation: int
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One layer, or two in a ``Bidirectional``, and what it is called with."""

    seed: int
    directions: tuple[Direction, ...]
    copied: bool  # the backward layer is Keras's own copy of the forward one
    features: int
    steps: int
    batch: int
    merge: str | None
    mask: str | None
    go_backwards: bool
    return_sequences: bool
    return_state: bool
    unroll: bool
    zero_output_for_mask: bool
    initial_state: bool

    def __str__(self) -> str:
        chosen = [f"{d.kind}({d.units}, {d.options})" for d in self.directions]
        flags = [name for name, value in vars(self).items() if value is True]
        sizes = f"B={self.batch} T={self.steps} F={self.features}"
        merge = f"merge={self.merge} " if len(chosen) == 2 else ""
        return f"{self.seed}: {' | '.join(chosen)} {sizes} {merge}mask={self.mask} {flags}"


def draw(seed: int) -> Configuration:
    """Returns one configuration; six in a row have every kind, alone and bidirectional."""
    rng = np.random.default_rng(seed)

    def coin() -> bool:
        return bool(rng.integers(2))

    kind, both = list(KINDS)[seed % 3], seed // 3 % 2 == 1
    merge = MERGES[rng.integers(5)] if both else None
    features = int(rng.integers(1, 6))
    # A softmax over one unit is constant, and all gradients zero.
    sizes = [units for units in range(2, 7) if units != features]
    forward = _draw_direction(rng, kind, int(rng.choice(sizes)))
    directions, copied = (forward,), both and coin()
    if copied:
        directions = (forward, forward)
    elif both:  # outputs that are added or multiplied need the same units
        units = int(rng.choice(sizes)) if merge in ("concat", None) else forward.units
        directions = (forward, _draw_direction(rng, str(rng.choice(list(KINDS))), units))
    # Keras 3.15.1 gives each direction half of the list of states, whatever the layers need.
    halves = len({len(KINDS[d.kind].state._fields) for d in directions}) == 1
    return Configuration(
        seed,
        directions,
        copied,
        features,
        steps=int(rng.integers(3, 9)),
        batch=int(rng.integers(1, 5)),
        merge=merge,
        mask=MASKS[rng.integers(5)],
        # Keras 3.15.1 refuses it in Bidirectional unless the backward layer is given.
        go_backwards=coin() and not copied,
        return_sequences=coin(),
        return_state=coin(),
        unroll=coin(),
        zero_output_for_mask=coin(),
        initial_state=coin() and halves,
    )


def _draw_direction(rng: np.random.Generator, kind: str, units: int) -> Direction:
    options = {"activation": str(rng.choice(NAMES)), "use_bias": bool(rng.integers(2))}
    if kind != "SimpleRNN":
        options["recurrent_activation"] = str(rng.choice(NAMES))
    if kind == "GRU":
        options["reset_after"] = bool(rng.integers(2))
    return Direction(kind, units, int(rng.integers(1, 3)), options)


def keras_layer(config: Configuration) -> keras.layers.Layer:
    """Returns the Keras layer, built, with its own initial weights."""
    layers = [
        _keras_direction(config, direction, config.go_backwards != backward)
        for direction, backward in zip(config.directions, (False, True), strict=False)
    ]
    layer = layers[0]
    if len(layers) == 2:
        layer = keras.layers.Bidirectional(
            layer,
            merge_mode=config.merge,
            backward_layer=None if config.copied else layers[1],
        )
    layer.build((config.batch, config.steps, config.features))
    return layer


def _keras_direction(config: Configuration, direction: Direction, go_backwards: bool):
    options = dict(direction.options)
    if direction.kind != "SimpleRNN":
        # The oracle is Keras's own loop, also where there is a GPU.
        options.update(implementation=direction.implementation, use_cudnn=False)
    shared = ("return_sequences", "return_state", "unroll", "zero_output_for_mask")
    options.update({name: getattr(config, name) for name in shared})
    # The weights are given with each call; drawing others first takes seconds.
    options.update({f"{name}_initializer": "zeros" for name in ("kernel", "recurrent", "bias")})
    make = KINDS[direction.kind].keras_layer
    return make(direction.units, go_backwards=go_backwards, **options)


def draw_inputs(config: Configuration, layer: keras.layers.Layer, scale: float = 1.0):
    """Returns ``((weights, x, states), mask)``; ``states`` is empty without initial_state."""
    rng = np.random.default_rng([config.seed, 1])

    def normal(size: float, *shape: int) -> jax.Array:
        return jnp.asarray(scale * size * rng.standard_normal(shape), "float32")

    weights = [
        normal(0.5 if v.name == "bias" else v.shape[0] ** -0.5, *v.shape)
        for v in layer.trainable_variables
    ]
    x = normal(1, config.batch, config.steps, config.features)
    states = [
        normal(0.5, config.batch, direction.units)
        for direction in config.directions
        for _ in KINDS[direction.kind].state._fields
    ]
    return (weights, x, states if config.initial_state else []), _draw_mask(config, rng)


def _draw_mask(config: Configuration, rng: np.random.Generator) -> np.ndarray | None:
    """Returns the mask [B, T], True where a step counts."""
    if config.mask is None:
        return None
    random = rng.random((config.batch, config.steps)) < 0.6
    edges = rng.integers(1, config.steps, (config.batch, 1))
    patterns = {
        "random": random,
        "leading": (np.arange(config.steps) >= edges) & (random | (edges > 1)),
        "trailing": np.arange(config.steps) < edges,
        "all": random & (np.arange(config.batch) > 0)[:, None],  # every step of the first row
    }
    return patterns[config.mask]


def keras_function(config: Configuration, layer: keras.layers.Layer, mask) -> Callable:
    """Returns Keras's ``f(weights, x, states) -> [output ..., state ...]``."""
    fixed = [v.value for v in layer.non_trainable_variables]  # seeds, unused

    def function(weights, x, states):
        options = {} if mask is None else {"mask": jnp.asarray(mask)}
        if states:
            options["initial_state"] = states
        outputs, _ = layer.stateless_call(weights, fixed, x, **options)
        return jax.tree.leaves(outputs)

    return function
