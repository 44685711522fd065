"""jrnn beside real Keras 3 on a random model: outputs, states and gradients, to 1e-5.

An array's error is its largest difference by the largest of Keras's numbers in it. Where the dtype
itself cannot hold that (a gradient that cancels, an exponential in a loop), the same model is
built in float64 and compared there; the outputs have to be close all the same. That time XLA
compiles as it does by default: its quick way computes some numbers twice, rounded otherwise, and
the derivative of a maximum then finds neither side equal to it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

import jrnn
from jrnn.model import Model
from tests.compare_with_keras import quick_compile
from tests.keras_loader.random_models import Drawn, precision, rebuilt
from tests.keras_loader.random_numbers import (
    all_layers,
    draw_inputs,
    draw_weights,
    is_parameter,
)

TOLERANCE = 1e-5
# Numbers of 8 and 11 significant bits; XLA rounds what it fuses less often than Keras does.
SIXTEEN_BITS = {"bfloat16": 0.1, "float16": 0.02}
ILL_CONDITIONED = 1e-3  # of float32's outputs, where float64's are to 1e-5
FLOOR = 1e-9  # of the largest gradient: smaller ones are zero but for rounding, in float64
NOISE = 1e-6  # smaller numbers are compared by it: what cancels out is rounding alone
SCALES = (1.0, 0.5, 0.2, 0.05)
LARGEST = 1e3


class Compared(NamedTuple):
    """How far the worst array of each kind is from Keras's."""

    outputs: float
    gradients: float
    in_float64: bool


class Sides(NamedTuple):
    """One model on both sides, and what it is called with."""

    ours: Model
    params: Any
    theirs: keras.Model
    inputs: list[np.ndarray]
    seed: int


def compare(drawn: Drawn, folder: Path) -> Compared | None:
    """Returns the errors, None if the model suits no comparison: by its numbers, or to Keras.

    Raises:
        AssertionError: If an error is larger than the tolerance.
    """
    with precision(drawn.policy):
        errors = _errors(drawn, folder)
    if errors is None:
        return None
    tolerance = SIXTEEN_BITS.get(drawn.policy.rpartition("mixed_")[2], TOLERANCE)
    if np.max(errors) <= tolerance:
        return Compared(*errors, in_float64=False)
    if drawn.policy == "float64" or not errors[0] <= max(tolerance, ILL_CONDITIONED):
        raise AssertionError(f"errors of outputs and gradients {errors}: {drawn}")
    with precision("float64"):
        exact = _errors(rebuilt(drawn, "float64"), folder, quick=False)
    if exact is None or not np.max(exact) <= TOLERANCE:
        raise AssertionError(f"errors {errors}, in float64 {exact}: {drawn}")
    return Compared(*exact, in_float64=True)


def _errors(drawn: Drawn, folder: Path, *, quick: bool = True) -> tuple[float, float] | None:
    """Returns the largest errors of the outputs and of the gradients."""
    rng = np.random.default_rng(drawn.seed)
    inputs = draw_inputs(drawn.model, rng)
    run = _theirs(drawn.model, inputs, drawn.seed, quick)
    for scale in SCALES:
        draw_weights(drawn.model, np.random.default_rng([drawn.seed, 1]), scale)
        try:
            theirs = run(*_given(drawn.model, inputs))
        except (IndexError, TypeError, ValueError) as error:
            ends = ("Exception encountered when calling", "is not supported by dot_general")
            if any(end in str(error) for end in ends):  # Keras fails on its own model
                return None
            raise
        arrays = jax.tree.leaves(theirs)
        if all(np.isfinite(a).all() and np.abs(a).max(initial=0) < LARGEST for a in arrays):
            break
    else:
        return None
    sides = Sides(*load(drawn, folder), drawn.model, inputs, drawn.seed)
    return _compared(sides, _ours(sides, quick), theirs)


def load(drawn: Drawn, folder: Path) -> tuple[Model, Any]:
    """Saves a model with Keras and loads it with jrnn."""
    model = drawn.model
    if drawn.format != ".json":
        model.save(folder / f"m{drawn.format}")
        return jrnn.load_keras(folder / f"m{drawn.format}", backend="jax")
    model.save_weights(folder / "m.weights.h5")
    (folder / "m.json").write_text(model.to_json())
    weights, config = folder / "m.weights.h5", folder / "m.json"
    return jrnn.load_keras(weights, config=config, backend="jax")


def is_stateful(model: keras.Model) -> bool:
    return any("rnn_state" in variable.name for variable in model.variables)


