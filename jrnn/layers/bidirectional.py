"""Two directions over the same sequence."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jrnn.cells.base import Cell
from jrnn.cells.lstm import LSTMCell, LSTMParams
from jrnn.cells.noise import draws
from jrnn.layers.arguments import check_key
from jrnn.layers.recurrent import TimeOptions, rnn, run_loop
from jrnn.scan import directions_share_loop, scan_both


class BidirectionalParams(NamedTuple):
    """Parameters of the cell that goes forward and of the one that goes backward."""

    forward: Any  # such as LSTMParams
    backward: Any  # likewise


class BidirectionalState(NamedTuple):
    """States of the two directions, each at its own last step."""

    forward: Any  # such as LSTMState, after the last step that counts
    backward: Any  # likewise, after the first


Merge = Literal["concat", "sum", "mul", "ave"] | Callable[[Any, Any], Any] | None

_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda forward, backward: jnp.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
}


def bidirectional(
    cell: Cell,
    params: BidirectionalParams,
    xs: Any,
    *,
    merge: Merge = "concat",
    backward_cell: Cell | None = None,
    **options: Unpack[TimeOptions],
) -> tuple[BidirectionalState, Any]:
    """Runs a sequence in both directions and returns ``(state, ys)``.

    Equals::

        forward, ys_forward = rnn(cell, params.forward, xs)
        backward, ys_backward = rnn(cell, params.backward, xs, reverse=True)
        return BidirectionalState(forward, backward), merge(ys_forward, ys_backward)

    Args:
        cell: The cell of both directions, or of the forward one if ``backward_cell`` is given.
        params: A parameter set for each direction.
        xs: Input [B, T, F], as for ``rnn``.
        merge: "concat" (on the last axis, forward first), "sum", "mul", "ave", a function of the
            two outputs, or None for the pair of them.
        backward_cell: Another cell for the backward direction.
        **options: As for ``rnn``. ``initial_state`` and ``initial_output`` are pairs (forward,
            backward); ``reverse`` exchanges the two directions of travel. A ``key`` is split,
            one half for each direction that has dropout.

    Returns:
        ``(BidirectionalState(forward, backward), ys)``: outputs of both directions stand at
        their own steps before they are merged; without ``return_sequences`` they are the last
        outputs of each direction, which have both seen all of ``xs``.

    Raises:
        ValueError: If ``merge`` is unknown, or as in ``rnn``.

    Source: Schuster and Paliwal, 1997; ``keras.layers.Bidirectional``.
    """
    merged = merge_function(merge)
    cells = cell, backward_cell or cell
    params = BidirectionalParams(*_pair("params", params))
    states = _pair("initial_state", options.get("initial_state"))
    outputs = _pair("initial_output", options.get("initial_output"))
    if _share_loop(cells, params, xs, options):
        given = {**options, "initial_state": states, "initial_output": outputs}
        states, ys = run_loop(scan_both, cells, 1, params, xs, **given)
        return BidirectionalState(*states), merged(*ys)
    reverse = options.get("reverse", False)
    runs = []
    for one, weights, state, output, back, key in zip(
        cells, params, states, outputs, (reverse, not reverse), _keys(cells, options), strict=True
    ):
        own: TimeOptions = {
            **options,
            "initial_state": state,
            "initial_output": output,
            "reverse": back,
            "key": key,
        }
        runs.append(rnn(one, weights, xs, **own))
    (forward, ys_forward), (backward, ys_backward) = runs
    return BidirectionalState(forward, backward), merged(ys_forward, ys_backward)


def _keys(cells: tuple[Cell, Cell], options: TimeOptions) -> Sequence[jax.Array | None]:
    """Returns a key for each direction that draws."""
    key = options.get("key")
    if key is None:
        return None, None
    check_key(key, next(filter(draws, cells), cells[0]))
    keys = jax.random.split(key)
    return [key if draws(cell) else None for key, cell in zip(keys, cells, strict=True)]


def _share_loop(
    cells: tuple[Cell, Cell], params: BidirectionalParams, xs: Any, options: TimeOptions
) -> bool:
    """Returns whether both directions run as one loop."""
    shape = jnp.shape(xs) if isinstance(xs, jax.Array | np.ndarray) else ()
    if len(shape) < 2 or not all(isinstance(size, int) for size in shape):  # symbolic
        return False
    if not all(isinstance(cell, LSTMCell) for cell in cells) or options.get("key") is not None:
        return False
    if not all(isinstance(weights, LSTMParams) for weights in params):
        return False
    rows = math.prod(shape[1:-1] if options.get("time_major", False) else shape[:-2])
    weights = max(one.recurrent_kernel.size for one in params)
    return directions_share_loop(options.get("implementation", "auto"), rows, weights)


def merge_function(merge: Merge) -> Callable[[Any, Any], Any]:
    """Returns the function of two outputs that ``merge`` names; None keeps the pair."""
    if merge is None:
        return lambda forward, backward: (forward, backward)
    if callable(merge):
        return merge
    if not isinstance(merge, str) or merge not in _MERGES:
        raise ValueError(
            f"jrnn.bidirectional: merge is {merge!r}, but one of {sorted(_MERGES)}, a function or "
            "None is needed"
        )

    def merged(forward, backward):
        def one(a, b):
            if merge != "concat" and a.shape != b.shape:
                raise ValueError(
                    f"jrnn.bidirectional: merge is {merge!r}, but the outputs have shapes "
                    f"{a.shape} and {b.shape}; use cells of one size, 'concat' or a function"
                )
            return _MERGES[merge](a, b)

        return jax.tree.map(one, forward, backward)

    return merged


def _pair(name: str, pair: Any) -> tuple[Any, Any]:
    if pair is None:
        return None, None
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"jrnn.bidirectional: {name} is a {type(pair).__name__}, but a pair (forward, "
            "backward) is needed"
        )
    return pair[0], pair[1]
