"""A loaded Keras model as a Linen module that trains."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn

import jrnn
from jrnn.flax_wrappers.keras_params import FROZEN, MOVED, TRAINED, kinds, moved
from jrnn.model import Model


class KerasModel(nn.Module):
    """A model of ``jrnn.load_keras``.

    What training may change is in the collection "params", the moving statistics of
    BatchNormalization are in "batch_stats" (make it mutable in training), and what the file says
    is not trainable, and integers, in "frozen". Each holds the tree of ``jrnn.load_keras`` under
    "model", with None for what is elsewhere.

    Attributes:
        model: The model.
        start: Its parameters, which ``init`` returns.

    Source: ``keras.Model``.
    """

    model: Model
    start: Any

    @nn.compact
    def __call__(
        self,
        *inputs: Any,
        training: bool = False,
        state: Mapping[str, Any] | None = None,
        return_state: bool = False,
    ) -> Any:
        """Returns what ``model.apply`` does; in training it draws from ``dropout``, if given.

        Args:
            *inputs: As for ``model.apply``.
            training: Whether dropout and noise act, and statistics are the batch's.
            state: Of stateful layers, as the last call returned it.
            return_state: Whether to return ``(state, outputs)``.

        Raises:
            ValueError: If the inputs do not fit, or training draws and there is no ``dropout``.
        """
        parts = _parts(self.model, self.start)
        trained = self.param("model", lambda key: parts[TRAINED])
        statistics = self.variable("batch_stats", "model", lambda: parts[MOVED])
        frozen = self.variable("frozen", "model", lambda: parts[FROZEN])
        params = _joined(trained, statistics.value, frozen.value)
        options: dict[str, Any] = {}
        if training:
            key = self.make_rng("dropout") if self.has_rng("dropout") else None
            options = {"training": True, "key": key}
        new, outputs = self.model.apply(params, *inputs, state=state, return_state=True, **options)
        if training:
            params, new = moved(params, new)
            if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
                statistics.value = _parts(self.model, params)[MOVED]
        return (new, outputs) if return_state else outputs


def from_keras(path: Any, *args: Any, **options: Any) -> tuple[KerasModel, dict[str, Any]]:
    """Returns a ``KerasModel`` for ``jrnn.load_keras(path, ...)``, and its variables.

    Args:
        path: A Keras file.
        *args: As for ``jrnn.load_keras``.
        **options: As for ``jrnn.load_keras``.

    Raises:
        KerasFileError: If the file cannot be loaded.
        ValueError: As ``jrnn.load_keras``.
    """
    return of_model(*jrnn.load_keras(path, *args, **options))


def of_model(model: Model, params: Mapping[str, Any]) -> tuple[KerasModel, dict[str, Any]]:
    """Returns a ``KerasModel`` and its variables."""
    parts = _parts(model, params)
    names = {"params": TRAINED, "batch_stats": MOVED, "frozen": FROZEN}
    return KerasModel(model, params), {name: {"model": parts[part]} for name, part in names.items()}


def to_params(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters as ``jrnn.load_keras`` returns them, from a module's variables."""
    names = ("params", "batch_stats", "frozen")
    return _joined(*(variables[name]["model"] for name in names))


def _parts(model: Model, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns, for each kind, the tree of parameters with None for those of another kind."""
    tree, plain = kinds(model, params), dict(params)

    def part(wanted: str) -> Any:
        return jax.tree.map(lambda kind, leaf: leaf if kind == wanted else None, tree, plain)

    return {kind: part(kind) for kind in (TRAINED, MOVED, FROZEN)}


def _joined(*parts: Any) -> Any:
    def present(*leaves: Any) -> Any:
        return next((leaf for leaf in leaves if leaf is not None), None)

    return jax.tree.map(present, *parts, is_leaf=lambda leaf: leaf is None)
