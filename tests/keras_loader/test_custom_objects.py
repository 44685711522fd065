"""``custom_objects``: code of the caller's in the place of what a file only names.

Models of real Keras 3 with Lambdas and custom classes are the oracle.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("keras", minversion="3.0")

import keras
from keras import layers, ops

import jrnn
from jrnn import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from jrnn.model.basic import Dense
from jrnn.model.layer import Layer, Result
from tests.keras_entries import (
    KERAS2,
    KERAS3,
    call2,
    entry,
    graph,
    legacy,
    numbers,
    refused_arrays,
    sequential,
    source,
    stored,
)
from tests.keras_gradients import assert_same, draw_weights

BATCH, STEPS, FEATURES = 3, 5, 4


def sequences(seed: int = 0, features: int = FEATURES, masked: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((BATCH, STEPS, features)).astype("float32")
    if masked:
        x[rng.random((BATCH, STEPS)) < 0.4] = 0
        x[:, -1] = 0
        x[0, 0] = 0
    return x


def check(model: keras.Model, custom_objects: dict, folder, *inputs) -> None:
    draw_weights(model, 1)
    inputs = list(inputs) or [sequences()]
    assert_same(model, inputs, folder, custom_objects=custom_objects)
    for name in ("m.keras", "m.h5"):
        for key in custom_objects:
            less = {k: v for k, v in custom_objects.items() if k != key}
            with pytest.raises(KerasFileError, match=r"custom_objects=\{") as error:
                jrnn.load_keras(folder / name, custom_objects=less)
            assert "\n" not in str(error.value)
            assert key.rsplit(">")[-1] in str(error.value)


# Activations


def odd(x):
    return ops.tanh(x) + 0.1 * x


@keras.saving.register_keras_serializable("pack")
def even(x):
    return ops.exp(-ops.square(x))


ACTIVATIONS = {"odd": lambda x: jnp.tanh(x) + 0.1 * x, "even": lambda x: jnp.exp(-jnp.square(x))}


def test_activations(tmp_path):
    stack = [layers.LSTM(3, activation=odd, recurrent_activation=even, return_sequences=True)]
    stack += [layers.Bidirectional(layers.GRU(3, activation=even, return_sequences=True))]
    stack += [layers.TimeDistributed(layers.Dense(2, activation=odd)), layers.Activation(even)]
    cells = [layers.SimpleRNNCell(3, activation=odd), layers.LSTMCell(2, activation=even)]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *stack, layers.RNN(cells)])
    check(model, ACTIVATIONS, tmp_path)


def test_names_with_their_package(tmp_path):
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.GRU(3, activation=even)])
    check(model, {"pack>even": ACTIVATIONS["even"]}, tmp_path)


# Lambdas


def weighted(x, factor, offset=0.0):
    return factor * x + offset


def test_lambdas_by_their_name_or_their_functions(tmp_path):
    x, y = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    both = layers.Lambda(lambda xs: xs[0] * ops.tanh(xs[1]), name="both")([x, y])
    scaled = layers.Lambda(weighted, arguments={"factor": 0.5, "offset": 2.0})(both)
    model = keras.Model([x, y], layers.LSTM(3)(scaled))
    custom = {"both": lambda a, b: a * jnp.tanh(b), "weighted": weighted}
    check(model, custom, tmp_path, sequences(1), sequences(2))


def test_a_lambda_ends_the_mask(tmp_path):
    stack = [layers.Masking(), layers.Lambda(lambda x: x + 1.0, name="plus"), layers.LSTM(3)]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *stack])
    check(model, {"plus": lambda x: x + 1.0}, tmp_path, sequences(1, masked=True))


# Layers


class Scaled(layers.Layer):
    """Has a variable of its own and a layer inside."""

    def __init__(self, units, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.factor = units, factor
        self.inside = layers.Dense(units)

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")
        self.inside.build(shape)

    def call(self, x):
        return self.factor * self.inside(x * self.scale)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "factor": self.factor}


def scaled(config: dict) -> Any:
    def run(params, x):
        scale, kernel, bias = params
        assert kernel.shape[1] == config["units"]
        return config["factor"] * ((x * scale) @ kernel + bias)

    return run


class Parts(layers.Layer):
    """Several inputs, several outputs, no variable."""

    def call(self, xs):
        return [xs[0] + xs[1], xs[0] - xs[1]]

    def compute_output_shape(self, shapes):
        return list(shapes)


def parts(config: dict) -> Any:
    assert config["name"]
    return lambda params, x, y: (x + y, x - y)


def test_layers(tmp_path):
    x, y = keras.Input((STEPS, FEATURES)), keras.Input((STEPS, FEATURES))
    first, second = Scaled(FEATURES, 0.7), Scaled(3, 2.0)
    total, difference = Parts()([first(x), first(y)])
    inner = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.Dense(2), Scaled(3)])
    ends = [layers.GRU(2)(second(total)), layers.TimeDistributed(Scaled(3))(difference)]
    model = keras.Model([x, y], [*ends, inner(difference)])
    check(model, {"Scaled": scaled, "Parts": parts}, tmp_path, sequences(1), sequences(2))


class Passing(layers.Layer):
    """Passes its mask, and looks at it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x, mask=None):
        return x + ops.cast(mask, x.dtype)[..., None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassingLayer(Layer):
    def call(self, params, inputs, masks, state=None) -> Result:
        assert params == ()
        return Result((inputs[0] + masks[0][..., None],), (masks[0],))


@pytest.mark.parametrize("passes", [True, False])
def test_masks_end_at_a_function_and_go_through_a_layer(passes, tmp_path):
    custom = Passing() if passes else Scaled(3)
    stack = [layers.Masking(), custom, layers.LSTM(3), layers.RepeatVector(2)]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *stack])
    factories = {
        "Passing": lambda config: PassingLayer(name=config["name"], kind="Passing"),
        "Scaled": scaled,
    }
    wanted = {custom.__class__.__name__: factories[custom.__class__.__name__]}
    check(model, wanted, tmp_path, sequences(1, masked=True))


