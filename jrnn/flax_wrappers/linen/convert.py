"""Flax's own Linen layers, with their variables, as jrnn's, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jrnn import activations
from jrnn.flax_wrappers.linen import cells
from jrnn.flax_wrappers.linen.rnn import RNN, Bidirectional

Params = Mapping[str, Any]

_LOOP = ("time_major", "return_carry", "reverse", "keep_order", "unroll")
_WORDS = ("features", "activation_fn", "gate_fn", "dtype", "param_dtype", "carry_init")


def from_flax(module: nn.Module, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    """Returns jrnn's module and parameters for those of one of Flax Linen.

    Args:
        module: A ``SimpleCell``, ``GRUCell``, ``LSTMCell`` or ``OptimizedLSTMCell`` of
            ``flax.linen``, or an ``RNN`` or ``Bidirectional`` over such.
        params: Its parameters: ``variables["params"]``.

    Raises:
        ValueError: If the module is something else, or a ``SimpleCell`` with ``residual``.
    """
    return _converted("from_flax", _READERS, (nn.RNN, nn.Bidirectional), (RNN, Bidirectional))(
        module, params
    )


def to_flax(module: nn.Module, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    """Returns the module and parameters of Flax Linen for those of one of jrnn.

    Missing biases become zeros. An LSTM becomes an ``OptimizedLSTMCell``.

    Args:
        module: A ``SimpleCell``, a ``GRUCell`` that resets after the product, or an ``LSTMCell``
            without peepholes, projection and clip; or an ``RNN`` or ``Bidirectional`` over such.
        params: Its parameters: ``variables["params"]``.

    Raises:
        ValueError: If Flax has no such module.
    """
    return _converted("to_flax", _WRITERS, (RNN, Bidirectional), (nn.RNN, nn.Bidirectional))(
        module, params
    )


def _converted(who: str, of_cells: Mapping[type, Callable], given: Any, wanted: Any) -> Callable:
    """Returns the function of module and parameters that turns the given kinds into others."""

    def convert(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
        if isinstance(module, given[1]):
            names = ("forward_rnn", "backward_rnn")
            both = {name: convert(getattr(module, name), params[name]) for name in names}
            options: dict[str, Any] = {name: both[name][0] for name in names}
            options |= {name: getattr(module, name) for name in _LOOP[:2]}
            if module.merge_fn is not None:
                options["merge_fn"] = module.merge_fn
            return wanted[1](**options), {name: both[name][1] for name in names}
        if isinstance(module, given[0]):
            cell, own = convert(module.cell, params["cell"])
            return wanted[0](cell, **{name: getattr(module, name) for name in _LOOP}), {"cell": own}
        if type(module) not in of_cells:
            known = ", ".join(kind.__name__ for kind in (*of_cells, *given))
            raise ValueError(
                f"jrnn.flax_wrappers.linen.{who}: got a {type(module).__name__}, but one of these "
                f"is needed: {known}"
            )
        return of_cells[type(module)](module, params)

    return convert


def _read_simple(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    if module.residual:
        raise ValueError(
            "jrnn.flax_wrappers.linen.from_flax: the SimpleCell has residual=True, but jrnn's has "
            "no such option"
        )
    own = {
        "kernel": params["i"]["kernel"],
        "recurrent_kernel": params["h"]["kernel"],
        "bias": params["i"]["bias"],
    }
    return cells.SimpleCell(**_words(module)), own


def _read_gru(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    inner = params["hn"]["bias"]
    row = jnp.concatenate([jnp.zeros(2 * len(inner), inner.dtype), inner])
    own = {
        "kernel": _packed(params, "i", "zrn", "kernel"),
        "recurrent_kernel": _packed(params, "h", "zrn", "kernel"),
        "bias": jnp.stack([_packed(params, "i", "zrn", "bias"), row]),
    }
    return cells.GRUCell(**_words(module)), own


def _read_lstm(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    own = {
        "kernel": _packed(params, "i", "ifgo", "kernel"),
        "recurrent_kernel": _packed(params, "h", "ifgo", "kernel"),
        "bias": _packed(params, "h", "ifgo", "bias"),
    }
    return cells.LSTMCell(**_words(module)), own


_READERS = {
    nn.SimpleCell: _read_simple,
    nn.GRUCell: _read_gru,
    nn.LSTMCell: _read_lstm,
    nn.OptimizedLSTMCell: _read_lstm,
}


def _write_simple(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    kernel = params["kernel"]
    bias = params.get("bias", jnp.zeros(kernel.shape[-1], kernel.dtype))
    own = {"i": {"kernel": kernel, "bias": bias}, "h": {"kernel": params["recurrent_kernel"]}}
    return nn.SimpleCell(**_words(module)), own


def _write_gru(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    if not module.reset_after:
        raise ValueError(
            "jrnn.flax_wrappers.linen.to_flax: Flax's GRU resets after the product, but this one "
            "before it"
        )
    kernel = params["kernel"]
    outer, inner = params.get("bias", jnp.zeros((2, kernel.shape[-1]), kernel.dtype))
    split = 2 * kernel.shape[-1] // 3
    of_input = _gates("i", "zrn", kernel, outer.at[:split].add(inner[:split]))
    of_state = _gates("h", "zrn", params["recurrent_kernel"])
    of_state["hn"]["bias"] = inner[split:]
    return nn.GRUCell(**_words(module)), of_input | of_state


def _write_lstm(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    if module.peephole or module.projection or module.cell_clip:
        raise ValueError(
            "jrnn.flax_wrappers.linen.to_flax: Flax's LSTM has no peepholes, projection and clip, "
            f"but this one is {module.plain}"
        )
    kernel = params["kernel"]
    bias = params.get("bias", jnp.zeros(kernel.shape[-1], kernel.dtype))
    own = _gates("i", "ifgo", kernel) | _gates("h", "ifgo", params["recurrent_kernel"], bias)
    return nn.OptimizedLSTMCell(**_words(module)), own


_WRITERS = {
    cells.SimpleCell: _write_simple,
    cells.GRUCell: _write_gru,
    cells.LSTMCell: _write_lstm,
}


def _words(module: Any) -> dict[str, Any]:
    """Returns the attributes that both cells have, functions in place of names."""
    given = {name: getattr(module, name) for name in _WORDS if hasattr(module, name)}
    functions = ("activation_fn", "gate_fn")
    return given | {name: activations.get(given[name]) for name in functions if name in given}


def _packed(params: Params, side: str, gates: str, field: str) -> jax.Array:
    return jnp.concatenate([params[side + gate][field] for gate in gates], axis=-1)


def _gates(side: str, gates: str, kernel: jax.Array, bias: jax.Array | None = None) -> dict:
    """Returns a kernel, and a bias if there is one, for each gate."""
    found = {
        side + gate: {"kernel": block}
        for gate, block in zip(gates, jnp.split(kernel, len(gates), axis=-1), strict=True)
    }
    if bias is not None:
        for gate, block in zip(gates, jnp.split(bias, len(gates)), strict=True):
            found[side + gate]["bias"] = block
    return found
