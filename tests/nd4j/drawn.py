"""Sizes and random arrays that the tests of weights share."""

import numpy as np

from jrnn import nd4j

B, T, I, N, P = 3, 5, 2, 4, 6  # noqa: E741
FORGET_BIAS = 0.5
RNG = np.random.default_rng(11)


def dyadic(*shape):
    """Random multiples of 1/64, whose sums float32 holds exactly."""
    return (RNG.integers(-64, 64, shape) / 64).astype(np.float32)


def lstm_layer_weights(*lead):
    return nd4j.LSTMLayerWeights(
        dyadic(*lead, I, 4 * N), dyadic(*lead, N, 4 * N), dyadic(*lead, 4 * N)
    )


def projection_weights():
    return nd4j.ProjectionLSTMWeights(
        dyadic(I, 4 * N), dyadic(P, 4 * N), dyadic(3 * N), dyadic(N, P), dyadic(4 * N)
    )
