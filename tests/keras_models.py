"""Random models of real Keras 3 with random weights, as many as there are seeds."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import layers

STEPS, FEATURES, TOKENS = 5, 3, 7
ACTIVATIONS = (
    *("tanh", "sigmoid", "hard_sigmoid", "softsign", "relu", "elu", "gelu", "leaky_relu"),
    *("silu", "softplus", "linear", "selu", "softmax", "hard_tanh", "mish"),
)
MERGES = ("concat", "sum", "mul", "ave")
KINDS = (layers.SimpleRNN, layers.GRU, layers.LSTM)
CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)


def dense(units: int, **options) -> layers.Layer:
    """A dense layer; drawing weights that are replaced would take seconds."""
    return layers.Dense(units, kernel_initializer="zeros", **options)


class Draw:
    """Random choices for one model; nothing is drawn twice the same."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def coin(self) -> bool:
        return bool(self.rng.integers(2))

    def one_of(self, values) -> Any:
        return values[self.rng.integers(len(values))]

    def units(self) -> int:
        return int(self.rng.integers(2, 6))

    def recurrent(self, sequences: bool, *, kind=None, units=None, **options) -> layers.Layer:
        """A recurrent layer with every option drawn."""
        kind = kind or self.one_of(KINDS)
        options = {
            "activation": self.one_of(ACTIVATIONS),
            "use_bias": self.coin(),
            "unroll": self.coin(),
            "dropout": 0.3 * self.coin(),
            "recurrent_dropout": 0.2 * self.coin(),
            "zero_output_for_mask": self.coin(),
            "go_backwards": self.coin(),
            **{f"{name}_initializer": "zeros" for name in ("kernel", "recurrent")},
            **options,
        }
        if kind is not layers.SimpleRNN:
            options["recurrent_activation"] = self.one_of(ACTIVATIONS[:4])
        if kind is layers.GRU:
            options["reset_after"] = self.coin()
        return kind(units or self.units(), return_sequences=sequences, **options)

    def cell(self) -> layers.Layer:
        """A cell with every option drawn."""
        kind = self.one_of(CELLS)
        options = {"activation": self.one_of(ACTIVATIONS), "use_bias": self.coin()}
        if kind is not layers.SimpleRNNCell:
            options["recurrent_activation"] = self.one_of(ACTIVATIONS[:4])
        if kind is layers.GRUCell:
            options["reset_after"] = self.coin()
        return kind(self.units(), dropout=0.3 * self.coin(), **options)

    def rnn(self, sequences: bool, **options) -> layers.Layer:
        """A loop over one cell or over a stack of them."""
        cells = [self.cell() for _ in range(self.one_of((1, 2, 3)))]
        options = {
            "go_backwards": self.coin(),
            "unroll": self.coin(),
            "zero_output_for_mask": self.coin(),
            **options,
        }
        inner = cells if len(cells) > 1 else cells[0]
        return layers.RNN(inner, return_sequences=sequences, **options)

    def bidirectional(self, sequences: bool) -> layers.Layer:
        """Two directions, the backward one a copy or a layer of its own."""
        forward = self.recurrent(sequences, go_backwards=False)
        own = None
        if self.coin():  # of the same size: Keras 3.15.1 works out later shapes from forward's
            own = self.recurrent(sequences, units=forward.units, go_backwards=True)
        merge = self.one_of(MERGES)
        return layers.Bidirectional(forward, merge_mode=merge, backward_layer=own)

    def loop(self, sequences: bool) -> layers.Layer:
        return self.bidirectional(sequences) if self.coin() else self.recurrent(sequences)

    def between(self) -> layers.Layer:
        """A layer from sequence to sequence without a loop; masks pass through."""
        return self.one_of(
            (
                lambda: dense(self.units(), activation=self.one_of(ACTIVATIONS)),
                lambda: layers.TimeDistributed(dense(self.units(), use_bias=self.coin())),
                lambda: layers.Activation(self.one_of(ACTIVATIONS)),
                lambda: layers.Dropout(0.4),
                lambda: layers.SpatialDropout1D(0.4),
                lambda: layers.GaussianNoise(0.4),
            )
        )()

    def tail(self) -> list[layers.Layer]:
        """Layers from a sequence to the end."""
        middle = self.units()
        return self.one_of(
            (
                lambda: [self.loop(False), dense(2, activation="softmax")],
                lambda: [self.loop(False), layers.RepeatVector(3), self.loop(True)],
                lambda: [layers.Flatten(), dense(3)],
                lambda: [dense(4), layers.Reshape((2 * STEPS, -1)), self.loop(False)],
                lambda: [layers.Permute((2, 1)), self.loop(True)],
                lambda: [layers.TimeDistributed(dense(middle)), self.loop(True)],
            )
        )()

    def source(self) -> tuple[Any, list[layers.Layer]]:
        """An input, of floats or of ids, and the layers that make a sequence of it."""
        if self.coin():
            ids = keras.Input((STEPS,), dtype="int32")
            return ids, [layers.Embedding(TOKENS, self.units(), mask_zero=self.coin())]
        x = keras.Input((STEPS, FEATURES))
        return x, [layers.Masking(self.one_of((0.0, -1.0)))] if self.coin() else []


