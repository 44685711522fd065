"""What acts in training alone -> the config of Keras 3: penalties, constraints, first weights."""

import json
from collections.abc import Mapping
from typing import Any

from jrnn import initializers
from jrnn.constraints import NonNegative, NormBetween, UnitNorm
from jrnn.keras_loader.classes import class_of
from jrnn.keras_loader.penalties import ARRAYS
from jrnn.keras_loader.serialized import Unknown
from jrnn.keras_loader.write_options import keras_object, listed
from jrnn.model.layer import Layer
from jrnn.regularizers import L1L2, Orthogonal, OverBatch

Options = dict[str, Any]

# What stands before "_regularizer" for an array's name, in the words of Keras 3.
_KEYS: Mapping[str, str] = {array: key for key, array in reversed(ARRAYS.items())}
_INITIALIZERS: Mapping[str, str] = {
    "constant": "Constant",
    "identity": "Identity",
    "orthogonal": "Orthogonal",
    "random_normal": "RandomNormal",
    "random_uniform": "RandomUniform",
    "truncated_normal": "TruncatedNormal",
    "variance_scaling": "VarianceScaling",
}


def penalty_options(layer: Layer) -> Options:
    """Returns a layer's regularizers and constraints; what Keras 3 cannot say is left out."""
    found, of_cells = {}, class_of(layer) == "RNN"  # which alone take them
    for end, pairs in (("regularizer", layer.regularizers), ("constraint", layer.constraints)):
        for array, function in () if of_cells else pairs:
            if array in _KEYS:
                found[f"{_key(layer, array)}_{end}"] = _function(function)
    if class_of(layer) != "ActivityRegularization":
        found["activity_regularizer"] = _function(layer.activity_regularizer)
    return {key: entry for key, entry in found.items() if entry is not None}


def activity_options(layer: Layer) -> Options:
    """Returns the factors of a layer that is nothing but a penalty on what it passes on."""
    penalty = _of_batch(layer.activity_regularizer)
    return {"l1": penalty.l1, "l2": penalty.l2} if isinstance(penalty, L1L2) else {}


def initializer_options(cell: Any) -> Options:
    """Returns how a cell's arrays are drawn; what Keras 3 cannot say is left out."""
    keys = ("kernel_initializer", "recurrent_initializer", "bias_initializer")
    found = {key: _initializer(getattr(cell, key)) for key in keys}
    options = {key: entry for key, entry in found.items() if entry is not None}
    if hasattr(cell, "unit_forget_bias"):
        options["unit_forget_bias"] = cell.unit_forget_bias
    return options


def _key(layer: Layer, array: str) -> str:
    depthwise = class_of(layer).startswith("Depthwise") and array == "kernel"
    return "depthwise" if depthwise else _KEYS[array]


def _of_batch(penalty: Any) -> Any:
    """Returns what Keras 3 divides by the size of the batch by itself."""
    return penalty.regularizer if isinstance(penalty, OverBatch) else penalty


def _function(function: Any) -> Any:
    """Returns the object of Keras 3 for a regularizer or constraint; None if it has none."""
    found = _of_batch(function)
    if isinstance(found, Unknown):
        return _as_read(found)
    if isinstance(found, L1L2):
        factors = {"l1": found.l1, "l2": found.l2}
        used = {name: factor for name, factor in factors.items() if factor} or factors
        return keras_object("keras.regularizers", "".join(used).upper(), used)
    if isinstance(found, Orthogonal):
        options = {"factor": found.factor, "mode": found.mode}
        return keras_object("keras.regularizers", "OrthogonalRegularizer", options)
    return _constraint(found)


def _constraint(found: Any) -> Any:
    module = "keras.constraints"
    if isinstance(found, NonNegative):
        return keras_object(module, "NonNeg", {})
    if isinstance(found, UnitNorm):
        return keras_object(module, "UnitNorm", _axis(found))
    if not isinstance(found, NormBetween):
        return None
    if found.low == 0 and found.rate == 1:
        return keras_object(module, "MaxNorm", {"max_value": found.high, **_axis(found)})
    bounds = {"min_value": found.low, "max_value": found.high, "rate": found.rate}
    return keras_object(module, "MinMaxNorm", {**bounds, **_axis(found)})


def _axis(found: NormBetween | UnitNorm) -> Options:
    return {"axis": listed(found.axis)}


def _initializer(found: Any) -> Any:
    """Returns an initializer's name or the object of Keras 3; None if it has none."""
    if isinstance(found, Unknown):
        return _as_read(found)
    if isinstance(found, str):
        return None if found == "unit_forget_bias" else found
    described = initializers.described(found)
    if described is None or described[0] == "unit_forget_bias":
        return None
    name, options = described
    if not options:
        return name
    seeded = name not in ("constant", "identity")
    options |= {"seed": None} if seeded else {}
    return keras_object("keras.initializers", _INITIALIZERS[name], options)


def _as_read(unknown: Unknown) -> Any:
    """Returns what a file had in the place of a function that jrnn does not know."""
    return json.loads(unknown.source) if unknown.source else None
