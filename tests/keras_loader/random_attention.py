"""How two sequences, or one with itself, become one in a random model: by attention."""

from typing import Any

import keras
from keras import layers

from tests.keras_loader.random_choices import Choices, spot_of


def attended(draw: Choices, x: Any, y: Any) -> Any:
    """A query's sequence with what it finds in another of the same features."""
    if draw.coin():
        return _many_heads(draw, x, y)
    if draw.one_in(3):
        layer = layers.AdditiveAttention(use_scale=draw.coin(), dropout=0.2 * draw.coin())
    else:
        mode = draw.one_of(("dot", "concat"))
        layer = layers.Attention(use_scale=draw.coin(), score_mode=mode, dropout=0.2 * draw.coin())
    tensors = [x, y] if draw.coin() else [x, y, layers.Dense(x.shape[-1])(y)]
    return layer(tensors, use_causal_mask=draw.coin())


def _many_heads(draw: Choices, x: Any, y: Any) -> Any:
    dropout = 0.2 * draw.coin()
    layer = layers.MultiHeadAttention(
        draw.size(1, 3),
        draw.size(1, 4),
        # Without dropout Keras calls a function of JAX that takes one size alone.
        value_dim=draw.size(1, 3) if dropout and draw.coin() else None,
        # That function computes in float32, which is not exact enough for what is compared in 64.
        dropout=0.2 if keras.config.dtype_policy().name == "float64" else dropout,
        use_bias=draw.coin(),
        output_shape=draw.size(1, 5) if draw.coin() else None,
    )
    key = layers.Dense(draw.size(1, 4))(y) if draw.coin() else None
    return layer(x, value=y, key=key, use_causal_mask=draw.coin())


def attends(x: Any) -> bool:
    """Whether attention can be called on a tensor: steps of features, with a mask of steps."""
    spot = spot_of(x)
    return spot.axes == 3 and spot.mask_axes in (0, 2)
