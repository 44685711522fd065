"""Flax's own NNX cells and layers as jrnn's, and back."""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from flax import nnx

import jrnn
from jrnn.flax_wrappers.carry import plain_function
from jrnn.flax_wrappers.checks import check_flax_has
from jrnn.flax_wrappers.nnx.cell import RNNCell
from jrnn.flax_wrappers.nnx.rnn import RNN, Bidirectional

_WHO = "jrnn.flax_wrappers.nnx.to_flax"


def from_flax(module: Any) -> Any:
    """Returns jrnn's module for one of Flax NNX, with the same parameters.

    Args:
        module: A ``SimpleCell``, ``GRUCell``, ``LSTMCell`` or ``OptimizedLSTMCell`` of
            ``flax.nnx``, or an ``RNN`` or ``Bidirectional`` over such.

    Raises:
        ValueError: If it is something else, or a ``SimpleCell`` with ``residual``.
    """
    return _once(module, _ours, {})


def _once(module: Any, convert: Callable[[Any, Callable], Any], done: dict[int, Any]) -> Any:
    """Returns a module converted; what stands in two places is converted once."""
    if id(module) not in done:
        done[id(module)] = convert(module, lambda child: _once(child, convert, done))
    return done[id(module)]


def _ours(module: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(module, nnx.Bidirectional):
        return Bidirectional(
            convert(module.forward_rnn),
            convert(module.backward_rnn),
            merge_fn=module.merge_fn,
            time_major=module.time_major,
            return_carry=module.return_carry,
            rngs=_stream(module),
        )
    if isinstance(module, nnx.RNN):
        options: Any = _options(module)
        return RNN(convert(module.cell), rngs=_stream(module), **options)
    read = _READERS.get(type(module))
    if read is None:
        raise _unknown("from_flax", module, (*_READERS, nnx.RNN, nnx.Bidirectional))
    cell, params = read(module)
    return RNNCell(
        cell,
        module.in_features,
        module.hidden_features,
        params=params,
        dtype=module.dtype,
        param_dtype=module.param_dtype,
        carry_init=getattr(module, "carry_init", None),
        metadata=_axis_names(module, params),
    )


def to_flax(module: Any) -> Any:
    """Returns the module of Flax NNX for one of jrnn, with the same parameters.

    Args:
        module: A cell module of a SimpleRNN, a GRU that resets after the product, or an LSTM
            without peepholes, projection and clips; a cell of Flax; or an ``RNN`` or
            ``Bidirectional`` over such.

    Returns:
        ``flax.nnx.SimpleCell``, ``GRUCell``, ``OptimizedLSTMCell``, ``RNN`` or ``Bidirectional``.
        Missing biases are zeros there.

    Raises:
        ValueError: If Flax has no such module; or if a GRU's candidate has a recurrent bias that is
            not zero, which Flax's has no place for. Traced values are not looked at.
    """
    return _once(module, _theirs, {})


def _theirs(module: Any, convert: Callable[[Any], Any]) -> Any:
    if isinstance(module, Bidirectional):
        merge: Any = {} if module.merge_fn is None else {"merge_fn": module.merge_fn}
        return nnx.Bidirectional(
            convert(module.forward_rnn),
            convert(module.backward_rnn),
            time_major=module.time_major,
            return_carry=module.return_carry,
            **merge,
        )
    if isinstance(module, RNN):
        made = nnx.RNN(convert(module.cell), **_options(module))
        if module.carry_rngs is not None:
            made.rngs = nnx.clone(module.carry_rngs)
        return made
    if isinstance(module, nnx.RNNCellBase) and not isinstance(module, RNNCell):
        return module
    write = _WRITERS.get(type(module.cell)) if isinstance(module, RNNCell) else None
    if write is None:
        raise _unknown("to_flax", getattr(module, "cell", module), _WRITERS)
    check_flax_has(_WHO, module.cell)
    return write(module, module.weights())


def _axis_names(module: Any, params: Any) -> dict[str, Any]:
    """Returns the metadata of packed parameters: the axis names of the first gate's."""
    of_input, of_state = (
        getattr(module, name) if hasattr(module, name) else getattr(module, other)
        for name, other in (("dense_i", "ii"), ("dense_h", "hi"))
    )
    bias = of_state.bias if of_input.bias is None else of_input.bias
    sources = {"kernel": of_input.kernel, "recurrent_kernel": of_state.kernel, "bias": bias}
    return {name: _named(source, getattr(params, name).ndim) for name, source in sources.items()}


def _named(variable: nnx.Variable, axes: int) -> dict[str, Any]:
    """Returns the metadata with a variable's axis names, if it has any, for its last axes."""
    names = variable.get_metadata().get("out_sharding")
    if names is None:
        return {}
    return {"out_sharding": ((None,) * axes + tuple(names))[-axes:]}


def _options(module: Any) -> dict[str, Any]:
    names = ("time_major", "return_carry", "reverse", "keep_order", "unroll")
    return {name: getattr(module, name) for name in names}


def _stream(module: Any) -> Any:
    """Returns what a layer of Flax draws first carries from, where that says anything."""
    names = ("forward_rnn", "backward_rnn")
    runs = [getattr(module, name) for name in names if hasattr(module, name)] or [module]
    is_drawn = any(getattr(run.cell, "carry_init", None) is not None for run in runs)
    return False if module.rngs is None or not is_drawn else nnx.clone(module.rngs)


def _unknown(who: str, module: Any, known: Any) -> ValueError:
    names = ", ".join(kind.__name__ for kind in known)
    return ValueError(
        f"jrnn.flax_wrappers.nnx.{who}: got a {type(module).__name__}, but one of these is "
        f"needed: {names}; RNN runs other cells of Flax as they are"
    )


def _read_simple(module: Any) -> tuple[jrnn.Cell, Any]:
    if module.residual:
        raise ValueError(
            "jrnn.flax_wrappers.nnx.from_flax: the SimpleCell has residual=True, but jrnn's has "
            "no such option"
        )
    of_input, of_state = module.dense_i, module.dense_h
    params = jrnn.SimpleRNNParams(of_input.kernel[...], of_state.kernel[...], of_input.bias[...])
    return jrnn.SimpleRNNCell(plain_function(module.activation_fn)), params


def _read_gru(module: Any) -> tuple[jrnn.Cell, Any]:
    of_input, of_state = module.dense_i, module.dense_h
    row = _swapped(of_input.bias[...])
    bias = jnp.stack([row, jnp.zeros_like(row)])
    params = jrnn.GRUParams(_swapped(of_input.kernel[...]), _swapped(of_state.kernel[...]), bias)
    return jrnn.GRUCell(*_functions(module)), params


def _read_optimized_lstm(module: Any) -> tuple[jrnn.Cell, Any]:
    of_input, of_state = module.dense_i, module.dense_h
    params = jrnn.LSTMParams(of_input.kernel[...], of_state.kernel[...], of_state.bias[...])
    return jrnn.LSTMCell(*_functions(module)), params


def _read_lstm(module: Any) -> tuple[jrnn.Cell, Any]:
    of_input = module.ii, module.if_, module.ig, module.io
    of_state = module.hi, module.hf, module.hg, module.ho
    params = jrnn.LSTMParams(
        jnp.concatenate([one.kernel[...] for one in of_input], axis=-1),
        jnp.concatenate([one.kernel[...] for one in of_state], axis=-1),
        jnp.concatenate([one.bias[...] for one in of_state]),
    )
    return jrnn.LSTMCell(*_functions(module)), params


def _functions(module: Any) -> tuple[Any, Any]:
    return plain_function(module.activation_fn), plain_function(module.gate_fn)


_READERS: dict[type, Callable[[Any], tuple[jrnn.Cell, Any]]] = {
    nnx.SimpleCell: _read_simple,
    nnx.GRUCell: _read_gru,
    nnx.LSTMCell: _read_lstm,
    nnx.OptimizedLSTMCell: _read_optimized_lstm,
}


def _write_simple(module: RNNCell, params: jrnn.SimpleRNNParams) -> nnx.Module:
    cell: Any = module.cell
    activation = jrnn.activations.get(cell.activation)
    made = nnx.SimpleCell(activation_fn=activation, **_common(module, params))
    return _filled(made, params.kernel, params.recurrent_kernel, params.bias, made.dense_i)


def _write_gru(module: RNNCell, params: jrnn.GRUParams) -> nnx.Module:
    bias = params.bias
    if bias is not None:
        inner = bias[1, -params.recurrent_kernel.shape[0] :]
        if not isinstance(inner, jax.core.Tracer) and inner.any():
            raise ValueError(
                f"{_WHO}: Flax's GRU resets after the product and has no recurrent bias for the "
                "candidate, but this one has one that is not zero"
            )
        bias = _swapped(bias.sum(0))
    made = nnx.GRUCell(**_both(module), **_common(module, params))
    kernel, recurrent = _swapped(params.kernel), _swapped(params.recurrent_kernel)
    return _filled(made, kernel, recurrent, bias, made.dense_i)


def _write_lstm(module: RNNCell, params: jrnn.LSTMParams) -> nnx.Module:
    made = nnx.OptimizedLSTMCell(**_both(module), **_common(module, params))
    return _filled(made, params.kernel, params.recurrent_kernel, params.bias, made.dense_h)


_WRITERS: dict[type, Callable[[RNNCell, Any], nnx.Module]] = {
    jrnn.SimpleRNNCell: _write_simple,
    jrnn.GRUCell: _write_gru,
    jrnn.LSTMCell: _write_lstm,
}


def _both(module: RNNCell) -> dict[str, Any]:
    get = jrnn.activations.get
    cell: Any = module.cell
    return {"activation_fn": get(cell.activation), "gate_fn": get(cell.recurrent_activation)}


def _common(module: RNNCell, params: Any) -> dict[str, Any]:
    axes = {"kernel": 2, "recurrent_kernel": 2} | ({} if params.bias is None else {"bias": 1})
    variables: Any = module.params
    named = {f"{name}_metadata": _named(getattr(variables, name), n) for name, n in axes.items()}
    return named | {
        "in_features": params.kernel.shape[0],
        "hidden_features": params.recurrent_kernel.shape[0],
        "dtype": module.dtype,
        "param_dtype": params.kernel.dtype,
        "carry_init": module.carry_init,
        "rngs": nnx.Rngs(0),
    }


def _filled(made: Any, kernel, recurrent_kernel, bias, with_bias: Any) -> nnx.Module:
    """Puts arrays in the places of what Flax has drawn; a bias that is missing stays zero."""
    made.dense_i.kernel.set_value(kernel)
    made.dense_h.kernel.set_value(recurrent_kernel)
    if bias is not None:
        with_bias.bias.set_value(bias)
    return made


def _swapped(array: jax.Array) -> jax.Array:
    """Returns z, r, h from Flax's r, z, n, and back."""
    first, second, candidate = jnp.split(array, 3, axis=-1)
    return jnp.concatenate([second, first, candidate], axis=-1)
