"""``jax.experimental.rnn.lstm``: cuDNN's LSTM from JAX; batch-major, its only layout."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn

from benchmarks.cases import Case
from benchmarks.data import Data, Layers
from benchmarks.peers.base import UnsupportedError
from benchmarks.peers.jax_peer import Built, JaxPeer, map_layers


class JaxCudnn(JaxPeer):
    """All weights lie in one flat array: every layer's matrices, then every layer's biases."""

    time_major = False

    def build(self, case: Case, data: Data) -> Built:
        if case.cell != "lstm":
            raise UnsupportedError("jax.experimental.rnn has an LSTM only")
        if not finds_gpu():
            raise UnsupportedError("JAX finds no GPU")
        T, B, F, U = case.shape.T, case.shape.B, case.shape.F, case.shape.U
        layers = len(data.layers)

        def apply(weights, xs, lengths):
            start = jnp.zeros((layers * case.directions, B, U))
            if lengths is None:
                lengths = jnp.full((B,), T, jnp.int32)
            ys, hidden, cell = rnn.lstm(
                xs,
                start,
                start,
                weights,
                lengths,
                input_size=F,
                hidden_size=U,
                num_layers=layers,
                dropout=0.0,
                bidirectional=case.directions == 2,
            )
            return ys, (hidden, cell)

        return Built(
            to_flat(data.layers),
            apply,
            lambda grads: to_layers(np.asarray(grads), data.layers),
            lambda state: list(state[0]),
        )


def finds_gpu() -> bool:
    return jax.default_backend() == "gpu"


def to_flat(layers: Layers) -> np.ndarray:
    """Returns the flat array; gates stand in Keras's order, matrices transposed, biases double."""
    own = [weights for layer in layers for weights in layer]
    matrices = [weights[name].T for weights in own for name in ("kernel", "recurrent_kernel")]
    biases = [bias for w in own for bias in (w["bias"], np.zeros_like(w["bias"]))]
    return np.concatenate([array.ravel() for array in (*matrices, *biases)])


def to_layers(array: np.ndarray, like: Layers) -> Layers:
    """Returns a flat gradient in Keras's layout; of the two biases' equal gradients, the first."""
    place = 0

    def take(shape: tuple[int, ...]) -> np.ndarray:
        nonlocal place
        size = int(np.prod(shape))
        place += size
        return array[place - size : place].reshape(shape)

    matrices = map_layers(
        lambda w: {name: take(w[name].shape[::-1]).T for name in ("kernel", "recurrent_kernel")},
        like,
    )
    biases = map_layers(lambda w: take((2, *w["bias"].shape))[0], like)
    return [
        [{**own, "bias": bias} for own, bias in zip(*pair, strict=True)]
        for pair in zip(matrices, biases, strict=True)
    ]
