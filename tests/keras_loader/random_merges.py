"""How the ends of several paths through a random model come together."""

from typing import Any

from keras import layers

from tests.keras_loader.random_choices import Choices, spot_of
from tests.keras_loader.random_loops import draw_recurrent


def to_vector(draw: Choices, x: Any, units: int) -> Any:
    """A path's end as a vector [B, U]."""
    if None in x.shape[1:] and len(x.shape) == 4:
        x = layers.GlobalMaxPooling2D()(x)
    elif None in x.shape[1:]:
        x = draw_recurrent(
            draw, spot_of(x), return_sequences=False, return_state=False, stateful=False
        )(x)
    elif len(x.shape) > 2:
        x = layers.Flatten()(x)
    return layers.Dense(units)(x)


MERGES = (layers.Add, layers.Average, layers.Maximum, layers.Minimum, layers.Multiply)


def merged(draw: Choices, xs: list[Any]) -> Any:
    """Several tensors of one shape as one, by a layer or by operations."""
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


def multiplied(draw: Choices, x: Any, y: Any) -> Any:
    """The products of two sequences' steps."""
    return layers.Dot(axes=draw.one_of((2, -1, (2, 2))), normalize=draw.coin())([x, y])
