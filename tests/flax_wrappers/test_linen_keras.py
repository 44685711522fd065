"""A Keras file as a Linen module: the same numbers, and training."""

import jax
import numpy as np
import optax
import pytest

import jrnn
from jrnn.flax_wrappers import linen as wrapped
from tests.cases import assert_equal

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype("float32")
Y = X.sum(1)[:, :2]


def test_inference_is_the_models(path):
    module, variables = wrapped.from_keras(path)
    model, params = jrnn.load_keras(path)
    assert_equal(module.apply(variables, X), model.apply(params, X))
    assert_equal(module.init(jax.random.key(0), X), variables)
    assert_equal(wrapped.to_params(variables), params)
    assert jax.tree.structure(wrapped.to_params(variables)) == jax.tree.structure(params)


def test_collections(path):
    _, variables = wrapped.from_keras(path)
    statistics = variables["batch_stats"]["model"]
    assert len(jax.tree.leaves(statistics)) == 2
    assert statistics["norm"].moving_mean.shape == (4,)
    assert len(jax.tree.leaves(variables["frozen"])) == 2
    assert variables["frozen"]["model"]["frozen"].kernel.shape == (4, 4)
    assert variables["params"]["model"]["frozen"].kernel is None


def test_a_call_in_training(path):
    module, variables = wrapped.from_keras(path)
    model, params = jrnn.load_keras(path)
    rngs = {"dropout": jax.random.key(5)}
    ys, changed = module.apply(variables, X, training=True, rngs=rngs, mutable=["batch_stats"])
    norm = changed["batch_stats"]["model"]["norm"]
    assert (norm.moving_mean != params["norm"].moving_mean).any()
    assert (norm.moving_variance != params["norm"].moving_variance).any()
    again = module.apply({**variables, **changed}, X)
    assert_equal(again, model.apply(wrapped.to_params({**variables, **changed}), X))
    other = module.apply(variables, X, training=True, rngs={"dropout": jax.random.key(6)})
    assert (other != ys).any()
    with pytest.raises(ValueError, match=r"'lstm'.*random in training"):
        module.apply(variables, X, training=True)


def test_fine_tuning(path):
    module, variables = wrapped.from_keras(path)
    optimizer = optax.adam(0.02)
    params = variables["params"]
    rest = {name: variables[name] for name in ("batch_stats", "frozen")}
    moments = optimizer.init(params)

    @jax.jit
    def step(params, rest, moments, key):
        def loss(params):
            ys, changed = module.apply(
                {"params": params, **rest},
                X,
                training=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return ((ys - Y) ** 2).mean(), changed

        (value, changed), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(gradients, moments, params)
        return optax.apply_updates(params, updates), {**rest, **changed}, moments, value

    losses = []
    for key in jax.random.split(jax.random.key(1), 30):
        params, rest, moments, value = step(params, rest, moments, key)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]
    after, before = wrapped.to_params({"params": params, **rest}), wrapped.to_params(variables)
    assert_equal(after["frozen"], before["frozen"])
    assert (after["norm"].moving_mean != before["norm"].moving_mean).any()
