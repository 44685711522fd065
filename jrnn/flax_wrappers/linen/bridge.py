"""jrnn's NNX modules as its Linen modules with their variables, and back."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from flax import nnx as flax_nnx

from jrnn.flax_wrappers import nnx
from jrnn.flax_wrappers.linen.cell import CellModule, RNNCell, is_flat
from jrnn.flax_wrappers.linen.keras import KerasModel, of_model, to_params
from jrnn.flax_wrappers.linen.rnn import RNN, Bidirectional, StackedRNN
from jrnn.flax_wrappers.nnx.layers import LOOP_OPTIONS

_LOOP = (*LOOP_OPTIONS, "deterministic")
_WAYS = ("forward_rnn", "backward_rnn")


def from_nnx(model: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Returns the Linen module and variables for a module of ``jrnn.flax_wrappers.nnx``.

    Both hold the same arrays under the same names, those of jrnn, and compute the same. Names of
    axes become ``nn.Partitioned``, and what stands in two places is shared in Linen, too. Streams
    of random numbers stay behind: Linen is given its own at each call, also for a ``carry_init``.

    Args:
        model: A cell, an ``RNN``, a layer by name, a ``Bidirectional``, a ``StackedRNN`` or a
            ``KerasModel``. A cell becomes an ``RNNCell``.

    Raises:
        ValueError: If it is or holds something else.
    """
    if isinstance(model, nnx.KerasModel):
        return of_model(model.model, model.weights())
    module, params = _to_linen(model, {})
    return module, {"params": params}


def to_nnx(
    module: nn.Module, variables: Mapping[str, Any], *, rngs: flax_nnx.Rngs | None = None
) -> Any:
    """Returns the module of ``jrnn.flax_wrappers.nnx`` for one of Linen with its variables.

    Args:
        module: One of those ``from_nnx`` returns, or over cells by name.
        variables: As ``module.init`` returns them.
        rngs: Draws dropout, from the stream ``dropout``, for ``StackedRNN``, cells with dropout and
            a ``KerasModel`` in training; and first carries, as for ``RNN``.

    Raises:
        ValueError: If the module is or holds something else, or variables are missing.
    """
    if isinstance(module, KerasModel):
        return nnx.KerasModel(module.model, to_params(variables), rngs=rngs)
    if "params" not in variables:
        raise ValueError(
            f"jrnn.flax_wrappers.linen.to_nnx: the variables are {sorted(variables)}, but there is "
            "no 'params'; give what module.init returns"
        )
    return _to_nnx(module, variables["params"], rngs, {})


def _to_linen(model: Any, done: dict[int, nn.Module]) -> tuple[nn.Module, dict[str, Any]]:
    """Returns the Linen module and its parameters: none for what is shared and already done."""
    if id(model) in done:
        return done[id(model)], {}
    children: dict[str, Any] = {}
    module: nn.Module
    options: dict[str, Any]

    def child(name: str, own: Any) -> nn.Module:
        module, params = _to_linen(own, done)
        if params:
            children[name] = params
        return module

    if isinstance(model, nnx.RNNCell):
        module = RNNCell(
            model.cell,
            _units(model),
            dtype=model.dtype,
            param_dtype=model.param_dtype,
            carry_init=model.carry_init,
        )
        children = _named(jax.tree.map(_boxed, model.params, is_leaf=_is_variable))
    elif isinstance(model, nnx.RNN):
        options = {name: getattr(model, name) for name in _LOOP}
        module = RNN(child("cell", model.cell), **options)
    elif isinstance(model, nnx.Bidirectional):
        both: Any = [child(way, getattr(model, way)) for way in _WAYS]
        options = {name: getattr(model, name) for name in ("merge_fn", *_LOOP[:2])}
        module = Bidirectional(*both, **options)
    elif isinstance(model, nnx.StackedRNN):
        layers = [child(f"layers_{k}", layer) for k, layer in enumerate(model.layers)]
        module = StackedRNN(
            layers,
            model.dropout.rate,
            deterministic=bool(model.dropout.deterministic),
            return_carry=model.return_carry,
        )
    else:
        raise _unknown("from_nnx", model)
    done[id(model)] = module
    return module, children


