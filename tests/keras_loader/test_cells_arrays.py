"""``RNN`` over cells: each cell's own arrays, in every layout."""

import numpy as np

from jrnn.keras_loader.build import build_params
from jrnn.model.recurrent import Bidirectional
from jrnn.model.stacked import StackedRecurrent
from tests.cell_entries import MIXED, cell, flat, holds_all, mixed_arrays, rnn
from tests.keras_entries import (
    KERAS3,
    TF2,
    arrays_of,
    entry,
    holds,
    legacy,
    model_of,
    numbers,
    objects,
    refused_arrays,
    sequential,
    unread,
)


def test_arrays_cell_by_cell_in_the_legacy_layout():
    arrays = mixed_arrays()
    model = model_of(rnn(*MIXED))
    assert holds_all(build_params(model, legacy(r=flat(arrays)))["r"], arrays)
    short = unread(flat(arrays)[:-1])
    assert "SimpleRNNCell needs kernel" in refused_arrays(model, legacy(r=short))
    long = unread([*flat(arrays), arrays[0][0]])
    assert "layer 'r': arrays are left over" in refused_arrays(model, legacy(r=long))
    turned = unread(flat(reversed(arrays)))
    assert "layer 'lstm'" in refused_arrays(model, legacy(r=turned))


def test_one_cells_arrays():
    arrays = arrays_of("LSTM", 3, 5)
    assert holds(build_params(model_of(rnn(cell("LSTM"))), legacy(r=arrays))["r"], arrays)
    model = model_of(rnn(cell("LSTM")), writer=KERAS3)
    assert holds(build_params(model, objects(rnn__cell=arrays))["r"], arrays)
    cudnn = unread(arrays_of("LSTM", 3, 5)[:2]) + unread(arrays_of("LSTM", 3, 10)[2:])
    assert "(40,)" in refused_arrays(model_of(rnn(cell("LSTM"))), legacy(r=cudnn))


SAME = tuple(cell("GRU", 3, f"g{k}", reset_after=False) for k in range(3))


def frozen(*which: int) -> tuple[dict, ...]:
    return tuple(
        {**one, "config": {**one["config"], "trainable": k not in which}}
        for k, one in enumerate(SAME)
    )


def same_arrays(prefix="", seed=0) -> list[list]:
    return [arrays_of("GRU", 3, 3, prefix=prefix, seed=seed + 3 * k) for k in range(3)]


def test_frozen_cells_stand_after_the_others():
    low, middle, high = arrays = same_arrays()
    model = model_of(rnn(*frozen(0, 1)))
    params = build_params(model, legacy(r=high + low + middle))["r"]
    assert holds_all(params, arrays)
    inner = sequential(rnn(*frozen(1)), rnn(cell("GRU", 3, reset_after=False), name="q"), name="n")
    last = arrays_of("GRU", 3, 3, seed=20)
    params = build_params(model_of(inner), legacy(n=low + high + last + middle))["n"]
    assert holds_all(params["r"], arrays)
    assert holds(params["q"], last)


