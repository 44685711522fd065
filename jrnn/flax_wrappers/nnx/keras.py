"""A loaded Keras model as a module that trains."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jrnn
from jrnn.flax_wrappers.nnx.rnn import dropout_stream
from jrnn.model import Model
from jrnn.model.batch_normalization import BatchNormalizationParams, MovingStatistics
from jrnn.model.layer import Layer
from jrnn.model.walk import map_params


class Frozen(nnx.Variable):
    """An array that training leaves as it is."""


class KerasModel(nnx.Module):
    """A model of ``jrnn.load_keras`` with its parameters.

    What training may change is an ``nnx.Param``; the moving statistics of BatchNormalization are
    ``nnx.BatchStat`` and moved by calls in training; what the file says is not trainable, and
    integers, are ``Frozen``. ``module.params`` has the names of ``jrnn.load_keras``.

    As in Keras a call is one of inference, unless ``module.train()`` has been called;
    ``module.eval()`` goes back.

    Args:
        model: The model.
        params: Its parameters.
        rngs: Draws dropout and noise, from the stream ``dropout``.

    Source: ``keras.Model``.
    """

    def __init__(self, model: Model, params: Mapping[str, Any], *, rngs: nnx.Rngs | None = None):
        self.model = model
        self.params = nnx.data(_as_variables(model, params))
        self.deterministic = True
        self.rngs = nnx.data(dropout_stream(rngs))

    def weights(self) -> dict[str, Any]:
        """Returns the parameters as ``jrnn.load_keras`` returns them, for ``model.apply``."""
        return jax.tree.map(lambda leaf: leaf[...], self.params, is_leaf=_is_variable)

    def __call__(
        self,
        *inputs: Any,
        state: Mapping[str, Any] | None = None,
        return_state: bool = False,
        rngs: nnx.Rngs | nnx.RngStream | None = None,
    ) -> Any:
        """Returns what ``model.apply`` does.

        Args:
            *inputs: As for ``model.apply``.
            state: Of stateful layers, as the last call returned it.
            return_state: Whether to return ``(state, outputs)``.
            rngs: Draws dropout and noise in the place of the module's own.

        Raises:
            ValueError: If the inputs do not fit, or training draws and there are no ``rngs``.
        """
        stream = self.rngs if rngs is None else dropout_stream(rngs)
        options: dict[str, Any] = {}
        if not self.deterministic:
            options = {"training": True, "key": None if stream is None else stream()}
        new, outputs = self.model.apply(
            self.weights(), *inputs, state=state, return_state=True, **options
        )
        kept = _move(self.params, new) if not self.deterministic else new
        return (kept, outputs) if return_state else outputs

    def penalty(self, *inputs: Any, **options: Any) -> jax.Array:
        """Returns what regularizers add to the loss: ``model.penalty``."""
        return self.model.penalty(self.weights(), *inputs, **options)

    def constrain(self) -> None:
        """Brings the parameters within their constraints, as Keras does after each step."""
        new = self.model.constrain(self.weights())
        pairs = zip(_leaves(self.params), jax.tree.leaves(new), strict=True)
        for variable, value in pairs:
            if isinstance(variable, nnx.Param):
                variable.set_value(value)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a Keras file: ``jrnn.save_keras``."""
        jrnn.save_keras(path, self.model, self.weights())


def from_keras(path: Any, *args: Any, rngs: nnx.Rngs | None = None, **options: Any) -> KerasModel:
    """Returns ``KerasModel(*jrnn.load_keras(path, ...), rngs=rngs)``.

    Args:
        path: A Keras file.
        *args: As for ``jrnn.load_keras``.
        rngs: As for ``KerasModel``.
        **options: As for ``jrnn.load_keras``.

    Raises:
        KerasFileError: If the file cannot be loaded.
        ValueError: As ``jrnn.load_keras``.
    """
    return KerasModel(*jrnn.load_keras(path, *args, **options), rngs=rngs)


def _as_variables(model: Model, params: Mapping[str, Any]) -> Any:
    def trainable(layer: Layer, own: Any) -> Any:
        if isinstance(own, BatchNormalizationParams):
            learned = jax.tree.map(nnx.Param, own._replace(moving_mean=None, moving_variance=None))
            mean, variance = nnx.BatchStat(own.moving_mean), nnx.BatchStat(own.moving_variance)
            return learned._replace(moving_mean=mean, moving_variance=variance)
        return jax.tree.map(_param, own)

    owned = map_params(trainable, model, dict(params))
    return jax.tree.map(
        lambda leaf: leaf if _is_variable(leaf) else Frozen(leaf), owned, is_leaf=_is_variable
    )


def _param(array: jax.Array) -> nnx.Variable:
    kind = nnx.Param if jnp.issubdtype(array.dtype, jnp.floating) else Frozen
    return kind(array)


def _move(params: Any, state: Any) -> Any:
    """Sets the moving statistics that a state holds, and returns what else it holds."""
    if isinstance(state, MovingStatistics) and isinstance(params, BatchNormalizationParams):
        statistics: Any = params
        statistics.moving_mean.set_value(state.mean)
        statistics.moving_variance.set_value(state.variance)
        return None
    if not isinstance(state, Mapping):
        return state
    rest = {name: _move(params.get(name) if params else None, own) for name, own in state.items()}
    return {name: own for name, own in rest.items() if own is not None}


def _leaves(params: Any) -> list[Any]:
    return jax.tree.leaves(params, is_leaf=_is_variable)


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)
