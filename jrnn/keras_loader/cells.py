"""``RNN``: a loop over one cell, or over several on top of one another."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jrnn.cells.base import Cell
from jrnn.cells.stacked import StackedCell
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.custom import ask_for, base, custom_cell
from jrnn.keras_loader.dropout import cell_dropout
from jrnn.keras_loader.layers import gru_cell, loop_options, lstm_cell, simple_rnn_cell
from jrnn.keras_loader.options import is_amount
from jrnn.keras_loader.serialized import Unknown
from jrnn.model.custom import CustomCell, CustomRecurrent, CustomStacked, is_custom
from jrnn.model.recurrent import OneCell, Recurrent
from jrnn.model.stacked import StackedRecurrent

CELLS: dict[str, Callable[[Config], Cell]] = {
    "GRUCell": gru_cell,
    "LSTMCell": lstm_cell,
    "PeepholeLSTMCell": lambda config: dataclasses.replace(lstm_cell(config), peephole=True),
    "SimpleRNNCell": simple_rnn_cell,
}
STACK = "StackedRNNCells"
_OF_CELL = (  # what a loop over one cell takes from it
    *("cell", "units", "dropout", "recurrent_dropout", "dropout_per_gate"),
    *("drops_state", "regularizers", "constraints"),
)


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
        options |= {name: getattr(one, name) for name in _OF_CELL} | _activity(options, [one])
        # In Keras 3 arrays are trained as what owns them says: RNN(cell, trainable=False) trains.
        around = config.writer.major >= 3 or options["trainable"]
        options |= {"cell_name": one.name, "trainable": around and one.trainable}
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
    options |= _activity(options, cells)
    reverse = writer.reverses_stacked_states
    if writer.has_reverse_state_order:
        reverse = stack.flag("reverse_state_order", default=False)
    stack.finish()
    is_frozen = writer.major < 3 and stack.values.get("trainable") is False
    repeats_first_state = writer.major < 3 and options["masked_start"] == "state"
    return {
        "cell": StackedCell([one.cell for one in cells]),
        "units": cells[-1].units,
        "trainable": options["trainable"] and not is_frozen,
        "cells": cells,
        "reverse_states": reverse,
        "masked_repeats_lowest": repeats_first_state and not reverse,
    }


def _activity(options: Mapping[str, Any], cells: Sequence[OneCell]) -> dict[str, Any]:
    """Returns the penalty on the outputs: the layer's own, as no Keras can run a cell's."""
    of_cells = any(one.activity_regularizer is not None for one in cells)
    own = options["activity_regularizer"]
    return {"activity_regularizer": Unknown("cell has a penalty on outputs") if of_cells else own}


def _cell(config: Config, inner: Config) -> OneCell:
    """Returns one cell, of Keras's own classes or made by the caller."""
    custom = inner.custom_class()
    if custom is not None:
        _check_dtype(config, inner)
        units = inner.values.get("units")  # where it has some; of no use to the caller's cell
        size = int(units) if units is not None and is_amount(units, 1) else 0
        return OneCell(**base(inner), cell=custom_cell(inner, custom), units=size)
    if inner.is_foreign() or inner.kind not in CELLS:
        raise config.error(
            f"it runs over a {inner.kind!r:.80}, but jrnn loads {', '.join(CELLS)} and one "
            f"{STACK} of these; a file holds no more of other cells than their name: "
            + ask_for(inner.kind, "a cell")
        )
    _check_dtype(config, inner)
    cell = CELLS[inner.kind](inner)
    units = inner.size("units", "output_dim")
    found = OneCell(**inner.base(), cell=cell, units=units, **cell_dropout(inner))
    inner.finish()
    return found


def _check_dtype(config: Config, inner: Config) -> None:
    if inner.values.get("dtype") is not None and inner.dtype() != config.dtype():
        raise config.error(
            f"it computes in {config.dtype() or 'float32'} and its {inner.kind} in "
            f"{inner.dtype() or 'float32'}; jrnn needs one dtype for both"
        )
