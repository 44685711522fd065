"""``Model.apply``: inputs, states, dtypes and masks, layer by layer, and JAX's transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jrnn
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from tests.keras_entries import (
    KERAS2,
    KERAS3,
    TF2,
    arrays_of,
    call3,
    dense_arrays,
    entry,
    graph,
    legacy,
    lstm,
    model_of,
    numbers,
    sequential,
    source,
    stored,
)

X = numbers(2, 4, 3, seed=9)
PADDED = np.where(np.arange(4)[:, None] < 2, X, 0).astype(np.float32)
MASK = np.broadcast_to(np.arange(4) < 2, (2, 4))
TABLE = numbers(6, 3)


def close(a, b, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


def loaded(*layers: dict, weights=None, writer=TF2, **options):
    model = model_of(*layers, writer=writer, **options)
    return model, build_params(model, legacy(**(weights or {})))


def last_lstm(**options) -> dict:
    return entry("LSTM", name="l", units=5, **options)


LSTM_WEIGHTS = {"l": arrays_of("LSTM", 3, 5)}


def test_inputs_that_do_not_fit():
    model, params = loaded(last_lstm(), weights=LSTM_WEIGHTS)
    for inputs, said in (
        ((), "got 0 inputs, but it has 1"),
        ((X, X), "got 2 inputs, but it has 1"),
        ((X[0],), r"shape \(4, 3\), but 3 axes are needed"),
        (({"y": X},), r"named \['y'\], but it has \['x'\]"),
        ((X[..., :2],), "layer 'l'"),
    ):
        with pytest.raises(ValueError, match=said):
            model.apply(params, *inputs)


def test_integers_become_floats_where_floats_are_wanted():
    model, params = loaded(last_lstm(), weights=LSTM_WEIGHTS)
    whole = np.arange(24).reshape(2, 4, 3) % 5 - 2
    y = model.apply(params, whole)
    assert y.dtype == jnp.float32
    close(y, model.apply(params, whole.astype(np.float32)))
    close(y, model.apply(params, whole.tolist()))


def embedding(**options) -> dict:
    return entry("Embedding", name="e", input_dim=6, output_dim=3, **options)


def test_ids_outside_the_table_give_nan_and_no_neighbours_row():
    weights = {"e": [stored("embeddings:0", TABLE)]}
    model, params = loaded(embedding(), weights=weights, shape=(None, 4))
    ids = np.array([[0, 5, 6, 2]])
    y = model.apply(params, ids)
    close(y[0, [0, 1, 3]], TABLE[[0, 5, 2]])
    assert np.isnan(y[0, 2]).all()


@pytest.mark.parametrize("writer", [KERAS2, KERAS3], ids=str)
def test_mask_zero_masks_and_row_zero_stays_a_row(writer):
    weights = {"e": [stored("embeddings:0", TABLE)], **LSTM_WEIGHTS}
    layers = embedding(mask_zero=True), last_lstm(recurrent_activation="sigmoid")
    model, params = loaded(*layers, weights=weights, shape=(None, 4), writer=writer)
    ids = np.array([[0, 3, 0, 1], [2, 0, 0, 0]])
    _, y = jrnn.lstm(params["l"], TABLE[ids], mask=ids != 0, return_sequences=False)
    close(model.apply(params, ids), y)


def test_masking_zeroes_what_it_masks():
    model, _ = loaded(entry("Masking", name="m", mask_value=-1.0))
    x = np.where(MASK[..., None], X, -1)
    close(model.apply({}, x), np.where(MASK[..., None], X, 0))


PASS = [
    entry("Dropout", name="p", rate=0.5),
    entry("SpatialDropout1D", name="p", rate=0.5),
    entry("GaussianNoise", name="p", stddev=0.5),
    entry("Activation", name="p", activation="linear"),
]
STOP = [
    entry("Reshape", name="p", target_shape=[4, 3]),
    entry("Reshape", name="p", target_shape=[-1, 3]),
    entry("Permute", name="p", dims=[1, 2]),
]


@pytest.mark.parametrize("between", PASS + STOP, ids=lambda layer: layer["class_name"])
def test_which_layers_pass_a_mask_on(between):
    masking = entry("Masking", name="m", mask_value=0.0)
    model, params = loaded(masking, between, last_lstm(), weights=LSTM_WEIGHTS)
    mask = MASK if between in PASS else None
    _, y = jrnn.lstm(params["l"], PADDED, mask=mask, return_sequences=False)
    close(model.apply(params, PADDED), y)


def test_flatten_and_repeat_vector():
    model, _ = loaded(entry("Masking", name="m"), entry("Flatten", name="f"),
                      entry("RepeatVector", name="r", n=3))  # fmt: skip
    close(model.apply({}, PADDED), np.repeat(PADDED.reshape(2, 1, 12), 3, axis=1))
    model, _ = loaded(entry("Flatten", name="f", data_format="channels_first"))
    close(model.apply({}, X), np.moveaxis(X, 1, -1).reshape(2, 12))


def test_time_distributed_over_a_model():
    inner = sequential(last_lstm(), name="s", shape=(None, 4, 3))
    outer = entry("TimeDistributed", name="t", layer=inner)
    model, params = loaded(outer, weights={"t": LSTM_WEIGHTS["l"]}, shape=(None, 2, 4, 3))
    steps = numbers(5, 2, 4, 3)
    for t in range(2):
        _, y = jrnn.lstm(params["t"]["l"], steps[:, t], return_sequences=False)
        close(model.apply(params, steps)[:, t], y)


def test_states_follow_the_output_in_order():
    backward = entry("GRU", name="k", units=4, go_backwards=True, return_state=True)
    both = entry("Bidirectional", call3("x"), name="b", layer=last_lstm(return_state=True),
                 backward_layer=backward)  # fmt: skip
    ends = [["b", 0, k] for k in range(4)]
    model = parse_model(graph([source(), both], ["x"], ends), KERAS3)
    arrays = arrays_of("GRU", 3, 4)[:2]
    weights = [*LSTM_WEIGHTS["l"], *arrays, stored("bias:0", numbers(2, 12))]
    params = build_params(model, legacy(b=weights))
    forward, y = jrnn.lstm(params["b"].forward, X, return_sequences=False)
    backward, z = jrnn.gru(params["b"].backward, X, reverse=True, return_sequences=False)
    expected = jnp.concatenate([y, z], -1), forward.hidden, forward.cell, backward.hidden
    for found, wanted in zip(model.apply(params, X), expected, strict=True):
        close(found, wanted)


def stateful():
    backward = entry("Bidirectional", name="b", layer=lstm("i", stateful=True))
    weights = {"l": arrays_of("LSTM", 3, 5), "b": 2 * arrays_of("LSTM", 5, 5)}
    return loaded(lstm("l", stateful=True), backward, weights=weights, shape=(2, 4, 3))


def test_stateful_layers_go_on_where_they_stopped():
    model, params = stateful()
    state, first = model.apply(params, X[:, :2], return_state=True)
    assert set(state) == {"l", "b"}
    state, second = model.apply(params, X[:, 2:], state=state, return_state=True)
    whole_state, whole = model.apply(params, X, return_state=True)
    jax.tree.map(close, state["l"], whole_state["l"])
    close(first[..., :5], whole[:, :2, :5])
    close(second[..., :5], whole[:, 2:, :5])
    close(model.apply(params, X[:, :2]), first)  # without a state it starts anew
    assert np.abs(model.apply(params, X[:, 2:]) - second).max() > 1e-3


def test_a_state_of_another_batch_is_refused():
    model, params = stateful()
    state, _ = model.apply(params, X, return_state=True)
    with pytest.raises((ValueError, TypeError), match="shape"):
        model.apply(params, numbers(3, 4, 3), state=state)


def test_a_stateless_model_has_no_state():
    model, params = loaded(last_lstm(), weights=LSTM_WEIGHTS)
    state, y = model.apply(params, X, return_state=True)
    assert state == {}
    close(y, model.apply(params, X))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_results_are_in_the_policys_dtype(dtype):
    policy = {"class_name": "DTypePolicy", "config": {"name": f"mixed_{dtype}"}}
    dense = entry("Dense", name="d", units=2, dtype=policy)
    weights = {"l": arrays_of("LSTM", 3, 5), "d": dense_arrays(5, 2)}
    model, params = loaded(last_lstm(dtype=policy), dense, weights=weights)
    full, _ = loaded(last_lstm(), entry("Dense", name="d", units=2), weights=weights)
    assert params["l"].kernel.dtype == jnp.float32
    y = model.apply(params, X)
    assert y.dtype == dtype
    close(y.astype(jnp.float32), full.apply(params, X), 0.03)
    assert np.abs(y.astype(jnp.float32) - full.apply(params, X)).max() > 0


def test_params_and_state_that_do_not_fit():
    model, params = loaded(last_lstm(stateful=True), weights=LSTM_WEIGHTS)
    for arguments, said in (
        ({"params": {}}, "layer 'l': LSTMCell: params is a NoneType"),
        ({"params": params["l"]}, "params is a LSTMParams, but a dict by layer name is needed"),
        ({"params": params, "state": {"lstm": 1}}, r"state holds \['lstm'\]"),
        ({"params": params, "state": True}, "state holds bool"),
    ):
        given = dict(arguments)
        with pytest.raises(ValueError, match=said):
            model.apply(given.pop("params"), X, **given)


def test_a_float32_head_on_a_16_bit_model_computes_in_float32():
    mixed = {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}
    head = entry("Activation", name="a", activation="softplus", dtype="float32")
    weights = {"l": arrays_of("LSTM", 3, 5)}
    model, params = loaded(last_lstm(dtype=mixed), head, weights=weights)
    body, _ = loaded(last_lstm(dtype=mixed), weights=weights)
    y = model.apply(params, X)
    assert y.dtype == jnp.float32
    hidden = np.asarray(body.apply(params, X), np.float32)
    close(y, np.log1p(np.exp(hidden)), 1e-6)


def test_large_ids_survive_a_16_bit_policy():
    table = np.arange(5000, dtype=np.float32)[:, None] % 7
    wide = entry("Embedding", name="e", input_dim=5000, output_dim=1, dtype="mixed_bfloat16")
    model, params = loaded(wide, weights={"e": [stored("embeddings:0", table)]}, shape=(None, 4))
    ids = np.array([[4001, 4002, 4003, 4999]])
    close(model.apply(params, ids)[0, :, 0], ids[0] % 7)


def test_transforms():
    dense = entry("Dense", name="d", units=2, activation="tanh")
    weights = {"l": arrays_of("LSTM", 3, 5), "d": dense_arrays(5, 2)}
    model, params = loaded(last_lstm(), dense, weights=weights)
    y = model.apply(params, X)
    close(jax.jit(model.apply)(params, X), y)
    stacked = np.stack([X, 2 * X, -X])
    close(jax.vmap(model.apply, (None, 0))(params, stacked)[1], model.apply(params, 2 * X))

    def total(params):
        return jnp.sum(model.apply(params, X))

    gradient = jax.grad(total)(params)
    kernel = params["d"].kernel
    step = jnp.zeros_like(kernel).at[1, 0].set(1e-2)

    def moved(sign):
        return total({**params, "d": params["d"]._replace(kernel=kernel + sign * step)})

    slope = (moved(1) - moved(-1)) / 2e-2
    close(gradient["d"].kernel[1, 0], slope, 1e-3)


def test_models_are_equal_by_value_and_fit_for_static_arguments():
    one, params = loaded(last_lstm(), weights=LSTM_WEIGHTS)
    other, _ = loaded(last_lstm(), weights=LSTM_WEIGHTS)
    assert one == other
    assert hash(one) == hash(other)
    assert one != loaded(last_lstm(go_backwards=True), weights=LSTM_WEIGHTS)[0]
    run = jax.jit(lambda model, params, x: model.apply(params, x), static_argnums=0)
    close(run(one, params, X), run(other, params, X))
    assert run._cache_size() == 1
