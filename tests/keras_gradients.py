"""A model of real Keras 3 on JAX beside the same model loaded by jrnn: outputs and gradients."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import jax.numpy as jnp
import keras
import numpy as np

import jrnn
from tests.compare_with_keras import outputs_and_gradients

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
    """Checks outputs and their gradients, in floating-point inputs and in what is trained."""
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
    if found.dtype == jax.dtypes.float0:  # of integers
        return
    scale = max(1.0, float(np.abs(expected).max(initial=0)))  # a sum over batch and steps
    np.testing.assert_allclose(found / scale, expected / scale, rtol=tolerance, atol=tolerance)


def _set_trained(model: keras.Model, values: list[jax.Array]) -> None:
    for variable, value in zip(model.trainable_variables, values, strict=True):
        variable.assign(value)
    for variable in model.non_trainable_weights:
        variable.assign(np.zeros(variable.shape))


def _keras(model: keras.Model, inputs: list[np.ndarray]) -> tuple[list, tuple[list, list]]:
    fixed = [v.value for v in model.non_trainable_variables]

    def run(trained, xs):
        outputs, _ = model.stateless_call(trained, fixed, xs if len(xs) > 1 else xs[0])
        return jax.tree.leaves(outputs)

    return _run(run, [v.value for v in model.trainable_variables], inputs)


def _jrnn(model: Any, params: Any, inputs: list[np.ndarray]) -> tuple[list, tuple[Any, list]]:
    return _run(lambda p, xs: jax.tree.leaves(model.apply(p, *xs)), params, inputs)


def _run(function: Callable, weights: Any, inputs: list[np.ndarray]) -> tuple[list, tuple]:
    """Returns the outputs, and the gradients in weights and in floating-point inputs."""
    which = [k for k, x in enumerate(inputs) if np.issubdtype(x.dtype, np.floating)]

    def run(weights, some):
        xs: list[Any] = [jnp.asarray(x) for x in inputs]
        for k, x in zip(which, some, strict=True):
            xs[k] = x
        return function(weights, xs)

    values = weights, [jnp.asarray(inputs[k]) for k in which]
    shapes = [y.shape for y in jax.eval_shape(run, *values)]
    rng = np.random.default_rng(7)
    cotangents = [jnp.asarray(rng.standard_normal(shape), "float32") for shape in shapes]
    return outputs_and_gradients(run)(values, cotangents)
