"""A Keras file as an NNX module: the same numbers, and training that Keras goes on from."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from flax import nnx
from keras import layers

import jrnn
from jrnn.flax_wrappers import nnx as wrapped
from tests.cases import assert_close, assert_equal

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype("float32")
Y = X.sum(1)[:, :2]


def test_inference_is_the_models(path):
    module = wrapped.from_keras(path)
    model, params = jrnn.load_keras(path)
    assert_equal(module(X), model.apply(params, X))
    assert_equal(nnx.jit(lambda m, x: m(x))(module, X), jax.jit(model.apply)(params, X))
    np.testing.assert_allclose(module(X), keras.saving.load_model(path)(X), rtol=1e-5, atol=1e-6)
    assert jax.tree.structure(module.weights()) == jax.tree.structure(params)


def test_what_training_may_change(path):
    module = wrapped.from_keras(path)
    kinds = {
        (layer, field): type(variable)
        for layer, own in module.params.items()
        for field, variable in own._asdict().items()
        if variable is not None
    }
    assert {key for key, kind in kinds.items() if kind is nnx.BatchStat} == {
        ("norm", "moving_mean"),
        ("norm", "moving_variance"),
    }
    assert {key for key, kind in kinds.items() if kind is wrapped.Frozen} == {
        ("frozen", "kernel"),
        ("frozen", "bias"),
    }


def test_a_call_in_training(path):
    module = wrapped.from_keras(path, rngs=nnx.Rngs(3))
    model, params = jrnn.load_keras(path)
    module.train()
    key = nnx.Rngs(3).dropout.fork()()
    state, expected = model.apply(params, X, training=True, key=key, return_state=True)
    assert_equal(module(X), expected)
    assert_equal(module.params["norm"].moving_mean[...], state["norm"].mean)
    assert_equal(module.params["norm"].moving_variance[...], state["norm"].variance)
    module.eval()
    assert_equal(module(X), model.apply(params, X, state=state))
    assert_equal(module.penalty(), model.penalty(params))
    assert module.penalty() > 0
    without = wrapped.from_keras(path)
    without.train()
    with pytest.raises(ValueError, match=r"'lstm'.*random in training"):
        without(X)


def test_fine_tuning_and_back_to_keras(path, tmp_path):
    module = wrapped.from_keras(path, rngs=nnx.Rngs(3))
    before = module.weights()
    module.train()
    optimizer = nnx.Optimizer(module, optax.adam(0.02), wrt=nnx.Param)

    @nnx.jit
    def step(module, optimizer):
        def loss(module):
            return ((module(X) - Y) ** 2).mean() + module.penalty()

        value, gradients = nnx.value_and_grad(loss)(module)
        optimizer.update(module, gradients)
        module.constrain()
        return value

    losses = [float(step(module, optimizer)) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    after = module.weights()
    assert_equal(after["frozen"], before["frozen"])
    assert (after["norm"].moving_mean != before["norm"].moving_mean).any()
    assert (after["lstm"].kernel != before["lstm"].kernel).all()
    norms = jnp.linalg.norm(after["dense"].kernel, axis=0)
    assert (norms < 0.5 + 1e-5).all()
    assert (jnp.linalg.norm(before["dense"].kernel, axis=0) > 0.5).any()

    module.eval()
    module.save(tmp_path / "tuned.keras")
    tuned = keras.saving.load_model(tmp_path / "tuned.keras")
    np.testing.assert_allclose(tuned(X), module(X), rtol=1e-5, atol=1e-5)
    assert_close(wrapped.from_keras(tmp_path / "tuned.keras").weights(), after, 1e-7)


def test_state_of_stateful_layers(tmp_path):
    model = keras.Sequential([keras.Input((5, 3), batch_size=6), layers.GRU(4, stateful=True)])
    model.save(tmp_path / "stateful.keras")
    module = wrapped.from_keras(tmp_path / "stateful.keras")
    state, first = module(X, return_state=True)
    _, second = module(X, state=state, return_state=True)
    np.testing.assert_allclose(first, model(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second, model(X), rtol=1e-5, atol=1e-6)
    module.train()
    assert_equal(module(X, return_state=True), (state, first))
