"""Layers used in several models at once, and models in models with a part that is not trained."""

import itertools

import numpy as np
import pytest

from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from tests.keras_entries import (
    KERAS1,
    KERAS3,
    arrays_of,
    bidirectional,
    call3,
    dense_arrays,
    entry,
    graph,
    holds,
    legacy,
    lstm,
    model_of,
    numbers,
    objects,
    refused_arrays,
    sequential,
    source,
    stored,
)

DIRECTIONS = {
    "b1": {"forward": "b1/forward_i/cell/", "backward": "b1/backward_i/cell/"},
    "b2": {"forward": "b2/forward_i/cell/", "backward": "b2/backward_i/cell/"},
}
PLACES = [(name, side) for name, sides in DIRECTIONS.items() for side in sides]


def two_wrappers(**options):
    """A model in a model whose arrays all have the same shapes: names alone tell them apart."""
    inner = sequential(
        bidirectional("b1"), lstm("mid", units=10), bidirectional("b2"), shape=(None, 4, 10),
        name="n", **options,
    )  # fmt: skip
    return model_of(inner, shape=(None, 4, 10))


def listed(frozen, rename=lambda prefix: prefix):
    """The arrays of ``two_wrappers`` as Keras lists them, and by (wrapper, direction)."""
    own = {
        (name, side): arrays_of("LSTM", 10, 5, prefix=rename(prefix), seed=seed)
        for seed, (name, side, prefix) in enumerate(
            (name, side, prefix)
            for name, sides in DIRECTIONS.items()
            for side, prefix in sides.items()
        )
    }
    own["mid"] = arrays_of("LSTM", 10, 10, prefix=rename("mid/cell/"), seed=9)
    order = [PLACES[0], PLACES[1], "mid", PLACES[2], PLACES[3]]
    trained = [array for key in order if key not in frozen for array in own[key]]
    return trained + [array for key in order if key in frozen for array in own[key]], own


FROZEN = [list(keys) for count in range(5) for keys in itertools.combinations(PLACES, count)]


@pytest.mark.parametrize("frozen", FROZEN, ids=lambda keys: "+".join(map("-".join, keys)) or "none")
@pytest.mark.parametrize("rename", [str, lambda prefix: "n/" + prefix.replace("/", "_1/", 1)])
def test_frozen_directions_in_a_nested_model(frozen, rename):
    """Keras 2 does not write down which direction is frozen; the list's order follows it."""
    arrays, own = listed(frozen, rename)
    params = build_params(two_wrappers(), legacy(n=arrays))["n"]
    assert holds(params["mid"], own["mid"])
    for name, side in PLACES:
        assert holds(getattr(params[name], side), own[name, side])


def test_frozen_directions_without_their_wrappers_name():
    """By order, as far as the paths do not say that this gives a direction the other's arrays."""
    other = {"b1": "p", "b2": "q"}

    def rename(prefix):
        return "/".join(other.get(part, part) for part in prefix.split("/"))

    arrays, own = listed([], rename)
    params = build_params(two_wrappers(), legacy(n=arrays))["n"]
    assert holds(params["b1"].backward, own["b1", "backward"])
    arrays, _ = listed([("b2", "forward")], rename)
    message = refused_arrays(two_wrappers(), legacy(n=arrays))
    assert "layer 'b2': one of its directions is frozen" in message


def test_a_frozen_wrapper_in_a_nested_model():
    inner = sequential(
        bidirectional("b1", trainable=False), lstm("mid", units=10), bidirectional("b2"), name="n",
        shape=(None, 4, 10),
    )  # fmt: skip
    arrays, own = listed(PLACES[:2])
    params = build_params(model_of(inner, shape=(None, 4, 10)), legacy(n=arrays))["n"]
    assert holds(params["b1"].forward, own["b1", "forward"])
    assert holds(params["b2"].backward, own["b2", "backward"])