def _to_nnx(module: Any, params: Any, rngs: flax_nnx.Rngs | None, done: dict[int, Any]) -> Any:
    """Returns the NNX module; what is shared has its parameters where it stands first."""
    if id(module) in done:
        return done[id(module)]

    def child(name: str, own: Any) -> Any:
        return _to_nnx(own, params.get(name, {}), rngs, done)

    if isinstance(module, CellModule):
        made: Any = _cell(module, params)
    elif isinstance(module, RNN):
        options = {name: getattr(module, name) for name in _LOOP[:-1]}
        made = nnx.RNN(child("cell", module.cell), rngs=True if rngs is None else rngs, **options)
        made.deterministic = module.deterministic
    elif isinstance(module, Bidirectional):
        both: Any = [child(way, getattr(module, way)) for way in _WAYS]
        options = {name: getattr(module, name) for name in ("merge_fn", *_LOOP[:2])}
        made = nnx.Bidirectional(*both, **options)
    elif isinstance(module, StackedRNN):
        layers = [child(f"layers_{k}", layer) for k, layer in enumerate(module.layers)]
        made = nnx.StackedRNN(
            layers, dropout=module.dropout, return_carry=module.return_carry, rngs=rngs
        )
        made.dropout.deterministic = module.deterministic
    else:
        raise _unknown("to_nnx", module)
    done[id(module)] = made
    return made


def _cell(module: CellModule, params: Any) -> nnx.RNNCell:
    init = module.carry_init
    if init is nn.initializers.zeros and not isinstance(module, RNNCell):
        init = None  # as the cell starts anyway
    tree = module.arrays(params)
    plain = nn.meta.unbox(tree)
    kernel = getattr(plain, "kernel", None) if is_flat(plain) else None
    features = None if kernel is None else kernel.shape[-2]
    made = nnx.RNNCell(
        module.plain,
        features,
        module.features,
        params=plain,
        dtype=module.dtype,
        param_dtype=module.param_dtype,
        carry_init=init,
    )
    made.params = flax_nnx.data(jax.tree.map(_unboxed, tree, is_leaf=_is_box))
    return made


def _named(params: Any) -> dict[str, Any]:
    """Returns parameters under the names that a ``CellModule`` gives its variables."""
    if not is_flat(params):
        return {"cell": params}
    return {name: value for name, value in params._asdict().items() if value is not None}


def _units(model: nnx.RNNCell) -> Any:
    if model.hidden_features is None:
        raise ValueError(
            "jrnn.flax_wrappers.linen.from_nnx: a cell was made of params alone, but Linen needs "
            "its size; give it hidden_features, too"
        )
    return model.hidden_features


def _boxed(variable: flax_nnx.Variable) -> Any:
    names = variable.get_metadata().get("out_sharding")
    return variable[...] if names is None else nn.Partitioned(variable[...], tuple(names))


def _unboxed(leaf: Any) -> flax_nnx.Param:
    if isinstance(leaf, nn.Partitioned):
        return flax_nnx.Param(leaf.value, out_sharding=leaf.names)
    return flax_nnx.Param(nn.meta.unbox(leaf))


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, flax_nnx.Variable)


def _is_box(leaf: Any) -> bool:
    return isinstance(leaf, nn.meta.AxisMetadata)


def _unknown(who: str, module: Any) -> ValueError:
    return ValueError(
        f"jrnn.flax_wrappers.linen.{who}: got a {type(module).__name__}, but one of jrnn's cells, "
        "RNN, Bidirectional, StackedRNN or KerasModel is needed; for a module of your own that "
        "holds such use flax.nnx.bridge"
    )
