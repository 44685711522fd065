"""How the ends of several paths through a random model come together."""

from typing import Any

from keras import layers

from tests.keras_loader.random_loops import draw_recurrent
from tests.keras_loader.random_walk import Walk, spot_of


def to_vector(walk: Walk, x: Any, units: int) -> Any:
    """A path's end as a vector [B, U]."""
    if None in x.shape[1:]:
        x = draw_recurrent(
            walk.draw, spot_of(x), return_sequences=False, return_state=False, stateful=False
        )(x)
    elif len(x.shape) > 2:
        x = layers.Flatten()(x)
    return layers.Dense(units)(x)


MERGES = (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)


def merged(walk: Walk, xs: list[Any]) -> Any:
    """Several tensors of one shape as one, by a layer or by operations."""
    draw = walk.draw
    kind = draw.size(0, 4)
    if kind == 0:
        return layers.Concatenate(axis=draw.one_of((-1, 1)))(xs)
    if kind == 1 and len(xs) == 2:
        return layers.Subtract()(xs)
    if kind == 2:
        return draw.one_of((lambda a, b: a + 0.5 * b, lambda a, b: a * b - 1.0))(*xs[:2])
    # These broadcast masks over one axis more alone.
    if any(spot.mask_axes not in (0, spot.axes - 1) for spot in map(spot_of, xs)):
        return layers.Add()(xs)
    return draw.one_of(MERGES)()(xs)


def attended(walk: Walk, x: Any, y: Any) -> Any:
    """Two sequences of the same features as one: by attention, or by their products."""
    draw = walk.draw
    kind = draw.size(0, 3)
    if kind == 0:
        return layers.Dot(axes=draw.one_of((2, -1, (2, 2))), normalize=draw.coin())([x, y])
    if kind == 1:
        layer = layers.AdditiveAttention(use_scale=draw.coin(), dropout=0.2 * draw.coin())
    else:
        mode = draw.one_of(("dot", "concat"))
        layer = layers.Attention(use_scale=draw.coin(), score_mode=mode)
    return layer([x, y] if draw.coin() else [x, y, layers.Dense(x.shape[-1])(y)])
