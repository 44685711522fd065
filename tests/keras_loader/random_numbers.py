"""Random numbers for a model of Keras: its weights and its inputs."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from tests.keras_loader.random_walk import BATCH, TOKENS


def draw_weights(model: keras.Model, rng: np.random.Generator, scale: float) -> None:
    """Random weights, none zero; variances are positive, states start as zeros.

    Statistics are the same for every scale: Normalization holds its own as constants, which stay
    in a function once traced.
    """
    for weight in model.weights:
        if not is_parameter(weight):
            continue
        values = rng.standard_normal(weight.shape).astype("float32")
        if weight.name.endswith("variance"):
            values = 0.5 + np.abs(values)
        elif not weight.name.endswith("mean"):
            width = math.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 4
            values = scale * values / width**0.5
        weight.assign(values)
    for layer in all_layers(model):
        if isinstance(layer, layers.Normalization) and layer.input_mean is None:
            layer.finalize_state()


def is_parameter(variable: Any) -> bool:
    """Whether a variable holds what a file does, not a seed nor a state."""
    return "float" in str(variable.dtype) and "rnn_state" not in variable.name


def all_layers(model: Any) -> Iterator[layers.Layer]:
    """Every layer of a model, those inside others too."""
    for layer in getattr(model, "layers", []):
        yield layer
        inner = getattr(layer, "layer", None)
        yield from all_layers(layer)
        if inner is not None:
            yield inner
            yield from all_layers(inner)


def draw_inputs(model: keras.Model, rng: np.random.Generator) -> list[np.ndarray]:
    """Inputs in order; steps are masked at both ends and inside, but never a whole row."""
    found = []
    for spec in model.inputs:
        shape = (BATCH, *(5 if size is None else size for size in spec.shape[1:]))
        gone = rng.random(shape[:-1] if "float" in spec.dtype and len(shape) > 2 else shape) < 0.3
        gone[np.arange(BATCH), rng.integers(shape[1], size=BATCH)] = False
        if spec.dtype == "bool":
            found.append(~gone)
        elif "int" in spec.dtype:
            found.append(np.where(gone, 0, rng.integers(1, TOKENS, shape)).astype("int32"))
        else:
            values = rng.standard_normal(shape).astype("float32")
            value = rng.choice([0.0, -1.0])
            masked = gone[..., None] if gone.ndim < len(shape) else np.zeros(shape, bool)
            found.append(np.where(masked, value, values).astype("float32"))
    return found
