"""A loaded Keras model as a module that trains."""

import os
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

import jrnn
from jrnn.flax_wrappers.keras_params import FROZEN, MOVED, TRAINED, kinds, moved
from jrnn.flax_wrappers.nnx.rnn import dropout_stream
from jrnn.model import Model


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
        variables = jax.tree.map(
            lambda kind, leaf: _VARIABLES[kind](leaf), kinds(model, params), dict(params)
        )
        self.params = nnx.data(variables)
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
        weights = self.weights()
        new, outputs = self.model.apply(weights, *inputs, state=state, return_state=True, **options)
        if not self.deterministic:
            weights, new = moved(weights, new)
            self._set(weights, nnx.BatchStat)
        return (new, outputs) if return_state else outputs

    def penalty(self, *inputs: Any, **options: Any) -> jax.Array:
        """Returns what regularizers add to the loss: ``model.penalty``."""
        return self.model.penalty(self.weights(), *inputs, **options)

    def constrain(self) -> None:
        """Brings the parameters within their constraints, as Keras does after each step."""
        self._set(self.model.constrain(self.weights()), nnx.Param)

    def _set(self, weights: Any, kind: type[nnx.Variable]) -> None:
        """Gives the variables of a kind new values."""
        variables = jax.tree.leaves(self.params, is_leaf=_is_variable)
        for variable, value in zip(variables, jax.tree.leaves(weights), strict=True):
            if isinstance(variable, kind):
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


_VARIABLES = {TRAINED: nnx.Param, MOVED: nnx.BatchStat, FROZEN: Frozen}


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)