# Cells


@keras.saving.register_keras_serializable("pack")  # Bidirectional copies it
class LeakyCell(layers.Layer):
    """Puts out something else than its state, and starts from ones."""

    def __init__(self, units, leak=0.5, **kwargs):
        super().__init__(**kwargs)
        self.units, self.leak = units, leak
        self.state_size = [units, 1]
        self.output_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")

    def call(self, x, states):
        hidden, count = states
        new = ops.tanh(x @ self.kernel + hidden @ self.recurrent)
        hidden = self.leak * hidden + (1 - self.leak) * new
        return 2.0 * hidden + 1.0 / count, [hidden, count + 1.0]

    def get_initial_state(self, batch_size=None):
        return [ops.ones((batch_size, self.units)), ops.ones((batch_size, 1))]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "leak": self.leak}


class LeakyState(NamedTuple):
    hidden: jax.Array
    count: jax.Array


@dataclasses.dataclass(frozen=True)
class Leaky(jrnn.Cell):
    leak: float

    def initial_state(self, params, z):
        return LeakyState(jnp.ones_like(z), jnp.ones_like(z[..., :1]))

    def project(self, params, xs):
        return xs @ params[0]

    def step(self, params, state, z):
        new = jnp.tanh(z + state.hidden @ params[1])
        hidden = self.leak * state.hidden + (1 - self.leak) * new
        return LeakyState(hidden, state.count + 1), 2 * hidden + 1 / state.count


CELL = {"LeakyCell": lambda config: Leaky(config["leak"])}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sequences_out", [False, True])
def test_cells(masked, sequences_out, tmp_path):
    x = keras.Input((STEPS, FEATURES))
    h = layers.Masking()(x) if masked else x
    options = {"return_sequences": sequences_out}
    one, *states = layers.RNN(LeakyCell(3, 0.2), return_state=True, **options)(h)
    stack = [layers.GRUCell(3), LeakyCell(2), LeakyCell(4, 0.3)]
    two = layers.RNN(stack, **options, go_backwards=True)(h)
    three = layers.Bidirectional(layers.RNN(LeakyCell(2), **options))(h)
    four = layers.RNN([LeakyCell(2), layers.LSTMCell(3)], zero_output_for_mask=True, **options)(h)
    given = layers.RNN(LeakyCell(3), **options)(h, initial_state=states)
    model = keras.Model(x, [one, *states, two, three, four, given])
    check(model, CELL, tmp_path, sequences(1, masked=masked))