@pytest.mark.parametrize("frozen", [None, "forward", "backward"])
@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (("forward_p", "q"), ("forward_p/", "q/")),  # Keras 3
        (("forward_backward_p", "forward_q"), ("forward_backward_p/", "forward_q/")),
        (("backward_p", "forward_q"), ("forward_backward_p/", "backward_forward_q/")),  # tf.keras
        (("forward_p", "q"), ("", "")),
    ],
)
def test_a_backward_layer_of_any_name(names, paths, frozen):
    sides = dict(zip(("forward", "backward"), names, strict=True))
    layers = {
        side: lstm(name, trainable=side != frozen, go_backwards=side == "backward")
        for side, name in sides.items()
    }
    config = entry(
        "Bidirectional", name="b", layer=layers["forward"], backward_layer=layers["backward"]
    )
    own = {
        side: arrays_of("LSTM", 3, 5, prefix=f"b/{path}cell/", seed=k)
        for k, (side, path) in enumerate(zip(sides, paths, strict=True))
    }
    order = sorted(own, key=lambda side: (side == frozen, side == "backward"))
    listed = [array for side in order for array in own[side]]
    params = build_params(model_of(config, writer=KERAS3), legacy(b=listed))["b"]
    assert holds(params.forward, own["forward"])
    assert holds(params.backward, own["backward"])


def gates_of(name, kind, features, units, *, seed):
    """A layer's arrays as Keras 1 lists them, a kernel, recurrent kernel and bias for each gate."""
    letters = {"GRU": "zrh", "LSTM": "icfo"}[kind]
    shapes = {"W": (features, units), "U": (units, units), "b": (units,)}
    return {
        (array, gate): stored(f"{name}_{array}_{gate}:0", numbers(*shape, seed=seed + ord(gate)))
        for gate in letters
        for array, shape in shapes.items()
    }


def packed_gates(found, gates) -> list:
    joined = (np.concatenate([found[a, g].read() for g in gates], axis=-1) for a in "WUb")
    return [stored("", array) for array in joined]


@pytest.mark.parametrize("frozen", [None, "a", "b", "forward"])
def test_gate_arrays_of_keras1_in_a_nested_model(frozen):
    """Each gate's arrays stand apart; a layer with consume_less="gpu" has them packed."""
    layers = [
        entry("LSTM", name="a", output_dim=4, return_sequences=True, trainable=frozen != "a"),
        entry("SimpleRNN", name="s", output_dim=4, return_sequences=True),
        entry("LSTM", name="p", output_dim=4, return_sequences=True, consume_less="gpu"),
        entry("Bidirectional", name="w", merge_mode="sum", layer=entry(
            "LSTM", name="i", output_dim=4, return_sequences=True)),
        entry("GRU", name="b", output_dim=4, return_sequences=True, trainable=frozen != "b"),
    ]  # fmt: skip
    names = {"a": ("a", "LSTM"), "forward": ("forward_i", "LSTM"),
             "backward": ("backward_i", "LSTM"), "b": ("b", "GRU")}  # fmt: skip
    own = {
        key: gates_of(name, kind, 4, 4, seed=1000 * k)
        for k, (key, (name, kind)) in enumerate(names.items())
    }
    packed = {
        name: [stored(f"{name}_{a}:0", numbers(*shape, seed=ord(name))) for a, shape in shapes]
        for name, shapes in {
            "s": [("W", (4, 4)), ("U", (4, 4)), ("b", (4,))],
            "p": [("W", (4, 16)), ("U", (4, 16)), ("b", (16,))],
        }.items()
    }
    lists = {
        "a": list(own["a"].values()), "s": packed["s"], "p": packed["p"],
        "forward": list(own["forward"].values()), "backward": list(own["backward"].values()),
        "b": list(own["b"].values()),
    }  # fmt: skip
    order = [key for key in lists if key != frozen] + [key for key in lists if key == frozen]
    model = model_of(
        sequential(*layers, shape=(None, 3, 4), name="n"), writer=KERAS1, shape=(None, 3, 4)
    )
    params = build_params(model, legacy(n=[array for key in order for array in lists[key]]))["n"]
    found = {"a": params["a"], "forward": params["w"].forward, "backward": params["w"].backward}
    for key, value in found.items():
        assert holds(value, packed_gates(own[key], "ifco"))
    assert holds(params["b"], packed_gates(own["b"], "zrh"))
    assert holds(params["s"], packed["s"])
    assert holds(params["p"], packed["p"])


def functional(name, layers, output):
    """A model of Keras 3 of one input named after it; ``layers`` by what each is called on."""
    entries = [source(f"{name}_x")]
    entries += [{**layer, "inbound_nodes": [call3(called)]} for layer, called in layers]
    return graph(entries, [f"{name}_x"], [[output, 0, 0]], name=name)


