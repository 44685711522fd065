"""Regularizers and constraints in the forms of every writer, and what each Keras made of them."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

import jrnn
from jrnn import constraints, regularizers
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from jrnn.keras_loader.serialized import Unknown
from jrnn.keras_loader.writer import writer_of
from jrnn.regularizers import OverBatch
from tests.keras_entries import (
    KERAS1,
    KERAS2,
    KERAS3,
    KERAS23,
    TF1,
    TF2,
    WRITERS,
    arrays_of,
    dense_arrays,
    entry,
    legacy,
    lstm,
    model_of,
    numbers,
)

KERAS11 = writer_of("1.1.2", "tensorflow")
KERAS36 = writer_of("3.6.0", "jax")
L1_L2 = regularizers.l1_l2(0.25, 0.5)
FORMS = [
    {"name": "WeightRegularizer", "l1": 0.25, "l2": 0.5},
    {"name": "L1L2Regularizer", "l1": 0.25, "l2": 0.5},
    {"class_name": "L1L2", "config": {"l1": 0.25, "l2": 0.5}},
    {
        "module": "keras.regularizers",
        "class_name": "L1L2",
        "config": {"l1": 0.25, "l2": 0.5},
        "registered_name": None,
    },
]
NORM = constraints.max_norm(3.0, axis=(0, 1))
NORMS = [
    {"name": "MaxNorm", "m": 3.0, "axis": [0, 1]},
    {"class_name": "MaxNorm", "config": {"max_value": 3.0, "axis": [0, 1]}},
    {
        "module": "keras.constraints",
        "class_name": "MaxNorm",
        "config": {"max_value": 3.0, "axis": {"class_name": "__tuple__", "items": [0, 1]}},
        "registered_name": None,
    },
]


def dense(**options):
    return entry("Dense", name="d", units=2, activation="linear", **options)


def only(layer, writer=KERAS2):
    [found] = model_of(layer, writer=writer).layers
    return found


@pytest.mark.parametrize("value", FORMS, ids=range(len(FORMS)))
def test_regularizers_in_every_form(value):
    found = only(lstm(kernel_regularizer=value, recurrent_regularizer="l2", bias_regularizer=None))
    want = (("kernel", L1_L2), ("recurrent_kernel", regularizers.l2(0.01)))
    assert found.regularizers == want


@pytest.mark.parametrize("value", NORMS, ids=range(len(NORMS)))
def test_constraints_in_every_form(value):
    found = only(dense(kernel_constraint=value, bias_constraint="nonneg"))
    assert found.constraints == (("kernel", NORM), ("bias", constraints.non_neg()))


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("l1", regularizers.l1(0.01)),
        ("l1_l2", regularizers.l1_l2(0.01, 0.01)),
        ({"class_name": "L1", "config": {"l1": 0.5}}, regularizers.l1(0.5)),
        ({"class_name": "L2", "config": {"l2": 3}}, regularizers.l2(3.0)),
        (
            {"class_name": "OrthogonalRegularizer", "config": {"factor": 0.2, "mode": "columns"}},
            regularizers.orthogonal(0.2, "columns"),
        ),
    ],
)
def test_every_regularizer(value, want):
    assert only(dense(kernel_regularizer=value)).regularizers == (("kernel", want),)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ({"class_name": "UnitNorm", "config": {"axis": 1}}, constraints.unit_norm(1)),
        ({"class_name": "NonNeg", "config": {}}, constraints.non_neg()),
        ({"name": "NonNeg"}, constraints.non_neg()),
        ({"class_name": "RadialConstraint", "config": {}}, constraints.radial()),
        (
            {"name": "MinMaxNorm", "low": 0.5, "high": 2.0, "rate": 0.1, "axis": 0},
            constraints.min_max_norm(0.5, 2.0, 0.1),
        ),
    ],
)
def test_every_constraint(value, want):
    assert only(dense(kernel_constraint=value)).constraints == (("kernel", want),)


@pytest.mark.parametrize(
    "value",
    [
        "mine",
        5,
        [0.1],
        {},
        {"name": "EigenvalueRegularizer"},
        {"name": ["L1"]},
        {"class_name": "Custom>Mine", "config": {}},
        {"class_name": "L2", "config": {"l2": 0.1}, "module": "mine", "registered_name": "L2"},
        {"class_name": "L2", "config": {"l2": 0.1}, "registered_name": "mine>L2"},
        {"class_name": "L2", "config": {"l2": -1}},
        {"class_name": "L2", "config": {"l2": 10**400}},
        {"class_name": "L2", "config": {"l2": float("nan")}},
        {"class_name": "L2", "config": {"strength": 0.1}},
        {"class_name": "L2", "config": [1]},
        {"class_name": "MaxNorm", "config": {"axis": "first"}},
        {"class_name": "MaxNorm", "config": {"max_value": "big"}},
    ],
    ids=lambda value: f"{value!r:.60}",
)
def test_what_is_unknown_loads_and_is_told_when_it_is_asked_for(value):
    options = {"kernel_regularizer": value, "bias_constraint": value, "activity_regularizer": value}
    model = model_of(dense(**options), shape=(None, 3))
    params = build_params(model, legacy(d=dense_arrays(3, 2)))
    x = numbers(4, 3)
    want = x @ params["d"].kernel + params["d"].bias
    np.testing.assert_allclose(model.apply(params, x), want, rtol=1e-5)
    with pytest.raises(ValueError, match=r"layer 'd': its kernel_regularizer is .* cannot compute"):
        model.penalty(params, x)
    with pytest.raises(ValueError, match=r"layer 'd': its bias_constraint is .* cannot compute"):
        model.constrain(params)
    [layer] = model.layers
    silent = dataclasses.replace(layer, regularizers=())
    [node] = model.nodes
    model = dataclasses.replace(model, layers=(silent,), nodes=(node._replace(layer=silent),))
    with pytest.raises(ValueError, match=r"layer 'd': its activity_regularizer is .*"):
        model.penalty(params, x)


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_array_names_of_keras1_and_later(writer):
    words = "W U b" if writer.major == 1 else "kernel recurrent bias"
    values = [{"name": "WeightRegularizer", "l2": factor} for factor in (0.1, 0.2, 0.3)]
    options = {
        f"{word}_regularizer": value for word, value in zip(words.split(), values, strict=True)
    }
    found = only(entry("SimpleRNN", name="s", output_dim=3, **options), writer)
    factors = [(name, one.l2) for name, one in found.regularizers]
    assert factors == [("kernel", 0.1), ("recurrent_kernel", 0.2), ("bias", 0.3)]


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (entry("Embedding", name="e", input_dim=3, output_dim=2, W_regularizer="l2"), "embeddings"),
        (
            entry("Embedding", name="e", input_dim=3, output_dim=2, embeddings_regularizer="l2"),
            "embeddings",
        ),
        (
            entry(
                "DepthwiseConv2D",
                name="c",
                kernel_size=[2, 2],
                depthwise_regularizer="l2",
                bias_regularizer="l2",
            ),
            "bias kernel",
        ),
        (
            entry(
                "SeparableConv2D",
                name="c",
                filters=2,
                kernel_size=[2, 2],
                depthwise_regularizer="l2",
                pointwise_regularizer="l2",
            ),
            "depthwise_kernel pointwise_kernel",
        ),
        (
            entry("BatchNormalization", name="n", gamma_regularizer="l2", beta_regularizer="l2"),
            "gamma beta",
        ),
        (entry("PReLU", name="p", alpha_regularizer="l2"), "alpha"),
    ],
)
def test_array_names_of_other_layers(layer, names):
    found = only(layer)
    assert sorted(name for name, _ in found.regularizers) == sorted(names.split())
    assert {one for _, one in found.regularizers} == {regularizers.l2()}


@pytest.mark.parametrize("writer", [KERAS11, KERAS1, KERAS2, KERAS23, TF1, TF2, KERAS36, KERAS3])
def test_who_divides_penalties_on_outputs_by_the_batch(writer):
    key = {"activity_regularizer": "l2"}
    divides = writer in (KERAS11, TF1, TF2, KERAS3)
    want = OverBatch(regularizers.l2()) if divides else regularizers.l2()
    assert only(dense(**key), writer).activity_regularizer == want
    own = only(entry("ActivityRegularization", name="a", l1=0.25, l2=0.5), writer)
    assert own.activity_regularizer == (OverBatch(L1_L2) if divides else L1_L2)


@pytest.mark.parametrize("writer", [KERAS1, KERAS2, KERAS23, TF1, TF2, KERAS3], ids=str)
def test_penalties_on_outputs_in_time_distributed(writer):
    inner = dense(activity_regularizer={"class_name": "L2", "config": {"l2": 0.5}})
    model = model_of(entry("TimeDistributed", name="t", layer=inner), writer=writer)
    params = build_params(model, legacy(t=dense_arrays(3, 2)))
    x = numbers(5, 4, 3)
    squares = 0.5 * np.sum(np.square(x @ params["t"].kernel + params["t"].bias, dtype=np.float64))
    times = {1: 1, 2: 1 / 20 if writer.tf else 1, 3: 0}[writer.major]
    np.testing.assert_allclose(model.penalty(params, x), times * squares, rtol=1e-5)


@pytest.mark.parametrize("writer", [KERAS2, KERAS23, TF2, KERAS3], ids=str)
def test_penalties_on_outputs_of_two_directions(writer):
    """Keras 2 counts the merged output; the others each direction's own, whatever the merge is."""
    inner = lstm("i", 2, activity_regularizer="l2")
    both = entry("Bidirectional", name="b", layer=inner, merge_mode="sum")
    model = model_of(both, writer=writer)
    params = build_params(
        model, legacy(b=arrays_of("LSTM", 3, 2) + arrays_of("LSTM", 3, 2, seed=9))
    )
    x = numbers(5, 4, 3)
    [layer] = model.layers
    apart = dataclasses.replace(layer, merge=None).call(params["b"], [x], [None]).outputs
    split = [0.01 * float(np.sum(np.square(y))) for y in apart]
    whole = 0.01 * float(np.sum(np.square(apart[0] + apart[1])))
    want = whole if writer in (KERAS2, KERAS23) else sum(split) / 5
    np.testing.assert_allclose(model.penalty(params, x), want, rtol=1e-5)


