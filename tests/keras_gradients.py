"""A model of real Keras 3 on JAX beside the same model loaded by jrnn: outputs and gradients."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np

import jrnn

TOLERANCE = 1e-5
FORMATS = ("m.keras", "m.h5")


def draw_weights(model: keras.Model, seed: int) -> None:
    """Replaces every weight, biases too, by random numbers."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape))


def assert_same(
    model: keras.Model,
    inputs: list[np.ndarray],
    folder: Path,
    *,
    formats: tuple[str, ...] = FORMATS,
    tolerance: float = TOLERANCE,
    **options: Any,
) -> None:
    """Checks outputs, and the gradients of their weighted sum in floating inputs and weights."""
    outputs, (d_weights, d_inputs) = _keras(model, inputs)
    for name in formats:
        model.save(folder / name)
    weights = model.get_weights()
    _set_trained(model, d_weights)
    for name in formats:
        model.save(folder / f"gradients_{name}")  # so that they come in jrnn's order and form
    model.set_weights(weights)
    for name in formats:
        loaded, params = jrnn.load_keras(folder / name, backend="jax", **options)
        _, expected = jrnn.load_keras(folder / f"gradients_{name}", backend="jax", **options)
        ours, (d_params, d_ours) = _jrnn(loaded, params, inputs)
        assert len(ours) == len(outputs)
        for y, value in zip([*ours, *d_ours], [*outputs, *d_inputs], strict=True):
            assert y.shape == value.shape
            np.testing.assert_allclose(y, value, rtol=tolerance, atol=tolerance)
        jax.tree.map(lambda a, b: _close(a, b, tolerance), d_params, expected)


def _close(found: Any, expected: Any, tolerance: float) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))  # a sum over batch and steps
    np.testing.assert_allclose(found / scale, expected / scale, rtol=tolerance, atol=tolerance)


def _set_trained(model: keras.Model, values: list[jax.Array]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)


def _floating(inputs: list[np.ndarray]) -> list[int]:
    return [k for k, x in enumerate(inputs) if np.issubdtype(x.dtype, np.floating)]


def _weighted(outputs: Any) -> jax.Array:
    """A sum in which every element has a weight of its own."""
    leaves = jax.tree.leaves(outputs)
    return sum(jnp.sum(y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)) for y in leaves)


def _keras(model: keras.Model, inputs: list[np.ndarray]) -> tuple[list, tuple[list, list]]:
    which = _floating(inputs)
    trained = [v.value for v in model.trainable_variables]
    fixed = [v.value for v in model.non_trainable_variables]

    def run(trained, xs):
        xs = _put(inputs, which, xs)
        outputs, _ = model.stateless_call(trained, fixed, xs if len(xs) > 1 else xs[0])
        return _weighted(outputs), jax.tree.leaves(outputs)

    grad = jax.grad(run, argnums=(0, 1), has_aux=True)
    gradients, outputs = grad(trained, [jnp.asarray(inputs[k]) for k in which])
    return outputs, gradients


def _jrnn(model: Any, params: Any, inputs: list[np.ndarray]) -> tuple[list, tuple[Any, list]]:
    which = _floating(inputs)

    def run(params, xs):
        outputs = model.apply(params, *_put(inputs, which, xs))
        return _weighted(outputs), jax.tree.leaves(outputs)

    grad = jax.jit(jax.grad(run, argnums=(0, 1), has_aux=True, allow_int=True))
    gradients, outputs = grad(params, [jnp.asarray(inputs[k]) for k in which])
    return outputs, gradients


def _put(inputs: list[np.ndarray], which: list[int], xs: list[jax.Array]) -> list[Any]:
    found: list[Any] = list(inputs)
    for k, x in zip(which, xs, strict=True):
        found[k] = x
    return found
