"""Sizes and random arrays that the tests of weights share."""

import numpy as np

from jrnn import nd4j

B, T, I, N, P = 3, 5, 2, 4, 6  # noqa: E741
FORGET_BIAS = 0.5


class Dyadic:
    """Draws multiples of 1/64, whose sums float32 holds exactly."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape):
        return (self.rng.integers(-64, 64, shape) / 64).astype(np.float32)

    def lstm_layer(self, *lead):
        return nd4j.LSTMLayerWeights(
            self(*lead, I, 4 * N), self(*lead, N, 4 * N), self(*lead, 4 * N)
        )

    def projection_lstm(self):
        return nd4j.ProjectionLSTMWeights(
            self(I, 4 * N), self(P, 4 * N), self(3 * N), self(N, P), self(4 * N)
        )
