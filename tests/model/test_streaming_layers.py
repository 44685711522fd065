"""Layers of Keras in a stream, one by one."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import jrnn
from tests.keras_loader.random_numbers import draw_weights
from tests.model.test_streaming import check_law, joined, same

STEPS, FEATURES = 3, 3


def sequences(rows: int = 2, seed: int = 0) -> np.ndarray:
    """Sequences with steps that a Masking layer masks, the first of a row among them."""
    xs = np.random.default_rng(seed).standard_normal((rows, STEPS, FEATURES)).astype(np.float32)
    xs[0, 0] = xs[-1, 2] = 0
    return xs


@pytest.fixture
def loaded(tmp_path):
    def load(*stack, shape=(STEPS, FEATURES), dtype=None, **options):
        made = stack[0]
        if not isinstance(made, keras.Model):
            made = keras.Sequential([keras.Input(shape, dtype=dtype), *stack])
        draw_weights(made, np.random.default_rng(1), 0.5)
        made.save(tmp_path / "model.keras")
        return jrnn.load_keras(tmp_path / "model.keras", **options)

    return load


STACKS = {
    "causal convolutions": lambda: [
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="tanh"),
        layers.Conv1D(3, 1, padding="same"),
        layers.GRU(3),
    ],
    "mean of what counts": lambda: [
        layers.Masking(),
        layers.SimpleRNN(3, return_sequences=True, zero_output_for_mask=True),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    ],
    "largest": lambda: [layers.Conv1D(4, 1), layers.GlobalMaxPooling1D(keepdims=True)],
    "decoder": lambda: [
        layers.Masking(),
        layers.LSTM(4),
        layers.RepeatVector(3),
        layers.Bidirectional(layers.GRU(2, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(2)),
    ],
    "steps reshaped": lambda: [
        layers.LayerNormalization(),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.Reshape((-1, 3, 1)),
        layers.TimeDistributed(layers.Flatten()),
        layers.Permute((1, 2)),
        layers.PReLU(shared_axes=[1]),
        layers.SimpleRNN(3, return_sequences=True),
        layers.Softmax(),
        layers.Rescaling(2.0, 1.0),
    ],
}


@pytest.mark.parametrize("name", STACKS)
def test_stack(name, loaded):
    model, params = loaded(*STACKS[name]())
    check_law(model, params, [sequences()])


def test_graph(loaded):
    """Two inputs, a model called twice, states, the last step picked."""
    x, z = keras.Input((None, FEATURES)), keras.Input((None, FEATURES))
    inner = keras.Sequential([keras.Input((None, FEATURES)), layers.GRU(3, return_sequences=True)])
    both = layers.Concatenate()([inner(x), inner(z), layers.Add()([x, z])])
    ys, hidden, cell = layers.LSTM(4, return_sequences=True, return_state=True)(both)
    made = keras.Model(
        [x, z], [ys, cell, layers.Dense(2)(ys[:, -1]), layers.Add()([hidden, hidden])]
    )
    model, params = loaded(made)
    check_law(model, params, [sequences(seed=seed) for seed in (1, 2)])


@dataclasses.dataclass(frozen=True)
class Twice(jrnn.Cell):
    """A cell whose output is not in its state."""

    inner: jrnn.SimpleRNNCell = jrnn.SimpleRNNCell()

    def init(self, key, features, units):
        return tuple(self.inner.init(key, features, units))

    def initial_state(self, params, z):
        return self.inner.initial_state(jrnn.SimpleRNNParams(*params), z)

    def project(self, params, xs):
        return self.inner.project(jrnn.SimpleRNNParams(*params), xs)

    def step(self, params, state, z):
        state, y = self.inner.step(jrnn.SimpleRNNParams(*params), state, z)
        return state, 2 * y + 1


@keras.saving.register_keras_serializable("pack")
class TwiceCell(layers.SimpleRNNCell):
    def call(self, sequence, states, training=False):
        y, states = super().call(sequence, states, training)
        return keras.ops.add(y, keras.ops.add(y, 1)), states


@pytest.mark.parametrize(
    ("backend", "highest"),  # backends differ in what masked steps repeat
    [
        ("tensorflow", True),
        pytest.param("tensorflow", False, marks=pytest.mark.slow),
        pytest.param("jax", True, marks=pytest.mark.slow),
        pytest.param("jax", False, marks=pytest.mark.slow),
    ],
)
def test_a_cell_of_the_callers_behind_a_mask(loaded, backend, highest):
    cells = [layers.GRUCell(3), TwiceCell(4)] if highest else TwiceCell(4)
    stack = [layers.Masking(), layers.RNN(cells, return_sequences=True)]
    custom = {"TwiceCell": lambda config: Twice()}
    model, params = loaded(*stack, custom_objects=custom, backend=backend)
    check_law(model, params, [sequences()])


@functools.partial(jax.jit, static_argnums=0)
def whole(model, params, xs, mask):
    return model.train(params, [xs], [mask], None, None).outputs[0]


@given(
    mask=st.lists(st.booleans(), min_size=2 * STEPS, max_size=2 * STEPS), cut=st.integers(0, STEPS)
)
@pytest.mark.parametrize("last", [pytest.param(False, marks=pytest.mark.slow), True])
def test_masks_are_those_of_the_whole(last, mask, cut, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"masked_{last}.keras"
    if not path.exists():
        stack = [keras.Input((STEPS, FEATURES)), layers.LSTM(4, return_sequences=True)]
        made = keras.Sequential([*stack, layers.GRU(3, return_sequences=not last)])
        draw_weights(made, np.random.default_rng(1), 0.5)
        made.save(path)
    model, params = jrnn.load_keras(path)
    xs, mask = sequences(), np.reshape(mask, (2, STEPS))
    one = jrnn.stream(model)
    state, first = one.chunk(params, None, xs[:, :cut], mask=mask[:, :cut])
    _, second = one.chunk(params, state, xs[:, cut:], mask=mask[:, cut:])
    [ys] = joined([first, second])
    same(ys[:, -1] if last else ys, whole(model, params, xs, mask))


def test_any_batch_axes_and_no_step(loaded):
    model, params = loaded(layers.Conv1D(4, 2, padding="causal"), layers.GRU(3))
    one, xs = jrnn.stream(model), sequences(6)
    _, wanted = one.chunk(params, None, xs)
    _, deep = one.chunk(params, None, xs.reshape(2, 3, STEPS, FEATURES))
    same(deep, wanted.reshape(2, 3, STEPS, 3))
    state, first = one.chunk(params, None, xs[0])  # no batch axis
    same(first, wanted[0])
    after, none = one.chunk(params, state, xs[0, :0])
    assert none.shape == (0, 3)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    start = one.initial_state(params, jax.ShapeDtypeStruct((6, FEATURES), jnp.float32))
    _, ys = jax.lax.scan(lambda s, x: one.step(params, s, x), start, np.moveaxis(xs, 1, 0))
    same(np.moveaxis(ys, 0, 1), wanted)
    _, ys = jax.vmap(lambda x: one.chunk(params, None, x))(xs)
    same(ys, wanted)


def functional(call):
    x = keras.Input((STEPS, FEATURES))
    return keras.Model(x, call(x))


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        (lambda: [layers.Flatten(), layers.Dense(2)], "'flatten.*whole sequence"),
        (lambda: [layers.Softmax(axis=1)], "along the axis of the steps"),
        (lambda: [layers.GroupNormalization(3)], "whole sequence"),
        (lambda: [layers.Reshape((1, 9))], r"makes \(1, 9\) of 3 steps"),
        (lambda: [layers.Permute((2, 1))], "moves the axis"),
        (lambda: [layers.Conv1D(2, 2, strides=2, padding="causal")], "one step for each"),
        (lambda: [layers.ZeroPadding1D(1)], "whole sequence"),
        (lambda: [layers.PReLU()], "parameters for each step"),
        (lambda: [layers.LSTM(2, go_backwards=True)], "goes backwards"),
        (lambda: [functional(lambda x: layers.Attention()([x, x]))], "'attention.*whole"),
        (
            lambda: [
                functional(
                    lambda x: layers.Add()(
                        [
                            x,
                            layers.Dense(FEATURES)(
                                layers.Reshape((1, FEATURES))(layers.GRU(FEATURES)(x))
                            ),
                        ]
                    )
                )
            ],
            "the last one alone",
        ),
        (lambda: [functional(lambda x: x[:, 1])], "picks steps"),
        (lambda: [functional(lambda x: layers.Concatenate(1)([x, x]))], "axis of the steps"),
    ],
)
def test_refuses(stack, why, loaded):
    with pytest.raises(ValueError, match=rf"^jrnn\.stream: layer .*{why}"):
        jrnn.stream(loaded(*stack())[0])


def test_refuses_features_without_steps_and_other_reshapes(loaded):
    model, _ = loaded(layers.Dense(2), shape=(FEATURES,))
    with pytest.raises(ValueError, match="last axis, which is that of the steps"):
        jrnn.stream(model)
    model, params = loaded(layers.Reshape((-1, 9)))  # three steps make one
    with pytest.raises(ValueError, match="mixes steps"):
        jrnn.stream(model).chunk(params, None, sequences())
    with pytest.raises(ValueError, match="step takes one sample"):
        jrnn.stream(model).chunk(params, None, sequences()[0, 0])
    with pytest.raises(ValueError, match="draws nothing in a stream"):
        jrnn.stream(model).draw(jax.random.key(0), params, sequences()[:, 0])


def one_number():
    x = keras.Input((FEATURES,))
    return layers.TimeDistributed(keras.Model(x, x[:, 0]))


def some_numbers():
    return layers.TimeDistributed(keras.Sequential([keras.Input((3,)), layers.Dense(STEPS)]))


@pytest.mark.parametrize(
    "stack",
    [
        lambda: [one_number(), layers.Softmax()],
        lambda: [one_number(), layers.Activation("softmax")],
        lambda: [one_number(), layers.Dense(2)],
        lambda: [one_number(), layers.LayerNormalization()],
        lambda: [layers.EinsumDense("abc,c->ab", STEPS, activation="softmax")],
        lambda: [functional(lambda x: layers.Add()([one_number()(x), some_numbers()(x)]))],
    ],
)
def test_refuses_one_number_at_every_step_once_it_is_known(stack, loaded):
    """Its axis of steps is then the last one, or that of another tensor's features."""
    with pytest.raises(ValueError, match=r"jrnn\.stream: .*(axis of|that of|not all have)"):
        check_law(*loaded(*stack()), [sequences()])