def test_a_cell_step_by_step_in_time_distributed(tmp_path):
    x = keras.Input((2, STEPS, FEATURES))
    model = keras.Model(x, layers.TimeDistributed(layers.RNN(LeakyCell(3)))(x))
    values = np.random.default_rng(3).standard_normal((BATCH, 2, STEPS, FEATURES)).astype("f4")
    check(model, CELL, tmp_path, values)


# Constants, which Keras 3 has no more


@dataclasses.dataclass(frozen=True)
class WithConstant(jrnn.Cell):
    """``tanh(x @ k + c @ m + h @ r)``."""

    def initial_state(self, params, z):
        return jnp.zeros_like(z)

    def project(self, params, xs):
        (kernel, mixing, _), (constant,) = params
        return xs @ kernel + constant @ mixing

    def step(self, params, state, z):
        hidden = jnp.tanh(z + state @ params[0][2])
        return hidden, hidden


def by_hand(arrays, x, constant, hidden, backwards=False):
    kernel, mixing, recurrent = arrays
    steps = range(x.shape[1])
    ys = []
    for t in reversed(steps) if backwards else steps:
        hidden = jnp.tanh(x[:, t] @ kernel + constant @ mixing + hidden @ recurrent)
        ys.append(hidden)
    return jnp.stack(ys[::-1] if backwards else ys, axis=1)


def loop(name: str, *calls, **options) -> dict:
    cell = {"class_name": "WithConstant", "config": {"units": 3, "anything": [1, 2]}}
    return entry("RNN", *calls, name=name, cell=cell, return_sequences=True, **options)


def drawn(prefix: str = "", seed: int = 0) -> list:
    sizes = {"kernel": (FEATURES, 3), "mixing": (2, 3), "recurrent": (3, 3)}
    return [
        stored(f"{prefix}{name}:0", numbers(*shape, seed=seed)) for name, shape in sizes.items()
    ]


@pytest.mark.parametrize("kind", ["one", "stack", "both"])
def test_constants_and_states_of_a_call(kind):
    inputs = [source("x", (None, STEPS, FEATURES)), source("h", (None, 3)), source("c", (None, 2))]
    arrays, refs = drawn(), ["x", "h", "c"]
    if kind == "both":
        inner = loop("inner")
        layer = entry("Bidirectional", call2("x", "h", "h", "c"), name="r", layer=inner)
        layer["config"] |= {"num_constants": 1, "merge_mode": None}
        arrays = [*drawn("r/forward_i/"), *drawn("r/backward_i/", seed=5)]
    else:
        layer = loop("r", call2(*refs), num_constants=1)
    if kind == "stack":
        cells = [layer["config"]["cell"], entry("SimpleRNNCell", name="s", units=3)]
        stack = {"class_name": "StackedRNNCells", "config": {"cells": cells}}
        layer = entry("RNN", call2("x", "h", "h", "c"), name="r", cell=stack)
        layer["config"] |= {"num_constants": 1, "return_sequences": True}
        plain = [stored(f"s/{k}:0", numbers(*n, seed=9)) for k, n in _simple(3).items()]
        arrays = [*arrays, *plain]
    ends = ["r"] if kind != "both" else [["r", 0, 0], ["r", 0, 1]]
    custom = {"WithConstant": lambda config: WithConstant()}
    model = parse_model(graph([*inputs, layer], refs, ends), KERAS2, custom)
    params = build_params(model, legacy(r=arrays))
    x, h, c = sequences(1), numbers(BATCH, 3, seed=2), numbers(BATCH, 2, seed=3)

    def expected(params, x, h, c):
        if kind == "one":
            return by_hand(params["r"], x, c, h)
        if kind == "both":
            return by_hand(params["r"][0], x, c, h), by_hand(params["r"][1], x, c, h, True)
        lower, upper = by_hand(params["r"][0], x, c, h), params["r"][1]
        weights = upper.kernel, jnp.zeros((2, 3)), upper.recurrent_kernel
        return by_hand(weights, lower + jnp.linalg.solve(upper.kernel.T, upper.bias), c, h)

    for wrt in (0, 1, 2, 3):
        ours, theirs = (
            jax.jacobian(lambda *a, f=f: jnp.sum(jnp.square(jnp.asarray(f(*a)))), wrt)
            for f in (model.apply, expected)
        )
        jax.tree.map(close, ours(params, x, h, c), theirs(params, x, h, c))
    jax.tree.map(close, model.apply(params, x, h, c), expected(params, x, h, c))


