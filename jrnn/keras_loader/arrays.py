"""What arrays each typed layer needs, and a layer's parameters made of a file's arrays."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jrnn.cells.conv_lstm import ConvLSTMCell, ConvLSTMParams
from jrnn.cells.gru import GRUCell, GRUParams
from jrnn.cells.lstm import LSTMCell, LSTMParams
from jrnn.cells.simple_rnn import SimpleRNNCell, SimpleRNNParams
from jrnn.keras_loader.conv_lstm import cross_correlations
from jrnn.keras_loader.cudnn import plain
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.keras1 import packed
from jrnn.keras_loader.more_arrays import COUNT, as_convolved, more_arrays
from jrnn.keras_loader.multi_head import projection_arrays
from jrnn.keras_loader.older_layers import highway_order
from jrnn.keras_loader.read import StoredArray
from jrnn.keras_loader.spectral import VECTOR, vector_last, with_vector
from jrnn.keras_loader.stored_array import converted
from jrnn.layers.core import DenseParams, EmbeddingParams
from jrnn.model.basic import Dense, Embedding, TimeDistributed
from jrnn.model.custom import is_custom
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttentionParams
from jrnn.model.recurrent import Bidirectional, OneCell
from jrnn.model.spectral import SpectralNormalization, SpectralNormalizationParams
from jrnn.model.stacked import StackedRecurrent

Shape = tuple[int | None, ...]  # None: read off the file
PEEPHOLES = tuple(f"{gate}_gate_peephole_weights" for gate in ("input", "forget", "output"))
FLOATS = ("float16", "bfloat16", "float32", "float64")

_CELLS: dict[type, tuple[Callable[..., Any], int]] = {  # parameter type, blocks in the kernel
    SimpleRNNCell: (SimpleRNNParams, 1),
    GRUCell: (GRUParams, 3),
    LSTMCell: (LSTMParams, 4),
    ConvLSTMCell: (ConvLSTMParams, 4),
}


def expected_arrays(
    layer: Layer, shape: Sequence[int] | None = None, stored: Sequence[Any] = ()
) -> tuple[Callable[..., Any] | None, Mapping[str, Shape | None]]:
    """Returns the parameter type of a layer and the name and shape of each of its arrays.

    Args:
        layer: The layer.
        shape: Its input's shape, which tells the sizes of some; None where it is not known.
        stored: The arrays that a file has for it, which tell whether some were quantised.
    """
    if is_custom(layer):
        return None, {}
    if isinstance(layer, OneCell):
        return _recurrent_arrays(layer)
    if isinstance(layer, SpectralNormalization):
        return with_vector(*expected_arrays(layer.layer, shape, stored))
    if type(layer) is Dense:
        shapes: dict[str, Shape] = {"kernel": (None, layer.units)}
        return DenseParams, shapes | ({"bias": (layer.units,)} if layer.use_bias else {})
    if type(layer) is Embedding:
        return EmbeddingParams, {"embeddings": (layer.input_dim, layer.output_dim)}
    return more_arrays(layer, shape, stored)


def _recurrent_arrays(layer: OneCell) -> tuple[Callable[..., Any], dict[str, Shape]]:
    cell: Any = layer.cell
    params_type, gates = _CELLS[type(cell)]
    width = gates * layer.units
    window: tuple[int, ...] = ()
    if isinstance(cell, ConvLSTMCell):
        window = cell.sizes("kernel_size")
    shapes: dict[str, Shape] = {
        "kernel": (*window, None, width),
        "recurrent_kernel": (*window, layer.units, width),
    }
    if cell.use_bias:
        two_rows = isinstance(cell, GRUCell) and cell.reset_after
        shapes["bias"] = (2, width) if two_rows else (width,)
    if getattr(cell, "peephole", False):
        return _peephole_params, shapes | dict.fromkeys(PEEPHOLES, (layer.units,))
    return params_type, shapes


def _peephole_params(*arrays: Any) -> LSTMParams:
    """Returns parameters with the last three arrays as rows of one."""
    *own, first, second, third = arrays
    rows: Any = converted(
        first, (3, *first.shape), lambda row: np.stack([row, second.read(), third.read()])
    )
    return LSTMParams(*own, peephole=rows)


def has_arrays(layer: Layer, *, surely: bool = False) -> bool:
    """Returns whether the layer owns any array, or may own some if it is the caller's.

    Args:
        layer: The layer.
        surely: Whether only what is known to own one counts.
    """
    if is_custom(layer):
        return not surely
    if isinstance(layer, Bidirectional):
        return has_arrays(layer.forward, surely=surely)
    if isinstance(layer, StackedRecurrent):
        return any(has_arrays(cell, surely=surely) for cell in layer.cells)
    if isinstance(layer, TimeDistributed):
        return has_arrays(layer.layer, surely=surely)
    if isinstance(layer, Model):
        return any(has_arrays(inner, surely=surely) for inner in layer.layers)
    return bool(expected_arrays(layer)[1])


def fill(layer: Layer, arrays: Sequence[StoredArray]) -> Any:
    """Returns a layer's parameters made of the arrays in Keras's order, each checked."""
    if is_custom(layer):
        return tuple(arrays)
    params_type, shapes = expected_arrays(layer, stored=arrays)
    if isinstance(layer, OneCell):
        if isinstance(layer.cell, ConvLSTMCell):
            arrays = cross_correlations(layer.cell, arrays)
        arrays = plain(layer, packed(layer.name, arrays, len(shapes)))
    arrays = vector_last(layer, highway_order(layer, as_convolved(layer, arrays)))
    if params_type is None or len(arrays) != len(shapes):
        raise KerasFileError(
            f"layer {layer.name!r}: the file holds {listed(arrays)}, but {layer.kind} needs "
            f"{_wanted(shapes)}"
        )
    for name, array in zip(shapes, arrays, strict=True):
        _check(layer, name, array, shapes)
    return params_type(*arrays)


def own_arrays(layer: Layer, params: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of a layer's parameters by name, in Keras's order: ``fill`` undone.

    Raises:
        ValueError: If one is missing, is left over, or has not the shape or the type it needs.
    """
    given = {name: np.asarray(array) for name, array in _named(params).items() if array is not None}
    shapes = expected_arrays(layer, stored=[*given.values()])[1]
    if COUNT in shapes:
        given[COUNT] = np.zeros((), np.int32)
    if set(given) != set(shapes):
        held = ", ".join(f"{name} {array.shape}" for name, array in given.items())
        raise ValueError(
            f"layer {layer.name!r}: params hold {held or type(params).__name__}, but {layer.kind} "
            f"needs {_wanted(shapes)}"
        )
    for name, shape in shapes.items():
        array = given[name]
        if not _fits(shape, array.shape) or not _is_right(name, array.dtype.name, shapes):
            raise ValueError(
                f"layer {layer.name!r}: {name} is {array.dtype} {array.shape}, but "
                f"{_choices(layer)} needs {_text(shape)} of {_numbers(name, shapes)}"
            )
    return {name: given[name] for name in shapes}


