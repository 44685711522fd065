"""Flax's own Linen layers, with their variables, as jrnn's, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.recurrent import RNNCellBase

import jrnn
from jrnn import activations
from jrnn.flax_wrappers.checks import check_flax_has
from jrnn.flax_wrappers.linen import cells
from jrnn.flax_wrappers.linen.axis_names import with_axis_names
from jrnn.flax_wrappers.linen.cell import CellModule
from jrnn.flax_wrappers.linen.gates import added_to_forget, in_order, of_each, packed
from jrnn.flax_wrappers.linen.rnn import RNN, Bidirectional

Params = Mapping[str, Any]

_WAYS = ("forward_rnn", "backward_rnn")
_LOOP = ("time_major", "return_carry", "reverse", "keep_order", "unroll")
_WORDS = ("features", "activation_fn", "gate_fn", "dtype", "param_dtype", "carry_init")


def from_flax(module: nn.Module, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    """Returns jrnn's module and parameters for those of one of Flax Linen.

    Args:
        module: A ``SimpleCell``, ``GRUCell``, ``LSTMCell``, ``OptimizedLSTMCell`` or
            ``ConvLSTMCell`` of ``flax.linen``, or an ``RNN`` or ``Bidirectional`` over such.
        params: Its parameters: ``variables["params"]``.

    Flax's ConvLSTM has two biases, or none, and adds one to the forget gate: jrnn's has their sum.

    Raises:
        ValueError: If the module is something else, a ``SimpleCell`` with ``residual``, or a
            ``ConvLSTMCell`` whose state changes its size; or parameters are missing.
    """
    return _converted("from_flax", _reader, (nn.RNN, nn.Bidirectional), (RNN, Bidirectional))(
        module, params
    )


def to_flax(module: nn.Module, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    """Returns the module and parameters of Flax Linen for those of one of jrnn.

    Missing biases become zeros. An LSTM becomes an ``OptimizedLSTMCell``.

    Args:
        module: A ``SimpleCell``, a ``GRUCell`` that resets after the product, an ``LSTMCell``
            without peepholes, projection and clip, or a ``ConvLSTMCell`` with tanh, sigmoid and
            padding "SAME"; an ``RNNCell`` of such; a cell of Flax; or an ``RNN`` or
            ``Bidirectional`` over such.
        params: Its parameters: ``variables["params"]``.

    Raises:
        ValueError: If Flax has no such module, or parameters are missing.
    """
    return _converted("to_flax", _writer, (RNN, Bidirectional), (nn.RNN, nn.Bidirectional))(
        module, params
    )


def _converted(who: str, of_cell: Callable, given: Any, wanted: Any) -> Callable:
    """Returns the function of module and parameters that turns the given kinds into others."""
    who = f"jrnn.flax_wrappers.linen.{who}"

    def convert(module: Any, params: Params, done: dict) -> tuple[nn.Module, dict[str, Any]]:
        """What is shared has its parameters where it stands first, as Linen does."""
        if id(module) in done:
            return done[id(module)], {}
        children = {}

        def child(name: str) -> nn.Module:
            made, own = convert(getattr(module, name), params.get(name, {}), done)
            if own:
                children[name] = own
            return made

        if isinstance(module, given[1]):
            options: dict[str, Any] = {
                name: child(name) for name in ("forward_rnn", "backward_rnn")
            }
            options |= {name: getattr(module, name) for name in _LOOP[:2]}
            if module.merge_fn is not None:
                options["merge_fn"] = module.merge_fn
            made = wanted[1](**options)
        elif isinstance(module, given[0]):
            made = wanted[0](child("cell"), **{name: getattr(module, name) for name in _LOOP})
        else:
            made, own = of_cell(who, module)(module, nn.meta.unbox(params))
            children = with_axis_names(own, params)
        done[id(module)] = made
        return made, children

    def checked(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
        try:
            return convert(module, params, {})
        except KeyError as error:
            raise ValueError(
                f"{who}: the parameters of the {type(module).__name__} lack {error}; give "
                'variables["params"] of this module'
            ) from error

    return checked


def _reader(who: str, module: Any) -> Callable:
    if type(module) in _READERS:
        return _READERS[type(module)]
    raise _unknown(who, module, (*_READERS, nn.RNN, nn.Bidirectional))


def _writer(who: str, module: Any) -> Callable:
    if isinstance(module, RNNCellBase) and not isinstance(module, CellModule):
        return lambda module, params: (module, dict(params))
    cell = module.plain if isinstance(module, CellModule) else module
    if type(cell) not in _WRITERS:
        raise _unknown(who, cell, (*_WRITERS, RNN, Bidirectional))
    check_flax_has(who, cell)
    return _WRITERS[type(cell)]


def _unknown(who: str, module: Any, known: Any) -> ValueError:
    names = ", ".join(kind.__name__ for kind in known)
    return ValueError(
        f"{who}: got a {type(module).__name__}, but one of these is needed: {names}; RNN runs "
        "other cells of Flax as they are"
    )


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
        "kernel": packed(params, "i", "zrn", "kernel"),
        "recurrent_kernel": packed(params, "h", "zrn", "kernel"),
        "bias": jnp.stack([packed(params, "i", "zrn", "bias"), row]),
    }
    return cells.GRUCell(**_words(module)), own


def _read_lstm(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    own = {
        "kernel": packed(params, "i", "ifgo", "kernel"),
        "recurrent_kernel": packed(params, "h", "ifgo", "kernel"),
        "bias": packed(params, "h", "ifgo", "bias"),
    }
    return cells.LSTMCell(**_words(module)), own


_READERS = {
    nn.SimpleCell: _read_simple,
    nn.GRUCell: _read_gru,
    nn.LSTMCell: _read_lstm,
    nn.OptimizedLSTMCell: _read_lstm,
}


def _read_conv_lstm(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    _check_images(module)
    of_input, of_state = params["ih"], params["hh"]
    kernel = in_order(of_input["kernel"], "igfo", "ifgo")
    bias = jnp.zeros(kernel.shape[-1], kernel.dtype)
    if module.use_bias:
        bias = of_input["bias"] + of_state["bias"]
    own = {
        "kernel": kernel,
        "recurrent_kernel": in_order(of_state["kernel"], "igfo", "ifgo"),
        "bias": added_to_forget(in_order(bias, "igfo", "ifgo"), 1),
    }
    return cells.ConvLSTMCell(kernel_size=module.kernel_size, **_words(module)), own


def _check_images(module: nn.ConvLSTMCell) -> None:
    """Raises ``ValueError`` unless the state keeps its size, by the padding that "SAME" is."""
    given, sizes = module.padding, tuple(module.kernel_size)
    before = [(size - 1) // 2 for size in sizes]
    same = [(low, size - 1 - low) for low, size in zip(before, sizes, strict=True)]
    if isinstance(given, str):
        fits = given.upper() == "SAME" or (given.upper() == "VALID" and set(sizes) == {1})
    else:
        pairs = [given] * len(sizes) if isinstance(given, int) else given
        fits = [(pad, pad) if isinstance(pad, int) else tuple(pad) for pad in pairs] == same
    strides: Any = module.strides or 1
    if not fits or ({strides} if isinstance(strides, int) else set(strides)) != {1}:
        raise ValueError(
            f"jrnn.flax_wrappers.linen.from_flax: the ConvLSTMCell has padding={given!r} and "
            f"strides={module.strides}, under which its state changes its size, or wraps; "
            "padding='SAME' and strides of 1 are needed"
        )


_READERS = {
    nn.SimpleCell: _read_simple,
    nn.GRUCell: _read_gru,
    nn.LSTMCell: _read_lstm,
    nn.OptimizedLSTMCell: _read_lstm,
    nn.ConvLSTMCell: _read_conv_lstm,
}


def _write_simple(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    kernel = params["kernel"]
    bias = params.get("bias", jnp.zeros(kernel.shape[-1], kernel.dtype))
    own = {"i": {"kernel": kernel, "bias": bias}, "h": {"kernel": params["recurrent_kernel"]}}
    return nn.SimpleCell(**_flax_words(module)), own


def _write_gru(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    kernel = params["kernel"]
    outer, inner = params.get("bias", jnp.zeros((2, kernel.shape[-1]), kernel.dtype))
    split = 2 * kernel.shape[-1] // 3
    of_input = of_each("i", "zrn", kernel, outer.at[:split].add(inner[:split]))
    of_state = of_each("h", "zrn", params["recurrent_kernel"])
    of_state["hn"]["bias"] = inner[split:]
    return nn.GRUCell(**_flax_words(module)), of_input | of_state


def _write_lstm(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    kernel = params["kernel"]
    bias = params.get("bias", jnp.zeros(kernel.shape[-1], kernel.dtype))
    own = of_each("i", "ifgo", kernel) | of_each("h", "ifgo", params["recurrent_kernel"], bias)
    return nn.OptimizedLSTMCell(**_flax_words(module)), own


def _write_conv_lstm(module: Any, params: Params) -> tuple[nn.Module, dict[str, Any]]:
    kernel, recurrent = params["kernel"], params["recurrent_kernel"]
    bias = params.get("bias", jnp.zeros(kernel.shape[-1], kernel.dtype))
    own = {
        "ih": {
            "kernel": in_order(kernel, "ifgo", "igfo"),
            "bias": in_order(added_to_forget(bias, -1), "ifgo", "igfo"),
        },
        "hh": {"kernel": in_order(recurrent, "ifgo", "igfo"), "bias": jnp.zeros_like(bias)},
    }
    words = {name: value for name, value in _flax_words(module).items() if not name.endswith("_fn")}
    return nn.ConvLSTMCell(kernel_size=module.plain.sizes("kernel_size"), **words), own


_WRITERS = {
    jrnn.SimpleRNNCell: _write_simple,
    jrnn.GRUCell: _write_gru,
    jrnn.LSTMCell: _write_lstm,
    jrnn.ConvLSTMCell: _write_conv_lstm,
}


def _words(module: Any) -> dict[str, Any]:
    """Returns the attributes of one of Flax's cells that jrnn's has, too."""
    return {name: getattr(module, name) for name in _WORDS if hasattr(module, name)}


def _flax_words(module: CellModule) -> dict[str, Any]:
    """Returns the attributes for Flax's cell, functions in place of names."""
    plain, get = module.plain, activations.get
    words = {
        "features": module.features,
        "activation_fn": get(plain.activation),
        "dtype": module.dtype,
        "param_dtype": module.param_dtype or jnp.float32,
        "carry_init": module.carry_init or nn.initializers.zeros,
    }
    if hasattr(plain, "recurrent_activation"):
        words["gate_fn"] = get(plain.recurrent_activation)
    return words
