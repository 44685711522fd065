"""Arrays to their places: by name, by position, by number; what does not fit is refused unread."""

import numpy as np
import pytest

from jrnn.keras_loader.build import build_params
from tests.keras_entries import (
    KERAS1,
    KERAS2,
    KERAS3,
    TF2,
    arrays_of,
    bidirectional,
    dense_arrays,
    entry,
    gru,
    holds,
    legacy,
    lstm,
    model_of,
    numbers,
    refused_arrays,
    stored,
    stored_shape,
    unread,
)


def test_layers_take_their_arrays_by_name():
    arrays = {"l": arrays_of("LSTM", 3, 5, seed=1), "d": dense_arrays(5, 2, seed=7)}
    model = model_of(
        lstm(), entry("Dropout", name="o", rate=0.1), entry("Dense", name="d", units=2)
    )
    params = build_params(model, legacy(d=arrays["d"], o=[], l=arrays["l"]))
    assert set(params) == {"l", "d"}
    assert holds(params["l"], arrays["l"])
    assert holds(params["d"], arrays["d"])


def test_layers_of_other_names_take_theirs_by_position():
    first, second = arrays_of("LSTM", 3, 5, seed=1), arrays_of("LSTM", 5, 5, seed=4)
    model = model_of(lstm("a"), lstm("b"))
    params = build_params(model, legacy(lstm_7=first, dropout_3=[], lstm_2=second))
    assert holds(params["a"], first)
    assert holds(params["b"], second)
    assert "but the model needs them for 2: 'a', 'b'" in refused_arrays(model, legacy(x=first))
    assert "arrays for 3 layers" in refused_arrays(model, legacy(x=first, y=second, z=second))


WRONG = [
    ("kernel", 0, (3, 20, 1)),
    ("kernel", 0, (20,)),
    ("kernel", 0, (3, 15)),
    ("kernel", 0, ()),
    ("recurrent_kernel", 1, (3, 20)),
    ("recurrent_kernel", 1, (20, 5)),
    ("bias", 2, (60,)),
    ("bias", 2, (2, 20)),
    ("bias", 2, (15,)),
]


@pytest.mark.parametrize(("name", "place", "shape"), WRONG)
def test_wrong_shapes_are_refused_before_anything_is_read(name, place, shape):
    arrays = unread(arrays_of("LSTM", 3, 5))
    arrays[place] = stored_shape(f"{name}:0", *shape)
    message = refused_arrays(model_of(lstm()), legacy(l=arrays))
    for part in ("layer 'l'", f"{name}:0", str(shape), f"{name} of LSTM(units=5)", "needs"):
        assert part in message


def test_nothing_is_read_if_a_later_layer_does_not_fit():
    weights = legacy(l=unread(arrays_of("LSTM", 3, 5)), d=unread(dense_arrays(4, 2)))
    message = refused_arrays(model_of(lstm(), entry("Dense", name="d", units=2)), weights)
    assert "the layers do not fit together: layer 'd'" in message
    assert "(4, 2)" in message
    weights = legacy(l=unread(arrays_of("LSTM", 3, 5)), d=unread(dense_arrays(5, 3)))
    assert "layer 'd'" in refused_arrays(
        model_of(lstm(), entry("Dense", name="d", units=2)), weights
    )
    message = refused_arrays(model_of(lstm()), legacy(l=unread(arrays_of("LSTM", 4, 5))))
    assert "layer 'l'" in message
    assert "do not fit together" in message


def test_huge_sizes_cost_nothing():
    shapes = {
        "kernel": (3, 4 * 10**9),
        "recurrent_kernel": (10**9, 4 * 10**9),
        "bias": (4 * 10**9,),
    }
    huge = [stored_shape(name, *shape) for name, shape in shapes.items()]
    model = model_of(lstm(units=10**9), entry("Dense", name="d", units=2))
    message = refused_arrays(model, legacy(l=huge, d=unread(dense_arrays(5, 2))))
    assert "layer 'd'" in message
    assert "(3, 4, 1000000000)" in message


@pytest.mark.parametrize("keep", [[], [0], [0, 1], [0, 1, 2, 2]])
def test_missing_and_surplus_arrays_are_listed(keep):
    arrays = arrays_of("LSTM", 3, 5)
    message = refused_arrays(model_of(lstm(), gru()), legacy(
        l=[arrays[k] for k in keep] or unread([stored("x", numbers(2))]), g=arrays_of("GRU", 5, 5)
    ))  # fmt: skip
    assert "layer 'l': the file holds" in message
    assert "LSTM needs kernel (any, 20), recurrent_kernel (5, 20), bias (20,)" in message


@pytest.mark.parametrize(
    ("dtype", "fine"), [("float16", True), ("float64", True), ("int8", False), ("uint8", False)]
)
def test_dtypes(dtype, fine):
    values = np.ones((3, 2)).astype(dtype)
    model = model_of(entry("Dense", name="d", units=2, use_bias=False))
    weights = legacy(d=[stored("kernel:0", values)])
    if fine:
        np.testing.assert_array_equal(build_params(model, weights)["d"].kernel, np.ones((3, 2)))
    else:
        assert f"kernel holds {dtype}" in refused_arrays(model, weights)


