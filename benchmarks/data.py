"""THE SAME NUMBERS FOR ALL. Weights in Keras's layout and time-major inputs, and comparing them."""

import dataclasses
import math
import zlib
from collections.abc import Iterator

import numpy as np

from benchmarks.cases import CELLS, Case

Weights = dict[str, np.ndarray]  # kernel, recurrent_kernel, bias: as in keras.layers
Layers = list[list[Weights]]  # for each layer, lowest first: forward, then backward if there is one
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Data:
    """All that a case needs. ``cotangent`` is what the outputs are multiplied by in gradients."""

    variant: str
    layers: Layers
    xs: np.ndarray  # [T, B, F], or images [T, B, H, W, F]
    lengths: np.ndarray | None  # [B], from 1 to T
    cotangent: np.ndarray  # [T, B, (H, W,) directions * U], zero in the padding


def draw(case: Case, variant: str) -> Data:
    """Returns the case's data, float32; equal in every process."""
    T, B, F, U = case.shape.T, case.shape.B, case.shape.F, case.shape.U
    image = case.shape.image
    seed = f"{case.cell}/{case.layout}/{case.shape}"  # both modes have the same numbers
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    xs = rng.standard_normal((T, B, *image, F), np.float32)
    cotangent = rng.standard_normal((T, B, *image, case.directions * U), np.float32)
    lengths = None
    if case.layout == "lengths":
        lengths = rng.integers(1, T + 1, B, dtype=np.int32)
        cotangent *= counts(lengths, cotangent)
    shapes_of = CELLS[case.cell].variants[variant]
    layers = [
        [
            {
                name: _parameter(rng, name, shape)
                for name, shape in shapes_of(features, case.shape).items()
            }
            for _ in range(case.directions)
        ]
        for features in case.layer_features
    ]
    return Data(variant, layers, xs, lengths, cotangent)


def counts(lengths: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Returns [T, B, 1, ...], true where a step of outputs [T, B, ...] lies within its row."""
    within = np.arange(len(outputs))[:, None] < lengths
    return within.reshape(*within.shape, *[1] * (outputs.ndim - 2))


def _parameter(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    # Uniform within 1/sqrt(rows of the matrix) keeps 1024 steps of a ReLU network bounded; no bias
    # is zero, so that a peer which drops or misplaces one is found out.
    bound = 0.3 if name == "bias" else math.prod(shape[:-1]) ** -0.5
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def flat(layers: Layers) -> Iterator[tuple[str, np.ndarray]]:
    """Yields ``("gradient/layer/direction/name", array)`` for gradients shaped like the weights."""
    for i, layer in enumerate(layers):
        for j, weights in enumerate(layer):
            for name, array in weights.items():
                yield f"gradient/{i}/{j}/{name}", np.asarray(array)


def worst_error(found: Arrays, expected: Arrays, lengths: np.ndarray | None) -> tuple[float, str]:
    """Returns the largest absolute error relative to its array's largest value, and that array.

    What a peer puts out in the padding counts as zero. What is not finite, or has another shape,
    is infinitely wrong, and so is an array that the peer does not give.
    """
    worst = (0.0, "")
    for name, reference in expected.items():
        worst = max(worst, (_error(found.get(name), reference, name, lengths), name))
    return worst


def _error(
    array: np.ndarray | None, reference: np.ndarray, name: str, lengths: np.ndarray | None
) -> float:
    if array is None or array.shape != reference.shape:
        return float("inf")
    difference = np.abs(array - reference)
    if name == "outputs" and lengths is not None:
        within = counts(lengths, reference)
        difference = np.where(within, difference, 0)
        reference = np.where(within, reference, 0)
    error = float(difference.max() / np.abs(reference).max())
    return error if np.isfinite(error) else float("inf")
