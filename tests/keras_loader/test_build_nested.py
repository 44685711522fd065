"""The layout of Keras 3, numbered by class, and models in models."""

import numpy as np

from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from jrnn.keras_loader.read import LegacyWeights
from tests.keras_entries import (
    KERAS1,
    KERAS2,
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
    objects,
    refused_arrays,
    sequential,
    stored,
    unread,
)


def test_arrays_of_layers_in_the_layout_of_keras3():
    arrays = arrays_of("LSTM", 3, 5), arrays_of("LSTM", 5, 5, seed=3), dense_arrays(5, 2)
    model = model_of(lstm("zeta"), lstm("alpha"), entry("Dense", name="lstm", units=2))
    for second in ("lstm_1", "lstm_2", "lstm_10"):  # TensorFlow 2.12 counts by two
        for container in ("layers", "_layer_checkpoint_dependencies"):
            paths = {f"{second}__cell": arrays[1], "dense": arrays[2], "lstm__cell": arrays[0]}
            params = build_params(model, objects(container, **paths))
            assert holds(params["zeta"], arrays[0])
            assert holds(params["alpha"], arrays[1])
            assert holds(params["lstm"], arrays[2])


def test_numbers_count_as_numbers():
    sizes = [stored("kernel", numbers(3, 3, seed=k)) for k in range(12)]
    layers = [entry("Dense", name=f"d{k}", units=3, use_bias=False) for k in range(12)]
    paths = {f"dense_{k}" if k else "dense": [array] for k, array in enumerate(sizes)}
    params = build_params(model_of(*layers), objects(**dict(sorted(paths.items()))))
    for k, array in enumerate(sizes):
        assert holds(params[f"d{k}"], [array])


def test_objects_left_over_or_missing():
    arrays = unread(arrays_of("LSTM", 3, 5))
    model = model_of(lstm())
    for paths, said in (
        ({}, "0 layers of class LSTM"),
        ({"gru__cell": arrays}, "0 layers of class LSTM"),
        ({"lstm__cell": arrays, "lstm_1__cell": arrays}, "2 layers of class LSTM"),
        ({"lstm__cell": arrays, "dense": arrays[:1]}, "left over"),
        ({"lstm__cell": arrays, "lstm": arrays[:1]}, "left over"),
        ({"lstm": arrays}, "the file holds no arrays"),
        ({"lstm__cell": arrays[:2]}, "the file holds"),
        ({"lstm__cell": arrays, "lstm__cell__cells": arrays}, "left over"),
    ):
        assert said in refused_arrays(model, objects(**paths))


def test_wrappers_and_nested_models_in_the_layout_of_keras3():
    inner = sequential(lstm("a"), bidirectional("b", gru("c"), merge_mode="sum"), name="n")
    outer = entry("TimeDistributed", name="t", layer=entry("Dense", name="d", units=2))
    model = model_of(inner, outer)
    found = {
        "sequential__layers__lstm__cell": arrays_of("LSTM", 3, 5),
        "sequential__layers__bidirectional__forward_layer__cell": arrays_of("GRU", 5, 5, seed=1),
        "sequential__layers__bidirectional__backward_layer__cell": arrays_of("GRU", 5, 5, seed=4),
        "time_distributed__layer": dense_arrays(5, 2),
    }
    params = build_params(model, objects(**found))
    a, forward, backward, dense = found.values()
    assert holds(params["n"]["a"], a)
    assert holds(params["n"]["b"].forward, forward)
    assert holds(params["n"]["b"].backward, backward)
    assert holds(params["t"], dense)


def test_nested_models_in_the_legacy_layout():
    inner = sequential(lstm("a", trainable=False), lstm("b"), lstm("c", trainable=False), name="n")
    frozen, trained, last = (arrays_of("LSTM", n, 5, seed=n) for n in (3, 5, 5))
    params = build_params(model_of(inner), legacy(n=trained + frozen + last))["n"]
    assert holds(params["a"], frozen)
    assert holds(params["b"], trained)
    assert holds(params["c"], last)
    assert "left over" in refused_arrays(
        model_of(inner), legacy(n=trained + frozen + last + last[:1])
    )


def test_frozen_layers_two_models_deep():
    """All that is trained comes first, whatever model it is in, then all that is frozen."""
    inmost = sequential(lstm("a", trainable=False), lstm("b"), name="m", shape=(None, 4, 5))
    inner = sequential(inmost, lstm("c"), name="n", shape=(None, 4, 5))
    frozen, b, c = (arrays_of("LSTM", 5, 5, seed=s) for s in (1, 4, 7))
    model = model_of(inner, shape=(None, 4, 5))
    params = build_params(model, legacy(n=b + c + frozen))["n"]
    assert holds(params["m"]["a"], frozen)
    assert holds(params["m"]["b"], b)
    assert holds(params["c"], c)
    inmost["config"]["trainable"] = False
    model = model_of(inner, shape=(None, 4, 5))
    params = build_params(model, legacy(n=c + b + frozen))["n"]
    assert holds(params["m"]["a"], frozen)
    assert holds(params["m"]["b"], b)
    assert holds(params["c"], c)


def test_sequential_config_as_a_bare_list():
    """Keras 1 and 2.0 to 2.2.2, also for a model in a model."""
    first = lstm("l", batch_input_shape=[None, 4, 3])
    bare = {"class_name": "Sequential", "config": [first]}
    outer = {"class_name": "Sequential", "config": [bare, lstm("k")]}
    arrays = arrays_of("LSTM", 3, 5), arrays_of("LSTM", 5, 5)
    params = build_params(parse_model(bare, KERAS1), legacy(l=arrays[0]))
    assert holds(params["l"], arrays[0])
    params = build_params(parse_model(outer, KERAS2), legacy(sequential_1=arrays[0], k=arrays[1]))
    assert holds(params["sequential_1"]["l"], arrays[0])
    assert holds(params["k"], arrays[1])


def test_open_sizes_do_not_refuse_a_sound_model():
    reshape = entry("Reshape", name="r", target_shape=[-1, 8])
    model = model_of(reshape, shape=(None, None, 4))
    assert build_params(model, LegacyWeights({}, None, None)) == {}
    assert model.apply({}, np.ones((2, 6, 4))).shape == (2, 3, 8)