def test_penalties_on_outputs_inside_a_model_per_step_are_refused_of_keras3():
    inner = entry("Sequential", name="m", layers=[dense(activity_regularizer="l2")])
    inner["config"]["layers"].insert(0, entry("InputLayer", name="x", batch_shape=[None, 3]))
    model = model_of(entry("TimeDistributed", name="t", layer=inner), writer=KERAS3)
    params = {"t": {"d": jax.tree.map(np.asarray, dense_params())}}
    assert model.apply(params, numbers(5, 4, 3)).shape == (5, 4, 2)
    with pytest.raises(ValueError, match="layer 't': its layer holds some with penalties"):
        model.penalty(params, numbers(5, 4, 3))


def dense_params():
    model = model_of(dense(), shape=(None, 3))
    return build_params(model, legacy(d=dense_arrays(3, 2)))["d"]


@pytest.mark.parametrize("stacked", [False, True])
def test_penalties_on_a_cells_output_are_refused(stacked):
    cell = entry("LSTMCell", name="c", units=2, activity_regularizer="l2", kernel_regularizer="l1")
    if stacked:
        cell = entry("StackedRNNCells", name="s", cells=[cell])
    found = only(entry("RNN", name="r", cell=cell), KERAS3)
    assert isinstance(found.activity_regularizer, Unknown)
    owner = found.cells[0] if stacked else found
    assert owner.regularizers == (("kernel", regularizers.l1()),)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("mode", ["cpu", "mem", "gpu", None])