def outer(*nested, order):
    """A model that calls nested ones, and the layer "l" that one of them may share, in an order."""
    found = {"l": lstm("l"), "k": lstm("k"), **{one["name"]: one for one in nested}}
    entries = [source("x"), *({**found[name], "inbound_nodes": [call3("x")]} for name in order)]
    # output_layers counts a nested functional model from 1.
    ends = [[name, int(name not in "lk"), 0] for name in order]
    return parse_model(graph(entries, ["x"], ends), KERAS3)


def nested(name="f", inner="l"):
    dense = entry("Dense", name=f"{name}_d", units=2)
    return functional(name, [(lstm(inner), f"{name}_x"), (dense, inner)], f"{name}_d")


@pytest.mark.parametrize("skipped_counts", [False, True])
@pytest.mark.parametrize("order", ["flk", "lfk", "kfl", "klf", "lkf", "fkl"])
def test_a_layer_of_two_models_is_stored_where_it_is_met_first(order, skipped_counts):
    """From Keras 3.0 on, names count layers stored elsewhere; in tf.keras they do not."""
    model = outer(nested(), order=order)
    shared, own, dense = (
        arrays_of("LSTM", 3, 5),
        arrays_of("LSTM", 3, 5, seed=5),
        dense_arrays(5, 2),
    )
    inside_first = order.index("f") < order.index("l")
    outside = [
        name
        for name in order
        if name != "f" and (skipped_counts or name != "l" or not inside_first)
    ]
    keys = {name: f"lstm_{k}__cell" if k else "lstm__cell" for k, name in enumerate(outside)}
    paths = {"functional__layers__dense": dense, keys["k"]: own}
    paths["functional__layers__lstm__cell" if inside_first else keys["l"]] = shared
    params = build_params(model, objects(**paths))
    assert holds(params["l"], shared)
    assert holds(params["f"]["l"], shared)
    assert holds(params["k"], own)
    assert holds(params["f"]["f_d"], dense)


def test_layers_of_one_name_with_arrays_of_their_own():
    model = outer(nested(), order="flk")
    one, two, three = (arrays_of("LSTM", 3, 5, seed=seed) for seed in (1, 5, 9))
    paths = {"functional__layers__dense": dense_arrays(5, 2), "functional__layers__lstm__cell": one,
             "lstm__cell": two, "lstm_1__cell": three}  # fmt: skip
    params = build_params(model, objects(**paths))
    assert holds(params["f"]["l"], one)
    assert holds(params["l"], two)
    assert holds(params["k"], three)


def test_a_shared_layer_that_cannot_be_told():
    """Two models have an "l" of their own, and nothing says whose the third is."""
    model = outer(nested("f"), nested("g"), order="fgl")
    one, two = (arrays_of("LSTM", 3, 5, seed=seed) for seed in (1, 5))
    paths = {"functional__layers__dense": dense_arrays(5, 2), "functional__layers__lstm__cell": one,
             "functional_1__layers__dense": dense_arrays(5, 2),
             "functional_1__layers__lstm__cell": two}  # fmt: skip
    assert "layer 'l' shares its arrays" in refused_arrays(model, objects(**paths))
    del paths["functional_1__layers__lstm__cell"]
    params = build_params(model, objects(**paths))
    assert holds(params["g"]["l"], one)
    assert holds(params["l"], one)


def test_shared_with_what_runs_step_by_step():
    """TimeDistributed and a nested model have no group where all of theirs is stored elsewhere."""
    dense = entry("Dense", name="d", units=3)
    steps = entry("TimeDistributed", name="t", layer=dense)
    whole = functional("f", [(dense, "f_x")], "d")
    found = {"d": dense, "t": steps, "f": whole, "e": entry("Dense", name="e", units=3)}
    for order in ("dtfe", "edtf", "detf"):
        entries = [source("x"), *({**found[name], "inbound_nodes": [call3("x")]} for name in order)]
        ends = [[name, int(name == "f"), 0] for name in order]
        model = parse_model(graph(entries, ["x"], ends), KERAS3)
        d, e = dense_arrays(3, 3), dense_arrays(3, 3, seed=4)
        first, second = (d, e) if order.index("d") < order.index("e") else (e, d)
        params = build_params(model, objects(dense=first, dense_1=second))
        assert holds(params["d"], d)
        assert holds(params["t"], d)
        assert holds(params["f"]["d"], d)
        assert holds(params["e"], e)
