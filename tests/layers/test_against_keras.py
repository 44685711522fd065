"""Recurrent layers against real Keras 3 on JAX: outputs, states and every gradient."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.compare_with_keras import compare
from tests.keras_oracle import EXCLUDED, KINDS, MASKS, MERGES, NAMES, draw, keras

COUNT, QUICK = 240, 14
SEEDS = [pytest.param(i, marks=[] if i < QUICK else [pytest.mark.slow]) for i in range(COUNT)]

pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis")


@pytest.mark.parametrize("seed", SEEDS)
def test_outputs_states_and_gradients_are_those_of_keras(seed):
    config = draw(seed)
    assert [d for d in compare(config) if not d.share <= 1] == [], str(config)


def test_the_configurations_reach_every_choice():
    configs = [draw(seed) for seed in range(COUNT)]
    both = [config for config in configs if len(config.directions) == 2]
    directions = [direction for config in configs for direction in config.directions]
    assert {c.merge for c in both} == set(MERGES)
    assert {d.options["activation"] for d in directions} == set(NAMES)
    assert {d.options.get("recurrent_activation") for d in directions} == {*NAMES, None}
    for kind in KINDS:
        alone = [c for c in configs if len(c.directions) == 1 and c.directions[0].kind == kind]
        pairs = [c for c in both if c.directions[0].kind == kind]
        for group in (alone, pairs):
            assert len(group) == COUNT / 6
            assert {c.mask for c in group} == set(MASKS)
            for flag in ("go_backwards", "return_sequences", "return_state", "unroll"):
                assert {getattr(c, flag) for c in group} == {True, False}
            for flag in ("zero_output_for_mask", "initial_state"):
                assert {getattr(c, flag) for c in group} == {True, False}
        assert {c.directions[1].kind for c in pairs if not c.copied} == set(KINDS)
        assert {d.options["use_bias"] for d in directions if d.kind == kind} == {True, False}
    grus = [d.options for d in directions if d.kind == "GRU"]
    assert {gru["reset_after"] for gru in grus} == {True, False}
    assert all(d.units != c.features for c in configs for d in c.directions)


@pytest.mark.parametrize("name", ["glu", "threshold"])
def test_keras_layers_still_raise_with_the_excluded_activation(name):
    assert name in EXCLUDED
    layer = keras.layers.SimpleRNN(4, activation=name)
    with pytest.raises((TypeError, ValueError)):
        layer(jnp.ones((2, 3, 5)))


def test_sparsemax_of_keras_still_does_not_sum_to_one():
    assert "sparsemax" in EXCLUDED
    total = keras.activations.sparsemax(jnp.asarray([[1.0, 0.9, 0.8]])).sum()
    assert abs(float(total) - 1) > 0.01


def test_keras_still_halves_the_states_of_unlike_directions():
    layer = keras.layers.Bidirectional(
        keras.layers.LSTM(2), backward_layer=keras.layers.GRU(2, go_backwards=True)
    )
    states = [np.ones((1, 2), "float32")] * 3
    with pytest.raises((IndexError, ValueError)):
        layer(jnp.ones((1, 3, 4)), initial_state=states)


def test_keras_still_refuses_a_copied_layer_that_goes_backwards():
    with pytest.raises(ValueError, match="different `go_backwards`"):
        keras.layers.Bidirectional(keras.layers.GRU(2, go_backwards=True))
