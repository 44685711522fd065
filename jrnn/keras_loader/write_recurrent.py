"""Recurrent layers and their cells -> the options of their Keras 3 classes."""

import dataclasses
from typing import Any

from jrnn import initializers
from jrnn.cells.conv_lstm import ConvLSTMCell
from jrnn.cells.gru import GRUCell
from jrnn.cells.lstm import LSTMCell
from jrnn.keras_loader.classes import class_of, snake_case
from jrnn.keras_loader.write_custom import as_read
from jrnn.keras_loader.write_options import activation, base, keras_object, policy, unsupported
from jrnn.keras_loader.write_training import initializer_options, penalty_options
from jrnn.model.custom import CustomCell
from jrnn.model.recurrent import OneCell, Recurrent
from jrnn.model.stacked import StackedRecurrent

Options = dict[str, Any]
_LOOP = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")
_ONLY_IN_JRNN = ("peephole", "projection", "cell_clip", "output_activation")


def recurrent_options(layer: Recurrent, params: Any) -> Options:
    """Returns the options of a layer with a loop: the loop's, and the cell or its options."""
    if getattr(layer, "constants", 0):
        raise unsupported(layer, "constants beside the states")
    if layer.time_major:
        raise unsupported(layer, "time_major")
    loop = {key: getattr(layer, key) for key in _LOOP}
    loop["zero_output_for_mask"] = layer.zero_output_for_mask
    if isinstance(layer, StackedRecurrent):
        entries = [_cell_entry(cell, own) for cell, own in zip(layer.cells, params, strict=True)]
        shared = base(layer, params)
        stack = {"name": "stacked_rnn_cells", "dtype": shared["dtype"], "cells": entries}
        return {**loop, "cell": keras_object("keras.layers", "StackedRNNCells", stack)}
    if isinstance(layer.cell, CustomCell):
        return {**loop, "cell": as_read(layer)}
    if class_of(layer) == "RNN":
        cell = layer.one_cell()
        name = cell.name or snake_case(cell.kind)
        return {**loop, "cell": _cell_entry(dataclasses.replace(cell, name=name), params)}
    return {**loop, **_cell_options(layer, params)}


def _cell_entry(cell: OneCell, params: Any) -> Options:
    if isinstance(cell.cell, CustomCell):
        return as_read(cell)
    config = {**base(cell, params), **penalty_options(cell), **_cell_options(cell, params)}
    return keras_object("keras.layers", class_of(cell), config)


def _cell_options(layer: OneCell, params: Any) -> Options:
    """Returns the options of a layer's cell, its size with them."""
    cell: Any = layer.cell
    for name in _ONLY_IN_JRNN:
        if getattr(cell, name, None):
            raise unsupported(layer, f"{name} ({getattr(cell, name)!r})")
    options: Options = {
        "filters" if isinstance(cell, ConvLSTMCell) else "units": layer.units,
        "activation": activation(layer, cell.activation),
        "use_bias": cell.use_bias,
        "dropout": layer.dropout,
        "recurrent_dropout": layer.recurrent_dropout,
        **initializer_options(cell),
    }
    short = policy(layer, params) in ("float16", "bfloat16")
    if short and _is_orthogonal(cell.recurrent_initializer):
        # Before Keras reads the weights it draws them, and JAX knows no orthogonal ones of 16 bits.
        options["recurrent_initializer"] = "glorot_uniform"
    if isinstance(cell, GRUCell | LSTMCell | ConvLSTMCell):
        options["recurrent_activation"] = activation(layer, cell.recurrent_activation)
    if isinstance(cell, GRUCell | LSTMCell):
        options["implementation"] = 1 if layer.dropout_per_gate else 2
    if isinstance(cell, GRUCell):
        options["reset_after"] = cell.reset_after
    if isinstance(cell, ConvLSTMCell):
        options |= {
            "kernel_size": list(cell.sizes("kernel_size")),
            "strides": list(cell.sizes("strides")),
            "padding": cell.padding,
            "dilation_rate": list(cell.sizes("dilation")),
            "data_format": cell.data_format,
        }
    return options


def _is_orthogonal(initializer: Any) -> bool:
    described = initializers.described(initializers.get(initializer))
    return described is not None and described[0] == "orthogonal"


def grouped_states(layer: OneCell, states: list) -> list:
    """Returns initial states as Keras 3 takes them: those of stacked cells in a list for each."""
    if not isinstance(layer, StackedRecurrent):
        return states
    if any(isinstance(cell.cell, CustomCell) for cell in layer.cells):
        raise unsupported(layer, "initial states that jrnn can tell apart in a stack like this")
    counts = [2 if isinstance(cell.cell, LSTMCell) else 1 for cell in layer.cells]
    if sum(counts) != len(states):
        return states
    rest = iter(states)
    return [[next(rest) for _ in range(count)] for count in counts]
