"""ConvLSTM against real Keras 3 on JAX: outputs, states and every gradient, random options."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from jrnn import ConvLSTMCell, ConvLSTMParams, ConvLSTMState, rnn

COUNT, QUICK = 60, 5
SEEDS = [pytest.param(i, marks=[] if i < QUICK else [pytest.mark.slow]) for i in range(COUNT)]
LAYERS = {1: keras.layers.ConvLSTM1D, 2: keras.layers.ConvLSTM2D, 3: keras.layers.ConvLSTM3D}
TOLERANCE = 1e-5
B, T = 2, 3


class Draw:
    """The random options of one seed, as jrnn names them and as Keras does."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.rank = seed % 3 + 1
        # Keras refuses strides together with dilation.
        sizes = self.sizes(1, 4), self.sizes(1, 4)
        spread = {"strides": sizes[0]} if self.coin() else {"dilation": sizes[1]}
        self.cell = ConvLSTMCell(
            rank=self.rank,
            kernel_size=self.sizes(1, 5),
            padding=self.one_of("valid", "same"),
            data_format=self.one_of("channels_last", "channels_first"),
            activation=self.one_of("tanh", "softsign", "elu", "softmax"),
            recurrent_activation=self.one_of("sigmoid", "hard_sigmoid", "softsign"),
            use_bias=self.coin(),
            **spread,
        )
        self.channels, self.units = int(self.rng.integers(1, 4)), int(self.rng.integers(2, 4))
        self.backwards, self.sequences, self.given = self.coin(), self.coin(), self.coin()
        windows = zip(self.cell.kernel_size, self.cell.dilation, strict=True)
        self.image = [(k - 1) * d + 1 + int(self.rng.integers(5)) for k, d in windows]

    def coin(self):
        return bool(self.rng.integers(2))

    def one_of(self, *values):
        return values[self.rng.integers(len(values))]

    def sizes(self, low, high):
        return tuple(int(size) for size in self.rng.integers(low, high, self.rank))

    def normal(self, *shape):
        return jnp.asarray(0.5 * self.rng.normal(size=shape), "float32")

    def inputs(self):
        first = self.cell.data_format == "channels_first"
        shape = [self.channels, *self.image] if first else [*self.image, self.channels]
        return self.normal(B, T, *shape)

    def layer(self):
        cell = self.cell
        names = ("kernel_size", "strides", "padding", "data_format", "activation")
        return LAYERS[self.rank](
            self.units,
            **{name: getattr(cell, name) for name in names},
            dilation_rate=cell.dilation,
            recurrent_activation=cell.recurrent_activation,
            use_bias=cell.use_bias,
            go_backwards=self.backwards,
            return_sequences=self.sequences,
            return_state=True,
        )

    def ours(self, weights, xs, states):
        state, ys = rnn(
            self.cell,
            ConvLSTMParams(*weights),
            xs,
            initial_state=ConvLSTMState(*states) if self.given else None,
            reverse=self.backwards,
            return_sequences=self.sequences,
        )
        if self.sequences and self.backwards:
            ys = jnp.flip(ys, 1)
        return [ys, *state]


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_states_and_gradients_are_those_of_keras(seed):
    draw = Draw(seed)
    layer, xs = draw.layer(), draw.inputs()
    layer.build(xs.shape)
    weights = [draw.normal(*v.shape) for v in layer.trainable_variables]
    fixed = [v.value for v in layer.non_trainable_variables]

    def theirs(weights, xs, states):
        given = {"initial_state": list(states)} if draw.given else {}
        return jax.tree.leaves(layer.stateless_call(weights, fixed, xs, **given)[0])

    shape = layer.compute_output_shape(xs.shape)[1]
    states = [draw.normal(*shape), draw.normal(*shape)]
    cotangents = None
    results = []
    for function in (draw.ours, theirs):
        outputs, pull_back = jax.vjp(function, weights, xs, states)
        if cotangents is None:
            cotangents = [draw.normal(*y.shape) for y in outputs]
        results.append(jax.tree.leaves((outputs, pull_back(cotangents))))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * max(1, abs(b).max()))


def test_the_seeds_reach_every_choice():
    draws = [Draw(seed) for seed in range(COUNT)]
    for name in ("padding", "data_format", "use_bias", "activation", "recurrent_activation"):
        for rank in LAYERS:
            assert len({getattr(d.cell, name) for d in draws if d.rank == rank}) >= 2
    assert any(max(d.cell.strides) > 1 and d.cell.padding == "same" for d in draws)
    assert any(max(d.cell.dilation) > 1 and d.cell.padding == "same" for d in draws)
    assert any(size % 2 == 0 for d in draws for size in d.cell.kernel_size)
    for name in ("backwards", "sequences", "given"):
        assert {getattr(d, name) for d in draws[:QUICK]} == {True, False}
