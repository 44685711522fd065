"""``RNN``: a loop over one cell, or over several on top of one another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jrnn.cells.base import Cell
from jrnn.cells.stacked import StackedCell
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.dropout import cell_dropout
from jrnn.keras_loader.layers import gru_cell, loop_options, lstm_cell, simple_rnn_cell
from jrnn.keras_loader.serialized import Unknown
from jrnn.model.recurrent import OneCell, Recurrent
from jrnn.model.stacked import StackedRecurrent

CELLS: dict[str, Callable[[Config], Cell]] = {
    "GRUCell": gru_cell,
    "LSTMCell": lstm_cell,
    "SimpleRNNCell": simple_rnn_cell,
}
STACK = "StackedRNNCells"


def parse_rnn(config: Config, parse: Any) -> Recurrent:
    """Returns the typed layer; cells are no layers, and ``parse`` is not for them."""
    del parse
    inner = Config(config.get("cell"), config.writer)
    options = {**config.base(), **loop_options(config)}
    if inner.kind == STACK and not inner.is_foreign():
        return _stacked(config, inner, options)
    one = _cell(config, inner)
    options |= {"regularizers": one.regularizers, "constraints": one.constraints}
    options |= _activity(options, [one])
    return Recurrent(
        **options,
        cell=one.cell,
        units=one.units,
        dropout=one.dropout,
        recurrent_dropout=one.recurrent_dropout,
        dropout_per_gate=one.dropout_per_gate,
    )


def _stacked(config: Config, stack: Config, options: dict[str, Any]) -> StackedRecurrent:
    entries = stack.get("cells")
    if not isinstance(entries, list) or not entries:
        raise config.error(f"its {STACK} has no list of cells")
    _check_dtype(config, stack)
    cells = tuple(_cell(config, Config(entry, config.writer)) for entry in entries)
    writer = config.writer
    options |= _activity(options, cells)
    reverse = writer.reverses_stacked_states
    if writer.has_reverse_state_order:
        reverse = stack.flag("reverse_state_order", default=False)
    stack.finish()
    repeats_first_state = writer.major < 3 and options["masked_start"] == "state"
    return StackedRecurrent(
        **options,
        cell=StackedCell([one.cell for one in cells]),
        units=cells[-1].units,
        cells=cells,
        reverse_states=reverse,
        masked_repeats_lowest=repeats_first_state and not reverse,
    )


def _activity(options: Mapping[str, Any], cells: Sequence[OneCell]) -> dict[str, Any]:
    """Returns the penalty on the outputs: the layer's own, as no Keras can run a cell's."""
    of_cells = any(one.activity_regularizer is not None for one in cells)
    own = options["activity_regularizer"]
    return {"activity_regularizer": Unknown("cell has a penalty on outputs") if of_cells else own}


def _cell(config: Config, inner: Config) -> OneCell:
    """Returns one cell, if it is of those whose class is Keras's own."""
    if inner.is_foreign() or inner.kind not in CELLS:
        raise config.error(
            f"it runs over a {inner.kind!r:.80}, but jrnn loads {', '.join(CELLS)} and one "
            f"{STACK} of these; a file holds no more of other cells than their name"
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