def test_two_directions_of_a_stack():
    config = entry("Bidirectional", name="b", layer=rnn(*frozen(0)), merge_mode="sum")
    model = model_of(config)
    found = model.layers[0]
    assert isinstance(found, Bidirectional)
    assert isinstance(found.backward, StackedRecurrent)
    assert found.backward.go_backwards
    f_low, f_middle, f_high = forward = same_arrays("b/forward_r/", seed=1)
    b_low, b_middle, b_high = backward = same_arrays("b/backward_r/", seed=20)
    named = f_middle + f_high + b_middle + b_high + f_low + b_low
    params = build_params(model, legacy(b=named))["b"]
    assert holds_all(params.forward, forward)
    assert holds_all(params.backward, backward)

    forward, backward = same_arrays(seed=1), same_arrays(seed=20)
    plain = entry("Bidirectional", name="b", layer=rnn(*SAME))
    params = build_params(model_of(plain), legacy(b=flat(forward + backward)))["b"]
    assert holds_all(params.forward, forward)
    assert holds_all(params.backward, backward)

    params = build_params(
        model_of(sequential(plain, name="n")), legacy(n=flat(forward + backward))
    )["n"]["b"]
    assert holds_all(params.backward, backward)
    # Frozen cells stand behind all that is trained, be the paths those of this wrapper or not.
    for prefix in ("b/{}_r/", "{}_x/", ""):
        f_low, f_middle, f_high = forward = same_arrays(prefix.format("forward"), seed=1)
        b_low, b_middle, b_high = backward = same_arrays(prefix.format("backward"), seed=20)
        listed = f_middle + f_high + b_middle + b_high + f_low + b_low
        params = build_params(model_of(sequential(config, name="n")), legacy(n=listed))["n"]["b"]
        assert holds_all(params.forward, forward)
        assert holds_all(params.backward, backward)


def test_arrays_by_path_in_the_layout_of_keras3():
    cells = (cell("GRU", 3, "same"), cell("LSTM", 4, "same"), cell("GRU", 2, "same"))
    gru = arrays_of("GRU", 3, 3, seed=1), arrays_of("GRU", 4, 2, seed=7)
    arrays = [gru[0], arrays_of("LSTM", 3, 4, seed=4), gru[1]]
    options = {"use_bias": False}
    for part in cells:
        part["config"].update(options)
    arrays = [own[:2] for own in arrays]
    model = model_of(rnn(*cells), writer=KERAS3)
    paths = {
        "rnn__cell__cells__gru_cell": arrays[0],
        "rnn__cell__cells__gru_cell_1": arrays[2],
        "rnn__cell__cells__lstm_cell": arrays[1],
    }
    assert holds_all(build_params(model, objects(**paths))["r"], arrays)
    two = {f"bidirectional__{way}_layer__{key[5:]}": own for way in ("forward", "backward")
           for key, own in paths.items()}  # fmt: skip
    config = entry("Bidirectional", name="b", layer=rnn(*cells))
    params = build_params(model_of(config, writer=KERAS3), objects(**two))["b"]
    assert holds_all(params.forward, arrays)
    assert holds_all(params.backward, arrays)
    del paths["rnn__cell__cells__gru_cell"]
    assert "1 layers of class GRUCell" in refused_arrays(model, objects(**paths))
    assert "0 layers of class GRUCell" in refused_arrays(model, objects(rnn__cell=arrays[0]))
    paths["rnn__cell__cells__gru_cell_2"] = unread(arrays[0])
    paths["rnn__cell__cells__simple_rnn_cell"] = unread(arrays[0])
    paths = {key: unread(own) for key, own in paths.items()}
    assert refused_arrays(model, objects(**paths))


def test_a_stack_in_a_sequence_of_steps():
    """TimeDistributed over a stack: paths of its own, masks as for any layer."""
    config = entry("TimeDistributed", name="t", layer=rnn(*MIXED, return_sequences=False))
    model = model_of(config, writer=TF2, shape=(None, 2, 4, 3))
    arrays = mixed_arrays()
    params = build_params(model, legacy(t=flat(arrays)))
    assert holds_all(params["t"], arrays)
    paths = {
        f"time_distributed__layer__cell__cells__{key}": own
        for key, own in zip(("lstm_cell", "gru_cell", "simple_rnn_cell"), arrays, strict=True)
    }
    assert holds_all(build_params(model, objects(**paths))["t"], arrays)
    x = numbers(3, 2, 4, 3)
    alone = model.layers[0].layer
    y = model.apply(params, x)
    for k in range(2):
        expected = alone.call(params["t"], [x[:, k]], [None]).outputs[0]
        np.testing.assert_allclose(y[:, k], expected, rtol=1e-5, atol=1e-6)
