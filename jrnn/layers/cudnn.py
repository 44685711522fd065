"""An LSTM as one call of NVIDIA's cuDNN, through ``jax.experimental.rnn``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jrnn import activations
from jrnn.cells.base import check_type
from jrnn.cells.lstm import LSTMCell, LSTMParams, LSTMState
from jrnn.layers.arguments import check_lengths, check_options, layout
from jrnn.scan import Checkpoint, scan_cell

# By the names of jax_default_matmul_precision: HIGH is TF32, which on a GPU is the default too.
_PRECISIONS = {
    None: jax.lax.Precision.HIGH,
    "default": jax.lax.Precision.HIGH,
    "high": jax.lax.Precision.HIGH,
    "tensorfloat32": jax.lax.Precision.HIGH,
    "highest": jax.lax.Precision.HIGHEST,
    "float32": jax.lax.Precision.HIGHEST,
}


def lstm_cudnn(
    cell: LSTMCell,
    params: LSTMParams,
    xs: Any,
    *,
    initial_state: LSTMState | None = None,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    initial_output: Any = None,
    reverse: bool = False,
    unroll: int = 1,
    time_major: bool = False,
    return_sequences: bool = True,
    return_all_states: bool = False,
    masked_output: str = "zero",
    key: jax.Array | None = None,
    checkpoint: Checkpoint = None,
    dtype: Any = None,
) -> tuple[LSTMState, jax.Array]:
    """Returns what ``jrnn.lstm`` returns, ``(state, ys)``, computed by cuDNN.

    Args and limits are those of ``jrnn.lstm``.

    Raises:
        ValueError: If there is no NVIDIA GPU, or cuDNN cannot do what is asked for.
    """
    check_options(
        unroll,
        masked_output,
        "auto",
        reverse=reverse,
        time_major=time_major,
        return_sequences=return_sequences,
        return_all_states=return_all_states,
    )
    _check_device()
    _check_cell(cell)
    for name, value in (("mask", mask), ("resets", resets), ("initial_output", initial_output)):
        if value is not None:
            hint = "steps after a row's end can be left out by lengths; " if name == "mask" else ""
            raise _error(f"{name} is given", f"{name}=None", hint)
    if return_all_states:
        raise _error("return_all_states is asked for", "return_all_states=False")
    if key is not None:
        raise _error("key is given", "key=None, for it draws no dropout")
    if checkpoint is not None:
        raise _error(
            f"checkpoint is {checkpoint!r}", "checkpoint=None, for cuDNN keeps what it needs"
        )
    if dtype is not None:
        raise _error(f"dtype is {dtype}", "dtype=None, for it computes in float32 alone")
    if unroll != 1:
        raise _error(f"unroll is {unroll}", "unroll=1, for there is no loop")
    if masked_output != "zero":
        raise _error(f"masked_output is {masked_output!r}", "masked_output='zero'")
    precision = _precision()
    check_type("jrnn.lstm", params, LSTMParams)
    params, xs = jax.tree.map(jnp.asarray, (params, xs))
    _, batch, steps = layout(xs, 1, time_major)
    if len(batch) != 1:
        needed = "[T, B, F]" if time_major else "[B, T, F]"
        raise _error(f"xs has batch axes {batch}", f"{needed}, with one of them", "reshape it or ")
    check_lengths(lengths, batch, steps)
    return _lstm(
        params,
        xs,
        initial_state,
        None if lengths is None else jnp.asarray(lengths),
        cell=cell,
        reverse=reverse,
        time_major=time_major,
        return_sequences=return_sequences,
        precision=precision,
    )


@functools.partial(
    jax.jit, static_argnames=("cell", "reverse", "time_major", "return_sequences", "precision")
)
def _lstm(
    params, xs, initial_state, lengths, *, cell, reverse, time_major, return_sequences, precision
):
    from jax.experimental import rnn  # here, for `import jrnn` to load no more than JAX

    start = _initial_state(cell, params, xs, initial_state, time_major)
    xs = jnp.swapaxes(xs, 0, 1) if time_major else xs
    B, T, F = xs.shape
    if lengths is None:
        valid, counts = None, jnp.full(B, T, jnp.int32)
    else:
        valid = jnp.arange(T) < lengths[:, None]
        xs = jnp.where(valid[..., None], xs, 0)
        # cuDNN may refuse a row of length 0: it does one step, of zeros, and is not looked at.
        counts = jnp.maximum(jnp.sum(valid, axis=1, dtype=jnp.int32), 1)
    flip = functools.partial(_flip, counts=None if lengths is None else counts)
    run: Any = rnn.lstm
    ys, hidden, last = run(
        flip(xs) if reverse else xs,
        start.hidden[None],
        start.cell[None],
        _pack(params),
        counts,
        input_size=F,
        hidden_size=start.hidden.shape[-1],
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
        # Named even where it is JAX's default: the backward pass, traced later and perhaps under
        # another default, reads buffers that the forward pass laid out for its own.
        precision=precision,
    )
    state, output = LSTMState(hidden[0], last[0]), hidden[0]
    if valid is not None:
        any_step = valid[:, :1]
        state = jax.tree.map(functools.partial(jnp.where, any_step), state, start)
        output = jnp.where(any_step, output, 0)
        ys = jnp.where(valid[..., None], ys, 0)
    if not return_sequences:
        return state, output
    ys = flip(ys) if reverse else ys
    return state, jnp.swapaxes(ys, 0, 1) if time_major else ys


def _initial_state(cell, params, xs, given, time_major: bool) -> LSTMState:
    """Returns the state [B, U] to start from; checks all arrays on the way."""
    for name, value in {"xs": xs, **params._asdict()}.items():
        for array in jax.tree.leaves(value):
            if array.dtype != jnp.float32:
                raise _error(f"{name} is {array.dtype}", "float32", "convert it or ")
    # The scan, run on shapes alone, checks shapes and says what does not fit.
    run = functools.partial(scan_cell, cell)
    first = jax.tree.map(lambda x: jnp.moveaxis(x, 0 if time_major else -2, 0), xs)
    fresh, _ = jax.eval_shape(run, params, first, initial_state=given)
    sizes = (*xs.shape, fresh.hidden.shape[-1])
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise _error(f"xs has shape {xs.shape} and U is {sizes[-1]}", "known sizes above 0")
    if given is None:
        return jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), fresh)
    return jax.tree.map(
        lambda leaf, like: jnp.broadcast_to(jnp.asarray(leaf, like.dtype), like.shape), given, fresh
    )


def _pack(params: LSTMParams) -> jax.Array:
    """Returns cuDNN's flat weights: W_ih [4U, F], W_hh [4U, U], b_ih [4U], b_hh [4U].

    The gates stand in Keras's order there too; the second bias is zero.
    """
    zeros = jnp.zeros(params.kernel.shape[-1], jnp.float32)
    bias = zeros if params.bias is None else params.bias
    matrices = params.kernel.T.ravel(), params.recurrent_kernel.T.ravel()
    return jnp.concatenate([*matrices, bias, zeros])


def _flip(xs: jax.Array, counts: jax.Array | None) -> jax.Array:
    """Reverses the first ``counts`` steps of each row of [B, T, ...]; of None, all."""
    if counts is None:
        return jnp.flip(xs, axis=1)
    step, last = jnp.arange(xs.shape[1]), counts[:, None] - 1
    source = jnp.where(step <= last, last - step, step)
    rows = jnp.arange(xs.shape[0])[:, None]
    # A permutation: said to be one, so that its gradient needs no atomic additions.
    return xs.at[rows, source].get(mode="promise_in_bounds", unique_indices=True)


def _check_device() -> None:
    if not _finds_cuda():
        raise _error(f"JAX's default backend is {jax.default_backend()!r}", "an NVIDIA GPU")


def _finds_cuda() -> bool:
    if jax.default_backend() != "gpu":
        return False
    from jax.extend.backend import get_backend

    return "cuda" in get_backend().platform_version  # "gpu" is the name of AMD's backend too


def _check_cell(cell: Any) -> None:
    if type(cell) is not LSTMCell:
        raise _error(f"cell is a {type(cell).__name__}", "jrnn.LSTMCell itself")
    if activations.get(cell.activation) not in (activations.tanh, jnp.tanh):
        raise _error(f"cell.activation is {cell.activation!r}", "'tanh'")
    if activations.get(cell.recurrent_activation) not in (activations.sigmoid, jax.nn.sigmoid):
        raise _error(f"cell.recurrent_activation is {cell.recurrent_activation!r}", "'sigmoid'")
    if cell.peephole:
        raise _error("cell.peephole is True", "peephole=False")
    for name in ("projection", "cell_clip", "output_activation"):
        if getattr(cell, name) is not None:
            raise _error(f"cell.{name} is {getattr(cell, name)}", f"{name}=None")


def _precision() -> jax.lax.Precision:
    config: Any = jax.config
    name = config.jax_default_matmul_precision
    if name not in _PRECISIONS:
        known = ", ".join(map(repr, _PRECISIONS))
        raise _error(f"jax_default_matmul_precision is {name!r}", f"one of {known}")
    return _PRECISIONS[name]


def _error(got: str, needed: str, or_else: str = "") -> ValueError:
    return ValueError(
        f"jrnn.lstm: {got}, but implementation='cudnn' needs {needed}; {or_else}use "
        "implementation='auto'"
    )
