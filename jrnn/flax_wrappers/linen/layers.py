"""Layers by name: ``RNN`` over a named cell, with the arguments of both."""

import dataclasses
from typing import Any

from jrnn.flax_wrappers.linen import cells
from jrnn.flax_wrappers.linen.rnn import RNN

_OF_THE_LOOP = tuple(field.name for field in dataclasses.fields(RNN) if field.name != "cell")


def SimpleRNN(features: int, **options: Any) -> RNN:  # noqa: N802, named as a module is
    """Returns ``RNN(SimpleCell(features, ...), ...)``: options of both."""
    return _layer(cells.SimpleCell, (features,), options)


def GRU(features: int, **options: Any) -> RNN:  # noqa: N802
    """Returns ``RNN(GRUCell(features, ...), ...)``: options of both."""
    return _layer(cells.GRUCell, (features,), options)


def LSTM(features: int, **options: Any) -> RNN:  # noqa: N802
    """Returns ``RNN(LSTMCell(features, ...), ...)``: options of both."""
    return _layer(cells.LSTMCell, (features,), options)


def SRU(features: int, **options: Any) -> RNN:  # noqa: N802
    """Returns ``RNN(SRUCell(features, ...), ...)``: options of both."""
    return _layer(cells.SRUCell, (features,), options)


def ConvLSTM(features: int, kernel_size: Any, **options: Any) -> RNN:  # noqa: N802
    """Returns ``RNN(ConvLSTMCell(features, kernel_size, ...), ...)``: options of both."""
    return _layer(cells.ConvLSTMCell, (features, kernel_size), options)


def _layer(kind: Any, sizes: tuple[Any, ...], options: dict[str, Any]) -> RNN:
    of_the_loop = {name: options.pop(name) for name in _OF_THE_LOOP if name in options}
    return RNN(kind(*sizes, **options), **of_the_loop)