def _call(model: keras.Model, inputs: list[Any], variables: list[Any]) -> Any:
    """Returns Keras's outputs, of two calls if the second starts with the first one's states."""
    held = dict(zip(map(id, model.variables), variables, strict=True))
    split = [
        [held[id(v)] for v in group]
        for group in (model.trainable_variables, model.non_trainable_variables)
    ]
    arguments: Any = inputs if len(inputs) > 1 else inputs[0]
    if isinstance(model, keras.Model) and isinstance(getattr(model, "_inputs_struct", None), dict):
        arguments = dict(zip(model._inputs_struct, inputs, strict=True))
    outputs, changed = model.stateless_call(*split, arguments, training=False)
    if not is_stateful(model):
        return outputs
    again, _ = model.stateless_call(split[0], changed, arguments, training=False)
    return outputs, again


def _floats(inputs: list[Any]) -> list[int]:
    return [k for k, x in enumerate(inputs) if np.issubdtype(x.dtype, np.floating)]


def _replaced(inputs: list[Any], floats: list[Any]) -> list[Any]:
    found = list(inputs)
    for k, value in zip(_floats(inputs), floats, strict=True):
        found[k] = value
    return found


def _given(model: keras.Model, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Returns the values of Keras's parameters, and the inputs that are floats."""
    weights = [v.value for v in model.variables if is_parameter(v)]
    return weights, [jnp.asarray(inputs[k]) for k in _floats(inputs)]


def _theirs(model: keras.Model, inputs: list[Any], seed: int, quick: bool) -> Callable:
    """Returns Keras's outputs and gradients as a function of what ``_given`` returns."""
    places = [k for k, v in enumerate(model.variables) if is_parameter(v)]
    others = [v.value for v in model.variables]

    def function(weights, floats):
        values = list(others)
        for place, weight in zip(places, weights, strict=True):
            values[place] = weight
        return jax.tree.leaves(_call(model, _replaced(inputs, floats), values))

    return _with_gradients(function, seed, quick)


def _ours(sides: Sides, quick: bool) -> Any:
    """Returns jrnn's outputs and gradients."""

    def function(params, floats):
        inputs = _replaced(sides.inputs, floats)
        if not is_stateful(sides.theirs):
            return jax.tree.leaves(sides.ours.apply(params, *inputs))
        state, outputs = sides.ours.apply(params, *inputs, return_state=True)
        return jax.tree.leaves((outputs, sides.ours.apply(params, *inputs, state=state)))

    _, floats = _given(sides.theirs, sides.inputs)
    return _with_gradients(function, sides.seed, quick)(sides.params, floats)


def _with_gradients(function: Callable, seed: int, quick: bool) -> Callable:
    """Returns the outputs, and the gradients of their sum weighted by random numbers."""

    def run(*given):
        outputs, pull_back = jax.vjp(function, *given)
        rng = np.random.default_rng([seed, 2])
        cotangents = [jnp.asarray(rng.standard_normal(y.shape), y.dtype) for y in outputs]
        return outputs, pull_back(cotangents)

    return jax.jit(run, compiler_options=quick_compile() if quick else None)


def _compared(sides: Sides, ours: Any, theirs: Any) -> tuple[float, float]:
    assert len(ours[0]) == len(theirs[0]), f"{len(ours[0])} outputs, Keras has {len(theirs[0])}"
    for y, expected in zip(ours[0], theirs[0], strict=True):
        assert (y.shape, y.dtype) == (expected.shape, expected.dtype), (y, expected)
    outputs = [_error(*pair) for pair in zip(ours[0], theirs[0], strict=True)]
    pairs = [*_pairs(sides, ours[1][0], theirs[1][0]), *zip(ours[1][1], theirs[1][1], strict=True)]
    largest = max([float(np.abs(np.asarray(b)).max()) for _, b in pairs], default=0.0)
    gradients = [_error(a, b, FLOOR * largest) for a, b in pairs]
    return float(np.max(outputs)), float(np.max([0.0, *gradients]))


def _pairs(sides: Sides, ours: Any, theirs: list[Any]) -> list[tuple[Any, Any]]:
    """Returns both sides' gradients in the same parameter, which its values tell."""
    leaves = list(zip(jax.tree.leaves(sides.params), jax.tree.leaves(ours), strict=True))
    constant = {
        id(variable)
        for layer in all_layers(sides.theirs)
        if isinstance(layer, keras.layers.Normalization)
        for variable in layer.variables
    }
    parameters = [v for v in sides.theirs.variables if is_parameter(v)]
    assert len(leaves) == len(parameters)
    pairs = []
    for variable, gradient in zip(parameters, theirs, strict=True):
        value = np.asarray(variable.value, "float64")
        [place, *_] = [
            k
            for k, (leaf, _) in enumerate(leaves)
            if leaf.shape == value.shape and np.array_equal(np.asarray(leaf, "float64"), value)
        ]
        _, found = leaves.pop(place)
        if id(variable) not in constant:
            pairs.append((found, gradient))
    return pairs


def _error(a: Any, b: Any, floor: float = 0.0) -> float:
    """Returns the largest difference by the largest number, or by ``floor``."""
    if not b.size:
        return 0.0
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    largest = max(float(np.abs(b).max()), floor, NOISE)
    return float(np.abs(a - b).max()) / largest
