"""Valid random models of Keras 3, of one to four layers on every path, as Hypothesis draws them.

Every layer of ``random_layers`` and ``random_loops`` is drawn for the tensor that it is called on:
the running shape and mask are those of Keras's own symbolic tensors.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import layers
from keras.src.backend.common import dtypes

from tests.keras_loader.random_attention import attended, attends
from tests.keras_loader.random_choices import Again, Choices, Seeded, spot_of
from tests.keras_loader.random_loops import KINDS, draw_recurrent, draw_rnn
from tests.keras_loader.random_merges import merged, multiplied, to_vector
from tests.keras_loader.random_walk import DEPTH, LARGEST, Walk, default_policy, flat

FORMATS = (".keras", ".h5", ".json")
POLICIES = (
    *["float32"] * 12,
    *("float64", "float64", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16"),
    *("float32+mixed_float16", "float32+mixed_bfloat16"),  # of some layers the second
)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A model, how it is saved and the seed of its numbers."""

    model: keras.Model
    made: tuple[int, ...]  # the choices, which ``build`` takes again
    policy: str
    format: str
    seed: int

    def __repr__(self) -> str:
        return f"Drawn({self.policy}, {self.format}, {self.seed}, {self.made})"


@st.composite
def drawn_models(draw) -> Drawn:
    """Models of Hypothesis's choices, which it makes simpler where a comparison fails."""
    return _drawn(Choices(draw), draw(st.integers(0, 2**31)))


def seeded_model(seed: int) -> Drawn:
    """The model of a seed: no two are alike, where Hypothesis likes to repeat itself."""
    return _drawn(Seeded(seed), seed)


def _drawn(choices: Choices, seed: int) -> Drawn:
    policy, kind = choices.one_of(POLICIES), choices.one_of(FORMATS)
    choices.made.clear()
    model = build(choices, policy)
    return Drawn(model, tuple(choices.made), policy, kind, seed)


def rebuilt(drawn: Drawn, policy: str) -> Drawn:
    """The same model with another dtype policy."""
    return dataclasses.replace(drawn, model=build(Again(drawn.made), policy), policy=policy)


def build(draw: Choices, policy: str) -> keras.Model:
    """Returns the model of these choices."""
    keras.utils.clear_session()
    first, _, other = policy.partition("+")
    with default_policy(first), _zeros_for_weights(), precision(first):
        return draw.one_of(FAMILIES)(Walk(draw, other))


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """64 bits for float64; Keras on JAX makes float32 of float64 wherever it meets a constant."""
    wide = policy == "float64"
    kept = {"float64": "float64"} if wide else {}
    with jax.enable_x64(wide), mock.patch.dict(dtypes.BIT64_TO_BIT32_DTYPE, kept):
        yield


@contextlib.contextmanager
def _zeros_for_weights() -> Iterator[None]:
    """Drawing weights that are replaced would take most of the time."""

    def zeros(self, shape, dtype=None, **options):
        return jnp.asarray(np.zeros(shape, dtype))  # jnp.zeros is compiled for each shape

    kinds = ("VarianceScaling", "RandomUniform", "Orthogonal", "Zeros", "Ones")
    with contextlib.ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(
                mock.patch.object(getattr(keras.initializers, kind), "__call__", zeros)
            )
        yield


def _model(walk: Walk, *outputs: Any) -> keras.Model:
    inputs = walk.inputs
    return keras.Model(
        inputs if len(inputs) > 1 else inputs[0], outputs if len(outputs) > 1 else outputs[0]
    )


def _functional(walk: Walk) -> keras.Model:
    x, beside = walk.chain(walk.source())
    return _model(walk, x, *beside)


def _stack(walk: Walk, x: Any, depth: int | None = None) -> list[layers.Layer]:
    """Layers for a Sequential model: none has several outputs."""
    found: list[layers.Layer] = []
    for _ in range(depth or walk.draw.size(1, DEPTH)):
        spot = walk.spot(x)
        layer = walk.layer(spot, return_state=False)
        if getattr(layer, "merge_mode", "") is None:
            layer.merge_mode = "concat"
        found.append(layer)
        x = layer(x)
        if math.prod(size or 6 for size in x.shape[1:]) > LARGEST:
            break
    return found


def _sequential(walk: Walk) -> keras.Model:
    x = walk.source()
    head = []
    if x is not walk.inputs[0]:
        head = [x._keras_history.operation]
    start = walk.inputs[0]
    return keras.Sequential(
        [
            keras.Input(start.shape[1:], batch_size=walk.batch, dtype=start.dtype),
            *head,
            *_stack(walk, x),
        ]
    )