def test_swapped_names_of_equal_shapes():
    kernel, recurrent, bias = arrays_of("LSTM", 5, 5)
    model = model_of(lstm(), shape=(None, 4, 5))
    assert "kernel of LSTM" in refused_arrays(model, legacy(l=unread([recurrent, kernel, bias])))
    renamed = [stored(f"l/lstm_cell_3/{a.path.replace(':', '_2:')}", a.read())
               for a in (kernel, recurrent, bias)]  # fmt: skip
    assert holds(build_params(model, legacy(l=renamed))["l"], renamed)


@pytest.mark.parametrize("writer", [KERAS2, TF2, KERAS3], ids=str)
def test_the_rank_of_a_gru_bias_must_agree_with_reset_after(writer):
    for reset_after in (False, True):
        one, two = numbers(15), numbers(2, 15)
        arrays = arrays_of("GRU", 3, 5)[:2]
        fitting, other = (two, one) if reset_after else (one, two)
        model = model_of(gru(reset_after=reset_after), writer=writer)
        params = build_params(model, legacy(g=[*arrays, stored("bias:0", fitting)]))
        np.testing.assert_array_equal(params["g"].bias, fitting)
        message = refused_arrays(model, legacy(g=[*arrays, stored("bias:0", other)]))
        assert f"reset_after={reset_after}" in message
        assert str(other.shape) in message


FORWARD, BACKWARD = arrays_of("LSTM", 3, 5, seed=1), arrays_of("LSTM", 3, 5, seed=4)


def named(arrays, prefix) -> list:
    return [stored(prefix.format(a.path), a.read()) for a in arrays]


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        ("forward_i/{}", "backward_i/{}"),
        ("b/forward_i/lstm_cell_1/{}", "b/backward_i/lstm_cell_2/{}"),
        ("x/b_1/forward_i_1/{}", "x/b_1/backward_i_1/{}"),
        ("forward_b/forward_i/{}", "forward_b/backward_i/{}"),
        ("backward_b/forward_i/{}", "backward_b/backward_i/{}"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_directions_by_name(forward, backward, frozen):
    """A frozen forward layer's arrays stand after the backward ones; Keras then confuses them."""
    ahead, behind = named(FORWARD, forward), named(BACKWARD, backward)
    arrays = behind + ahead if frozen else ahead + behind
    params = build_params(model_of(bidirectional()), legacy(b=arrays))["b"]
    assert holds(params.forward, FORWARD)
    assert holds(params.backward, BACKWARD)


def test_directions_by_number_and_by_position():
    """Keras 2.0 counts on inside a layer: kernel:0 is the forward one, kernel_1:0 the backward."""
    later = [stored(a.path.replace(":", "_1:"), a.read()) for a in BACKWARD]
    for arrays in (FORWARD + later, later + FORWARD, FORWARD + BACKWARD):
        params = build_params(model_of(bidirectional()), legacy(b=arrays))["b"]
        assert holds(params.forward, FORWARD)
        assert holds(params.backward, BACKWARD)
    assert "layer 'i'" in refused_arrays(model_of(bidirectional()), legacy(b=FORWARD))


def test_gates_apart_as_keras1_stored_them():
    """Keras 1: (W, U, b) of i, c, f, o for an LSTM and of z, r, h for a GRU."""
    shapes = ("W", 3, 5), ("U", 5, 5), ("b", 5)
    gates = {
        gate: [stored(f"{name}_{gate}", numbers(*shape, seed=ord(gate))) for name, *shape in shapes]
        for gate in "icfozrh"
    }
    lstm_arrays = [array for gate in "icfo" for array in gates[gate]]
    gru_arrays = [array for gate in "zrh" for array in gates[gate]]
    params = build_params(model_of(lstm(), writer=KERAS1), legacy(l=lstm_arrays))["l"]
    for place, value in enumerate(params[:3]):
        packed = np.concatenate([gates[gate][place].read() for gate in "ifco"], axis=-1)
        np.testing.assert_array_equal(value, packed)
    params = build_params(model_of(gru(), writer=KERAS1), legacy(g=gru_arrays))["g"]
    for place, value in enumerate(params):
        packed = np.concatenate([gates[gate][place].read() for gate in "zrh"], axis=-1)
        np.testing.assert_array_equal(value, packed)
    uneven = [*lstm_arrays[:3], stored("W", numbers(3, 4)), *lstm_arrays[4:]]
    assert "should be equal" in refused_arrays(model_of(lstm(), writer=KERAS1), legacy(l=uneven))
    assert "layer 'g'" in refused_arrays(model_of(gru(), writer=KERAS1), legacy(g=lstm_arrays))