def test_one_number_at_every_step(loaded):
    stack = [one_number(), layers.Activation("tanh"), layers.Reshape((-1, 1)), layers.GRU(3)]
    check_law(*loaded(*stack), [sequences()])
    stack = [some_numbers(), layers.Softmax(), layers.LayerNormalization(), layers.Dense(2)]
    check_law(*loaded(*stack), [sequences()])


def test_a_state_has_the_dtype_of_the_models(loaded):
    model, params = loaded(layers.Conv1D(4, 3, padding="causal"), layers.GlobalAveragePooling1D())
    one, xs = jrnn.stream(model), sequences()
    state, _ = one.chunk(params, None, xs[:, :2])
    wanted = one.step(params, state, xs[:, 2])
    with jax.enable_x64(True):
        stored = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state)
        found = one.step(params, stored, xs[:, 2])
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert ours.dtype == theirs.dtype
    same(found, wanted)


def test_a_dense_layer_at_every_step_beside_its_input(loaded):
    x = keras.Input((STEPS, FEATURES))
    around = layers.Add()([layers.TimeDistributed(layers.Dense(FEATURES))(x), x])
    check_law(*loaded(keras.Model(x, layers.GRU(3)(around))), [sequences()])


def test_masked_sequences_side_by_side(loaded):
    """Keras writes their masks' axes as operations of the graph."""
    x = keras.Input((STEPS, FEATURES))
    masked = layers.Masking()(x)
    side_by_side = layers.Concatenate()([layers.GRU(2, return_sequences=True)(masked), masked])
    check_law(*loaded(keras.Model(x, layers.LSTM(3)(side_by_side))), [sequences()])
