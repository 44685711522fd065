"""``RNN``: a loop over one cell, or over several on top of one another."""

from collections.abc import Callable
from typing import Any

from jrnn.cells.base import Cell
from jrnn.cells.stacked import StackedCell
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.custom import ask_for, base, custom_cell
from jrnn.keras_loader.layers import gru_cell, loop_options, lstm_cell, simple_rnn_cell
from jrnn.keras_loader.options import is_amount
from jrnn.model.custom import CustomCell, CustomRecurrent, CustomStacked, is_custom
from jrnn.model.recurrent import Recurrent
from jrnn.model.stacked import OneOfStack, StackedRecurrent

CELLS: dict[str, Callable[[Config], Cell]] = {
    "GRUCell": gru_cell,
    "LSTMCell": lstm_cell,
    "SimpleRNNCell": simple_rnn_cell,
}
STACK = "StackedRNNCells"


def parse_rnn(config: Config, parse: Any) -> Recurrent:
    """Returns the typed layer; cells are no layers, and ``parse`` is not for them."""
    del parse
    inner = config.inner(config.get("cell"))
    constants = config.get("num_constants") or 0
    options = {**config.base(), **loop_options(config)}
    stacked = inner.kind == STACK and not inner.is_foreign() and inner.custom_class() is None
    if stacked:
        options |= _stack(config, inner, options)
    else:
        one = _cell(config, inner)
        options |= {"cell": one.cell, "units": one.units}
    if isinstance(options["cell"], CustomCell) or any(map(is_custom, options.get("cells", ()))):
        if not is_amount(constants, 0):
            raise config.error(f"num_constants is {constants!r:.80}, but a number is needed")
        kind = CustomStacked if stacked else CustomRecurrent
        return kind(**options, constants=constants)
    if constants:
        raise config.error("it takes constants, which only custom cells use")
    return (StackedRecurrent if stacked else Recurrent)(**options)


def _stack(config: Config, stack: Config, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options that a loop over several cells has in addition."""
    entries = stack.get("cells")
    if not isinstance(entries, list) or not entries:
        raise config.error(f"its {STACK} has no list of cells")
    _check_dtype(config, stack)
    cells = tuple(_cell(config, config.inner(entry)) for entry in entries)
    writer = config.writer
    reverse = writer.reverses_stacked_states
    if writer.has_reverse_state_order:
        reverse = stack.flag("reverse_state_order", default=False)
    stack.finish()
    repeats_first_state = writer.major < 3 and options["masked_start"] == "state"
    return {
        "cell": StackedCell([one.cell for one in cells]),
        "units": cells[-1].units,
        "cells": cells,
        "reverse_states": reverse,
        "masked_repeats_lowest": repeats_first_state and not reverse,
    }


def _cell(config: Config, inner: Config) -> OneOfStack:
    """Returns one cell, of Keras's own classes or made by the caller."""
    custom = inner.custom_class()
    if custom is not None:
        _check_dtype(config, inner)
        units = inner.values.get("units")  # where it has some; of no use to the caller's cell
        size = int(units) if units is not None and is_amount(units, 1) else 0
        return OneOfStack(**base(inner), cell=custom_cell(inner, custom), units=size)
    if inner.is_foreign() or inner.kind not in CELLS:
        raise config.error(
            f"it runs over a {inner.kind!r:.80}, but jrnn loads {', '.join(CELLS)} and one "
            f"{STACK} of these; a file holds no more of other cells than their name: "
            + ask_for(inner.kind, "a cell")
        )
    _check_dtype(config, inner)
    cell = CELLS[inner.kind](inner)
    found = OneOfStack(**inner.base(), cell=cell, units=inner.size("units", "output_dim"))
    inner.finish()
    return found


def _check_dtype(config: Config, inner: Config) -> None:
    if inner.values.get("dtype") is not None and inner.dtype() != config.dtype():
        raise config.error(
            f"it computes in {config.dtype() or 'float32'} and its {inner.kind} in "
            f"{inner.dtype() or 'float32'}; jrnn needs one dtype for both"
        )