def _branches(walk: Walk) -> keras.Model:
    """Two or three paths that come together, from inputs of their own or from one."""
    draw = walk.draw
    count, outputs = draw.size(2, 3), []
    shared = walk.source() if draw.coin() else None
    ends = []
    for _ in range(count):
        x, beside = walk.chain(walk.source() if shared is None else shared, draw.size(1, 2))
        ends.append(x)
        outputs += beside
    units = draw.size(1, 4)
    if all(map(attends, ends)) and not draw.one_in(3):
        ends = [layers.Dense(units)(x) for x in ends]
        y = attended(draw, *ends[:2])
    elif all(len(x.shape) == 3 for x in ends) and draw.coin():
        ends = [layers.Dense(units)(x) for x in ends]
        y = multiplied(draw, *ends[:2])
    elif len({x.shape[1:] for x in ends}) == 1 and None not in ends[0].shape[1:]:
        y = merged(draw, ends)
    elif len({x.shape[1:-1] for x in ends}) == 1 and None not in ends[0].shape[1:-1]:
        y = merged(draw, [layers.Dense(units)(x) for x in ends])
    else:
        y = merged(draw, [to_vector(draw, x, units) for x in ends])
    y, beside = walk.chain(y, draw.size(1, 2))
    return _model(walk, y, *beside, *(ends[:1] if draw.coin() else []), *outputs)


def _encoder_decoder(walk: Walk) -> keras.Model:
    """A loop whose states another one starts with."""
    draw = walk.draw
    x, y = walk.source("steps"), walk.source(draw.one_of(("steps", "ids")))
    kind, units, stack = draw.one_of(KINDS), draw.size(1, 4), draw.one_in(4)
    made = []
    for x_or_y, fixed in ((x, {"return_state": True}), (y, {"return_sequences": True})):
        spot = spot_of(x_or_y)
        if stack and made:
            cell = type(made[0].cell).from_config(made[0].cell.get_config())
            made.append(layers.RNN(cell, return_state=draw.coin(), **fixed))
        elif stack:
            made.append(draw_rnn(draw, spot, stateful=False, **fixed))
        else:
            made.append(draw_recurrent(draw, spot, kind, units, stateful=False, **fixed))
    encoder, decoder = made
    if not stack and draw.one_in(3):  # of twice the size where both directions' states go on
        both = layers.Bidirectional(
            draw_recurrent(
                draw, spot_of(x), kind, units, stateful=False, return_state=True, go_backwards=False
            )
        )
        _, *states = both(x)
        half = len(states) // 2
        states = [
            layers.Concatenate()(list(pair))
            for pair in zip(states[:half], states[half:], strict=True)
        ]
        decoder = draw_recurrent(
            draw, spot_of(y), kind, 2 * units, stateful=False, return_sequences=True
        )
        first = []
    else:
        first, *states = encoder(x)
        first = [first]
    decoded = flat(decoder(y, initial_state=states))
    z, beside = walk.chain(decoded[0], draw.size(1, 2))
    return _model(walk, z, *beside, *decoded[1:], *first)


def _shared(walk: Walk) -> keras.Model:
    """One layer, or one model, called on two tensors."""
    draw = walk.draw
    x = walk.source()
    if x is walk.inputs[-1]:
        y = walk.input(*x.shape[1:])
    else:
        start = walk.inputs[-1]
        y = x._keras_history.operation(walk.input(*start.shape[1:], dtype=start.dtype))
    layer = walk.layer(spot_of(x), return_state=False)
    if getattr(layer, "merge_mode", "") is None:
        layer.merge_mode = "sum"
    ends = [layer(x), layer(y)]
    if ends[0].shape == ends[1].shape and None not in ends[0].shape[1:] and draw.coin():
        ends.append(merged(draw, list(ends)))
    z, beside = walk.chain(ends[-1], draw.size(1, 2))
    return _model(walk, z, *beside, *ends[: draw.size(0, 1)])


def _nested(walk: Walk) -> keras.Model:
    """A model as a layer, called once or twice, or at every step."""
    draw = walk.draw
    x = walk.source()
    spot = spot_of(x)
    every_step = spot.axes >= 4 and not spot.mask_axes and draw.coin()
    shape = spot.shape[2:] if every_step else spot.shape[1:]
    start = keras.Input(shape, batch_size=None if every_step else walk.batch)
    inner_walk = Walk(draw, walk.other)
    inner_walk.batch = None if every_step else walk.batch
    inner_walk.mask_axes = 0 if every_step else spot.mask_axes
    if every_step or draw.coin():
        inner = keras.Sequential([start, *_stack(inner_walk, start, draw.size(1, 3))])
    else:
        inner_walk.inputs = [start]
        y, beside = inner_walk.chain(start, draw.size(1, 3))
        inner = _model(inner_walk, y, *beside)
    if every_step:
        inner = layers.TimeDistributed(inner)
    more = [walk.input(*one.shape[1:], dtype=one.dtype) for one in inner_walk.inputs[1:]]
    found = flat(inner([x, *more] if more else x))
    if draw.coin() and not more and found[0].shape == x.shape and None not in x.shape[1:]:
        found = [*flat(inner(found[0])), *found[1:]]
    z, beside = walk.chain(found[0], draw.size(1, 2))
    return _model(walk, z, *beside, *found[1:])


def _named(walk: Walk) -> keras.Model:
    """Inputs and outputs in dicts."""
    x, beside = walk.chain(walk.source())
    inputs = {f"in_{k}": one for k, one in enumerate(walk.inputs)}
    return keras.Model(inputs, {f"out_{k}": one for k, one in enumerate([x, *beside])})


FAMILIES = (
    *(_functional, _functional, _sequential, _sequential, _branches),
    *(_encoder_decoder, _shared, _nested, _named),
)
