"""A walk through one random model: layer upon layer, along Keras's own symbolic tensors."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

from tests.keras_loader.random_attention import attended, attends
from tests.keras_loader.random_choices import LARGEST, Choices, Spot, spot_of
from tests.keras_loader.random_layers import draw_plain
from tests.keras_loader.random_loops import draw_loop, draw_time_distributed, fits_loop

BATCH, TOKENS, DEPTH = 3, 6, 4


class Walk:
    """One model being drawn: its choices, and its inputs so far.

    Some layers have the dtype policy ``other``, if there is one.
    """

    def __init__(self, draw: Choices, other: str = "") -> None:
        self.draw = draw
        self.other = other
        self.inputs: list[Any] = []
        self.batch = BATCH if draw.one_in(6) else None  # fixed where layers are stateful
        self.steps = draw.size(3, 6)
        self.mask_axes = 0  # of the mask that a model inside another may be called with

    def input(self, *shape: int | None, dtype: str | None = None) -> Any:
        x = keras.Input(shape, batch_size=self.batch, dtype=dtype)
        self.inputs.append(x)
        return x

    def spot(self, x: Any) -> Spot:
        found = spot_of(x)
        return found._replace(mask_axes=max(found.mask_axes, self.mask_axes))

    def source(self, kind: str | None = None) -> Any:
        """A tensor that starts a path."""
        draw, steps = self.draw, self.steps
        kinds = ("steps", "steps", "steps", "steps", "ids", "ids", "pages", "vector", "image")
        kind = kind or draw.one_of((*kinds, "image", "rows", "frames", "frames", "volumes"))
        small = [draw.size(2, 5) for _ in range(4)]
        if kind in ("ids", "pages"):
            shape = (steps,) if kind == "ids" else (steps, small[0])
            embedding = layers.Embedding(TOKENS, draw.size(1, 4), mask_zero=draw.coin())
            return embedding(self.input(*shape, dtype="int32"))
        if kind == "steps":
            x = self.input(None if draw.one_in(6) else steps, small[0])
        elif kind == "volumes":
            x = self.input(3, 2, 3, 2, small[0] - 1)
        else:
            axes = {"vector": 1, "image": 3, "rows": 2, "frames": 3}[kind]
            leading = (steps,) if kind in ("rows", "frames") else ()
            x = self.input(*leading, *small[:axes])
        if len(x.shape) in (3, 4, 5) and draw.one_in(3):
            x = layers.Masking(draw.one_of((0.0, -1.0)))(x)
        return x

    def policy(self) -> contextlib.AbstractContextManager[None]:
        """The dtype policy of the next layer."""
        changes = self.draw.one_in(3) and self.other
        return default_policy(self.other) if changes else contextlib.nullcontext()

    def layer(self, spot: Spot, **fixed) -> layers.Layer:
        """Any layer that fits."""
        draw = self.draw
        if fits_loop(spot) and draw.coin():
            return draw_loop(draw, spot, **fixed)
        if 3 <= spot.axes <= 6 and spot.mask_axes < spot.axes and draw.one_in(5):
            return draw_time_distributed(draw, spot)
        if spot.axes == 6:
            return draw_loop(draw, spot, **fixed)
        return draw_plain(draw, spot)

    def chain(self, x: Any, depth: int | None = None) -> tuple[Any, list[Any]]:
        """One to four layers on top of one another; returns what they leave beside, too."""
        beside: list[Any] = []
        for _ in range(depth or self.draw.size(1, DEPTH)):
            if attends(x) and not self.mask_axes and self.draw.one_in(8):
                x = attended(self.draw, x, x)
                continue
            spot = self.spot(x)
            with self.policy():
                layer = self.layer(spot)
            found = flat(layer(x, **self.keywords(layer, spot)))
            first = 0
            if len(found) > 1 and getattr(layer, "merge_mode", "") is None:
                first = self.draw.size(0, 1)
            x = found.pop(first)
            beside += found
            if math.prod(size or 6 for size in x.shape[1:]) > LARGEST:
                break
        return x, beside

    def keywords(self, layer: layers.Layer, spot: Spot) -> dict[str, Any]:
        """Initial states or a mask for a loop, as inputs of their own."""
        draw = self.draw
        if not isinstance(layer, (layers.RNN, layers.Bidirectional)) or spot.axes > 3:
            return {}
        kind = draw.size(0, 9)
        if kind == 0 and not spot.mask_axes and spot.shape[1] is not None:
            return {"mask": self.input(spot.shape[1], dtype="bool")}
        if kind == 1:
            return {"initial_state": self.states(layer)}
        return {}

    def states(self, layer: layers.Layer) -> Any:
        """Inputs of the sizes of a layer's states."""
        if isinstance(layer, layers.Bidirectional):
            directions = (layer.forward_layer, layer.backward_layer)
            return [one for direction in directions for one in self.states(direction)]
        return [
            [self.input(size) for size in sizes]
            if isinstance(sizes, (list, tuple))
            else self.input(sizes)
            for sizes in layer.state_size
        ]


def flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


@contextlib.contextmanager
def default_policy(name: str) -> Iterator[None]:
    """Layers that are made here have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