def close(found, wanted) -> None:
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)


def _simple(units: int) -> dict:
    return {"kernel": (units, units), "recurrent_kernel": (units, units), "bias": (units,)}


def test_constants_are_for_custom_cells():
    cell = entry("GRUCell", name="g", units=3)
    model = sequential(entry("RNN", name="r", cell=cell, num_constants=1))
    with pytest.raises(KerasFileError, match="constants, which only custom cells use"):
        parse_model(model, KERAS2)


# Whose name it is


def test_whose_name_counts():
    """As in Keras: the caller's, unless the file says that Keras's own is meant."""
    custom = {"Dense": lambda config: lambda params, x: x + 1, "relu": jnp.sin}
    dense, act = (
        entry("Dense", name="d", units=3),
        entry("Activation", name="a", activation="relu"),
    )
    model = parse_model(sequential(dense, act), KERAS2, custom)
    x = sequences()
    close(model.apply({}, x[:, :4, :3]), np.sin(x[:, :4, :3] + 1))
    certain = [{**one, "module": "keras.layers", "registered_name": None} for one in (dense, act)]
    assert [layer.kind for layer in parse_model(sequential(*certain), KERAS3, custom).layers] == [
        "Dense",
        "Activation",
    ]
    model = parse_model(sequential(*certain), KERAS3, custom)
    assert isinstance(model.layers[0], Dense)
    assert model.layers[1].activation == "relu"
    foreign = {**dense, "module": "theirs", "registered_name": "pack>Dense"}
    model = parse_model(sequential(foreign), KERAS3, custom)
    close(model.apply({}, x[:, :4, :3]), x[:, :4, :3] + 1)


# What is refused


@pytest.mark.parametrize(
    ("custom", "said"),
    [
        (["odd"], "custom_objects is a list"),
        ({"odd": 3}, r"custom_objects\['odd'\] is a int"),
        ({3: jnp.tanh}, r"custom_objects\[3\]"),
    ],
)
def test_what_is_no_custom_object(custom, said):
    with pytest.raises(ValueError, match=said):
        jrnn.load_keras("nowhere.keras", custom_objects=custom)


def test_what_a_factory_must_return():
    layer, cell = entry("Mine", name="m"), entry("MyCell", name="c")
    for one, name in ((layer, "Mine"), (entry("RNN", name="r", cell=cell), "MyCell")):
        with pytest.raises(ValueError, match=f"what stands for '{name}' made a int of its config"):
            parse_model(sequential(one), KERAS2, {name: lambda config: 3})


def test_a_model_was_read_with_its_own_objects():
    model = parse_model(sequential(entry("Dense", name="d", units=3)), KERAS2)
    with pytest.raises(ValueError, match="give neither"):
        jrnn.load_keras("nowhere.h5", config=model, custom_objects={})


def test_what_is_not_told_apart_is_refused():
    layers_inside = [entry("Mine", name="a"), entry("Other", name="b")]
    inner = sequential(*layers_inside, name="inner")
    custom = {name: lambda config: lambda params, x: x for name in ("Mine", "Other")}
    model = parse_model(sequential(inner), KERAS2, custom)
    said = refused_arrays(model, legacy(inner=drawn()))
    assert "does not say which of its 3 arrays belong to 'Mine', 'Other'" in said


def test_a_lambda_with_a_mask_of_its_own_is_refused():
    lonely = entry("Lambda", name="l", function="f", mask={"class_name": "__lambda__"})
    with pytest.raises(KerasFileError, match="mask is Python code"):
        parse_model(sequential(lonely), KERAS3, {"f": jnp.sin})


def test_an_error_in_the_callers_function_is_shown():
    def broken(params, x):
        raise RuntimeError("so it is")

    model = parse_model(sequential(entry("Mine", name="m")), KERAS2, {"Mine": lambda _: broken})
    with pytest.raises(KerasFileError, match="so it is"):
        build_params(model, legacy())
