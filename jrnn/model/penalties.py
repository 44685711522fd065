"""What training adds to the loss and does to the weights, as a model's layers ask for it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jrnn.model.graph import Model
from jrnn.model.layer import Layer, watch_outputs
from jrnn.model.multi_head import MultiHeadAttentionParams, ProjectionParams
from jrnn.model.walk import map_params, walk


def penalty(
    model: Model,
    params: Mapping[str, Any],
    *inputs: Any,
    state: Any = None,
    training: bool = False,
    key: jax.Array | None = None,
) -> jax.Array:
    """Returns the sum of all penalties on weights and, for some inputs, on outputs.

    Args:
        model: The model. Weights of layers that are not trainable cost nothing.
        params: Its parameters.
        *inputs: As for ``model.apply``, which is run where a layer has an activity regularizer;
            not needed where none has one.
        state: As for ``model.apply``.
        training: Likewise.
        key: Likewise; with that of the batch's call, the outputs are those of that call.

    Returns:
        A scalar, differentiable in ``params`` and ``inputs``.

    Raises:
        ValueError: If there are no inputs and a layer has an activity regularizer; if a penalty
            is one that the loader does not know.

    Source: ``sum(model.losses)`` of Keras 3 after a call.
    """
    costs = []

    def cost(layer: Layer, own: Any) -> Any:
        for name, function in layer.regularizers:
            for part in _parts(own):
                array = _array(layer, part, name)
                if array is not None:
                    costs.append(_of(layer, function, array))
        return own

    map_params(cost, model, params)
    active = [layer.name for layer in walk(model) if layer.activity_regularizer is not None]
    if active and not inputs:
        raise ValueError(
            f"model {model.name!r}: the outputs of {active[0]!r} cost something, so its penalty "
            "depends on inputs; give those of the batch, as to apply"
        )
    if active:
        with watch_outputs() as found:
            model.apply(params, *inputs, state=state, training=training, key=key)
        costs += [_of(layer, layer.activity_regularizer, output) for layer, output in found]
    return jnp.asarray(sum(costs, 0.0))


def constrain(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters after each constraint has done its projection.

    To be called after each step of an optimiser: ``params = model.constrain(params)``.

    Args:
        model: The model. Weights of layers that are not trainable stay as they are.
        params: Its parameters.

    Raises:
        ValueError: If a constraint is one that the loader does not know.

    Source: what Keras 3 does in ``Optimizer.apply``, ``variable.constraint(variable)``.
    """

    def project(layer: Layer, own: Any) -> Any:
        if isinstance(own, MultiHeadAttentionParams):
            return jax.tree.map(
                functools.partial(project, layer),
                own,
                is_leaf=lambda part: isinstance(part, ProjectionParams),
            )
        for name, function in layer.constraints:
            array = _array(layer, own, name)
            if array is not None:
                own = own._replace(**{name: _of(layer, function, array)})
        return own

    return map_params(project, model, params)


def _parts(own: Any) -> list[Any]:
    """Returns what each array's name stands in: a layer's parameters, or each projection's."""
    several = isinstance(own, MultiHeadAttentionParams)
    return [part for part in own if part is not None] if several else [own]


def _array(layer: Layer, own: Any, name: str) -> jax.Array | None:
    """Returns one of a layer's arrays; None where it has no bias, say."""
    if not hasattr(own, name):
        known = ", ".join(getattr(own, "_fields", ())) or "no names"
        raise ValueError(
            f"layer {layer.name!r}: it has a penalty or constraint for {name!r}, but its "
            f"parameters are {type(own).__name__} with {known}"
        )
    return getattr(own, name)


def _of(layer: Layer, function: Callable[[Any], Any] | None, array: jax.Array) -> Any:
    """Returns ``function(array)``; what is wrong is told with the layer's name."""
    assert function is not None
    try:
        return function(array)
    except ValueError as error:
        raise ValueError(f"layer {layer.name!r}: {error}") from error