def _named(params: Any) -> dict[str, Any]:
    """Returns a layer's parameters by name; none where they are of no type that jrnn has."""
    if isinstance(params, MultiHeadAttentionParams):
        return projection_arrays(params)
    if isinstance(params, SpectralNormalizationParams):
        return {**_named(params.layer), VECTOR: params.vector_u}
    return dict(params._asdict()) if hasattr(params, "_asdict") else {}


def _is_right(name: str, dtype: str, shapes: Mapping[str, Any]) -> bool:
    """Returns whether an array holds 8-bit integers if it has a scale, and otherwise floats."""
    return name == COUNT or dtype in (("int8",) if f"{name}_scale" in shapes else FLOATS)


def _numbers(name: str, shapes: Mapping[str, Any]) -> str:
    return "int8, quantised," if f"{name}_scale" in shapes else "floating-point numbers"


def _check(layer: Layer, name: str, array: StoredArray, shapes: Mapping[str, Any]) -> None:
    shape = shapes[name]
    if not _is_right(name, array.dtype, shapes):
        raise KerasFileError(
            f"layer {layer.name!r}: {name} holds {array.dtype}, but by its dtype policy "
            f"{_numbers(name, shapes)} is needed"
        )
    leaf = re.sub(r"(_\d+)?(:\d+)?$", "", array.path.rsplit("/", 1)[-1])
    known = ("kernel", "recurrent_kernel", "bias", "embeddings")
    known += ("gamma", "beta", "moving_mean", "moving_variance")
    if not _fits(shape, array.shape) or (leaf in known and leaf != name.rsplit("/", 1)[-1]):
        raise KerasFileError(
            f"layer {layer.name!r}: {array.path!r} has shape {array.shape}, but {name} of "
            f"{_choices(layer)} needs {_text(shape)}"
        )


def _fits(shape: Shape | None, found: Sequence[int]) -> bool:
    return shape is None or (
        len(shape) == len(found)
        and all(size in (None, got) for size, got in zip(shape, found, strict=True))
    )


def _choices(layer: Layer) -> str:
    if not isinstance(layer, OneCell):
        return layer.kind
    reset = f", reset_after={layer.cell.reset_after}" if isinstance(layer.cell, GRUCell) else ""
    return f"{layer.kind}(units={layer.units}{reset})"


def listed(arrays: Sequence[StoredArray]) -> str:
    """Returns the arrays' paths and shapes for a message, the first few of many."""
    if not arrays:
        return "no arrays"
    shown = ", ".join(f"{array.path} {array.shape}" for array in arrays[:6])
    return shown + (f" and {len(arrays) - 6} more" if len(arrays) > 6 else "")


def _wanted(shapes: Mapping[str, Shape | None]) -> str:
    return ", ".join(f"{name} {_text(shape)}" for name, shape in shapes.items()) or "none"


def _text(shape: Shape | None) -> str:
    return "any shape" if shape is None else str(shape).replace("None", "any")


def quoted(names: Iterable[str]) -> str:
    """Returns names in quotes for a message, the first few of many."""
    return ", ".join(repr(name) for name in list(names)[:12])