def test_keras_12_takes_the_kernels_penalty_for_the_recurrent_kernel(kind, mode):
    options = {} if mode is None else {"consume_less": mode}
    layer = entry(kind, name="l", output_dim=2, W_regularizer="l1", U_regularizer="l2", **options)
    for writer in (KERAS11, KERAS1):
        found = dict(only(layer, writer).regularizers)
        same = writer == KERAS1 and mode != "gpu"
        want = regularizers.l1() if same else regularizers.l2()
        assert found == {"kernel": regularizers.l1(), "recurrent_kernel": want}


def test_keras_12_drops_the_penalties_of_convlstm2d():
    options = {"nb_filter": 2, "nb_row": 2, "nb_col": 2, "W_regularizer": "l2"}
    layer = entry("ConvLSTM2D", name="c", **options)
    assert only(layer, KERAS1).regularizers == ()
    assert only(layer, KERAS11).regularizers == (("kernel", regularizers.l2()),)


@pytest.mark.parametrize("kind", ["CuDNNGRU", "CuDNNLSTM"])
def test_only_what_treats_each_number_alone_holds_for_cudnn(kind):
    options = {
        "kernel_regularizer": "l2",
        "recurrent_regularizer": {"class_name": "OrthogonalRegularizer", "config": {}},
        "bias_regularizer": "l1",
        "kernel_constraint": "non_neg",
        "recurrent_constraint": "unit_norm",
    }
    found = only(entry(kind, name="c", units=2, **options))
    penalties, projections = dict(found.regularizers), dict(found.constraints)
    assert penalties["kernel"] == regularizers.l2()
    assert projections["kernel"] == constraints.non_neg()
    assert isinstance(penalties["recurrent_kernel"], Unknown)
    assert isinstance(projections["recurrent_kernel"], Unknown)
    assert isinstance(penalties["bias"], Unknown) == (kind == "CuDNNLSTM")


