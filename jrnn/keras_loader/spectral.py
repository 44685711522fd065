"""SpectralNormalization: config -> typed layer, its arrays, and where a file has them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jrnn.keras_loader.config import Config
from jrnn.keras_loader.stored_array import StoredArray
from jrnn.model.basic import Dense, Embedding
from jrnn.model.convolution import Convolution, DepthwiseConvolution, TransposedConvolution
from jrnn.model.einsum import EinsumDense
from jrnn.model.layer import Layer
from jrnn.model.spectral import SpectralNormalization, SpectralNormalizationParams

VECTOR = "vector_u"
_WITH_A_KERNEL = (
    *(Convolution, Dense, DepthwiseConvolution, EinsumDense, Embedding, TransposedConvolution),
)


def parse_spectral_normalization(
    config: Config, parse: Callable[[Any], Layer]
) -> SpectralNormalization:
    """Returns the typed layer."""
    inner = parse(config.get("layer"))
    if type(inner) not in _WITH_A_KERNEL:
        raise config.error(
            f"its layer is a {inner.kind}, but one with a kernel or embeddings that jrnn knows "
            "there is needed"
        )
    return SpectralNormalization(
        **config.base(),
        layer=inner,
        power_iterations=config.size("power_iterations"),
        keeps_dtype=config.writer.major >= 3,
    )


def with_vector(
    make: Callable[..., Any] | None, shapes: Mapping[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Returns what makes the parameters, and the arrays' shapes, from those of the layer inside."""
    assert make is not None, "told by _WITH_A_KERNEL"
    kernel = next(iter(shapes.values()))

    def both(*arrays: Any) -> SpectralNormalizationParams:
        return SpectralNormalizationParams(make(*arrays[:-1]), arrays[-1])

    return both, {**shapes, VECTOR: (1, kernel[-1])}


def vector_last(layer: Layer, arrays: Sequence[StoredArray]) -> Sequence[StoredArray]:
    """Returns the arrays with the vector at the end: where all are frozen, it stands before a bias.

    Before Keras 3 it is called "sn_u".
    """
    if not isinstance(layer, SpectralNormalization):
        return arrays
    return sorted(arrays, key=lambda array: bool(re.search(r"(vector|sn)_u(:\d+)?$", array.path)))


def in_two_places(
    outer: Sequence[StoredArray], inner: Sequence[StoredArray]
) -> Sequence[StoredArray]:
    """Returns the arrays of what Keras 3 stores: the kernel in both places, and the vector."""
    return [*inner, *outer[-1:]]


def own_and_inner(
    arrays: Mapping[str, np.ndarray],
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Returns ``in_two_places`` undone."""
    kernel, *rest = (array for name, array in arrays.items() if name != VECTOR)
    return (kernel, arrays[VECTOR]), (kernel, *rest)