def chain(x: Any, stack: list[layers.Layer]) -> Any:
    for layer in stack:
        x = layer(x)
    return x


def _stack(draw: Draw) -> keras.Model:
    x, head = draw.source()
    shape, dtype = x.shape[1:], x.dtype
    stack = [*head, draw.loop(True), draw.between(), *draw.tail()]
    return keras.Sequential([keras.Input(shape, dtype=dtype), *stack])


def _two_inputs(draw: Draw) -> keras.Model:
    shared, ends, inputs = draw.recurrent(True, units=4), [], []
    for _ in range(2):
        x, head = draw.source()
        inputs.append(x)
        ends.append(shared(chain(x, [*head, dense(3)])))
    both = ends[0] + 0.5 * ends[1]
    return keras.Model(inputs, [chain(both, draw.tail()), ends[0][:, -1]])


def _encoder_decoder(draw: Draw) -> keras.Model:
    kind, units = draw.one_of(KINDS), draw.units()
    (x, head), (y, head_y) = draw.source(), draw.source()
    encoder = draw.recurrent(draw.coin(), kind=kind, units=units, return_state=True)
    decoder = draw.recurrent(True, kind=kind, units=units, return_state=draw.coin())
    _, *states = encoder(chain(x, head))
    decoded = decoder(chain(y, head_y), initial_state=states)
    first, *others = decoded if isinstance(decoded, (list, tuple)) else [decoded]
    return keras.Model([x, y], [dense(2)(first), *others])


def _nested(draw: Draw) -> keras.Model:
    x, head = draw.source()
    inside = draw.units()
    z = keras.Input((STEPS, inside))
    stack = [draw.loop(True), draw.between()]
    inner = keras.Model(z, chain(z, stack)) if draw.coin() else keras.Sequential([z, *stack])
    outer = [*head, dense(inside), inner]
    return keras.Model(x, chain(x, [*outer, draw.loop(True), *draw.tail()]))


def named_outputs(draw: Draw) -> keras.Model:
    x, head = draw.source()
    h = chain(x, [*head, draw.bidirectional(True)])
    outputs = {"last": draw.loop(False)(h), "all": draw.between()(h)}
    return keras.Model({"in": x}, outputs)


def _cells(draw: Draw) -> keras.Model:
    x, head = draw.source()
    first = draw.rnn(True)
    if draw.coin():
        first = layers.Bidirectional(draw.rnn(True, go_backwards=False))
    h = chain(x, [*head, first, draw.between()])
    return keras.Model(x, [draw.rnn(False)(h), *draw.rnn(True, return_state=True)(h)])


FAMILIES = (_stack, _two_inputs, _encoder_decoder, _nested, named_outputs, _cells)


def draw_model(seed: int) -> keras.Model:
    """Returns the model of one seed, its weights drawn; six in a row are of every family."""
    keras.utils.clear_session()
    draw = Draw(seed)
    model = FAMILIES[seed % len(FAMILIES)](draw)
    for weight in model.weights:
        weight.assign(0.5 * draw.rng.standard_normal(weight.shape))
    return model


def draw_inputs(model: keras.Model, seed: int, batch: int = 3) -> list[np.ndarray]:
    """Returns inputs in the model's order, with padding at the front, at the end and inside."""
    rng = np.random.default_rng([seed, 1])
    found = []
    for spec in model.inputs:
        shape = (batch, *spec.shape[1:])
        gone = rng.random((batch, STEPS)) < 0.35
        if "int" in spec.dtype:
            found.append(np.where(gone, 0, rng.integers(1, TOKENS, shape)))
        else:
            values = rng.standard_normal(shape).astype(np.float32)
            found.append(np.where(gone[..., None], rng.choice([0.0, -1.0]), values).astype("f4"))
    return found