@pytest.mark.parametrize("axis", [0, 1, -1, [1, 2, 3], [0, 2]])
def test_constraints_of_keras1_follow_kernels_to_their_place(axis):
    value = {"name": "UnitNorm", "axis": axis}
    options = {"nb_filter": 5, "nb_row": 2, "nb_col": 3, "dim_ordering": "th"}
    layer = entry("Convolution2D", name="c", W_constraint=value, b_constraint=None, **options)
    [(name, constraint)] = only(layer, KERAS1).constraints
    stored = numbers(5, 4, 2, 3)  # [U, C, rows, columns]
    axes = tuple(axis) if isinstance(axis, list) else axis
    want = stored / (1e-7 + np.sqrt(np.sum(stored**2, axis=axes, keepdims=True)))
    got = constraint(jax.numpy.asarray(stored.transpose(2, 3, 1, 0)))
    assert name == "kernel"
    np.testing.assert_allclose(got, want.transpose(2, 3, 1, 0), rtol=1e-5)
    flat = entry("Convolution1D", name="c", nb_filter=5, filter_length=2, W_constraint=value)
    assert isinstance(dict(only(flat, KERAS1).constraints)["kernel"], Unknown)
    tf = only(
        entry("Convolution2D", name="c", W_constraint=value, **options | {"dim_ordering": "tf"})
    )
    assert dict(tf.constraints)["kernel"] == constraints.unit_norm(axis)


DATA = Path(__file__).parent.parent / "data"


def test_a_file_of_keras_22():
    file = DATA / "keras-2.2.4" / "regularised"
    model, params = jrnn.load_keras(f"{file}.h5")
    with np.load(f"{file}.npz") as arrays:
        x = arrays["x0"]
    lstm, gru = params["lstm_1"], params["gru_1"]
    y = model.trace(params, [x], [None])[0]["lstm_1", 0].outputs[0]
    want = 1e-3 * np.sum(np.square(lstm.kernel)) + 1e-4 * np.sum(np.abs(lstm.recurrent_kernel))
    want += 1e-2 * np.sum(np.square(lstm.bias)) + 1e-5 * np.sum(np.square(y))
    want += 1e-3 * np.sum(np.abs(gru.kernel)) + 1e-4 * np.sum(np.square(gru.kernel))
    np.testing.assert_allclose(model.penalty(params, x), want, rtol=1e-5)
    got = model.constrain(params)
    norms = np.linalg.norm(lstm.kernel, axis=0)
    kernel = lstm.kernel * np.minimum(norms, 2) / (1e-7 + norms)
    np.testing.assert_allclose(got["lstm_1"].kernel, kernel, rtol=1e-5)
    positive = np.maximum(lstm.recurrent_kernel, 0)
    np.testing.assert_array_equal(got["lstm_1"].recurrent_kernel, positive)
    bias = lstm.bias / (1e-7 + np.linalg.norm(lstm.bias))
    np.testing.assert_allclose(got["lstm_1"].bias, bias, rtol=1e-5)
    assert all(map(np.array_equal, got["gru_1"], gru))


def test_a_file_of_keras_12():
    model, params = jrnn.load_keras(DATA / "keras-1.2.2-tf" / "dropout_regularised.h5")
    lstm = params["lstm_2"]
    squares = np.sum(np.square(lstm.kernel)) + np.sum(np.square(lstm.recurrent_kernel))
    np.testing.assert_allclose(model.penalty(params), 0.01 * squares, rtol=1e-5)


def test_nested_models_keep_theirs():
    inner = entry("Sequential", name="m", layers=[dense(kernel_regularizer="l2")])
    inner["config"]["layers"].insert(0, entry("InputLayer", name="x", batch_shape=[None, 3]))
    model = parse_model(
        entry(
            "Sequential",
            name="o",
            layers=[entry("InputLayer", name="y", batch_shape=[None, 3]), inner],
        ),
        KERAS3,
    )
    params = {"m": {"d": dense_params()}}
    want = 0.01 * np.sum(np.square(params["m"]["d"].kernel))
    np.testing.assert_allclose(model.penalty(params), want, rtol=1e-6)
