"""The penalties and constraints in a layer's config, as its writer's Keras computed them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jrnn import constraints, regularizers
from jrnn.constraints import Constraint, NonNegative
from jrnn.keras_loader.serialized import Unknown, read
from jrnn.keras_loader.writer import Writer
from jrnn.regularizers import L1L2, OverBatch, Regularizer

# Of a key in a config, what stands before "_regularizer": the name of the array in the parameters.
ARRAYS = {
    "kernel": "kernel",
    "recurrent": "recurrent_kernel",
    "bias": "bias",
    "embeddings": "embeddings",
    "depthwise": "depthwise_kernel",
    "pointwise": "pointwise_kernel",
    "gamma": "gamma",
    "beta": "beta",
    "alpha": "alpha",
    "W": "kernel",
    "U": "recurrent_kernel",
    "b": "bias",
}
_ONLY_ARRAY = {"Embedding": "embeddings"}  # whatever the key says


def _both(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """``l1_l2`` by its name alone, which Keras 1 and 2 gave other defaults than the class."""
    return L1L2(l1, l2)


_REGULARIZERS: Mapping[str, Callable[..., Regularizer]] = {
    **dict.fromkeys(("L1", "l1"), regularizers.l1),
    **dict.fromkeys(("L2", "l2"), regularizers.l2),
    **dict.fromkeys(
        ("L1L2", "L1L2Regularizer", "WeightRegularizer", "ActivityRegularizer"), regularizers.l1_l2
    ),
    **dict.fromkeys(("l1_l2", "l1l2"), _both),
    **dict.fromkeys(("OrthogonalRegularizer", "orthogonal_regularizer"), regularizers.orthogonal),
}
_CONSTRAINTS: Mapping[str, Callable[..., Constraint]] = {
    **dict.fromkeys(("MaxNorm", "max_norm", "maxnorm"), constraints.max_norm),
    **dict.fromkeys(("MinMaxNorm", "min_max_norm"), constraints.min_max_norm),
    **dict.fromkeys(("NonNeg", "non_neg", "nonneg"), constraints.non_neg),
    **dict.fromkeys(("RadialConstraint", "radial_constraint"), constraints.radial),
    **dict.fromkeys(("UnitNorm", "unit_norm", "unitnorm"), constraints.unit_norm),
}
_NAMES_OF_KERAS1 = {"m": "max_value", "low": "min_value", "high": "max_value"}
_CUDNN = ("CuDNNGRU", "CuDNNLSTM")


def penalties(kind: str, values: Mapping[str, Any], writer: Writer) -> dict[str, Any]:
    """Returns the fields of a ``Layer`` that hold its regularizers and constraints.

    What jrnn does not know becomes ``Unknown``: a file that loads for inference always loads.
    """
    found = {
        key: read(key, values[key], functions, _NAMES_OF_KERAS1)
        for end, functions in (("_regularizer", _REGULARIZERS), ("_constraint", _CONSTRAINTS))
        for key in (*(start + end for start in ARRAYS), "activity_regularizer")
        if key.endswith(end) and values.get(key) is not None
    }
    activity = found.pop("activity_regularizer", None)
    if kind == "ActivityRegularization":
        options = {"name": "L1L2", **{key: values.get(key) or 0.0 for key in ("l1", "l2")}}
        activity = read("l1 or l2", options, _REGULARIZERS, {})
    found = _of_keras1(kind, values, writer, found)
    pairs = [
        (key.endswith("constraint"), _array(kind, key), _stored(kind, key, values, function))
        for key, function in found.items()
    ]
    return {
        "regularizers": tuple((name, of) for projects, name, of in pairs if not projects),
        "constraints": tuple((name, of) for projects, name, of in pairs if projects),
        "activity_regularizer": _per_batch(activity, writer),
    }


def _array(kind: str, key: str) -> str:
    name = ARRAYS[key.rsplit("_", 1)[0]]
    if kind.startswith("Depthwise") and name == "depthwise_kernel":
        name = "kernel"
    return _ONLY_ARRAY.get(kind, name)


def _per_batch(activity: Regularizer | None, writer: Writer) -> Regularizer | None:
    if activity is None or isinstance(activity, Unknown) or not writer.divides_activity:
        return activity
    return OverBatch(activity)


def _of_keras1(
    kind: str, values: Mapping[str, Any], writer: Writer, found: dict[str, Any]
) -> dict[str, Any]:
    """Keras 1.2 did two things with the penalties of recurrent layers that it did not say."""
    if writer.version >= (2, 0, 0) or writer.version < (1, 2, 0):
        return found
    if kind == "ConvLSTM2D":  # it never added them to the loss
        return {}
    if kind in ("GRU", "LSTM") and values.get("consume_less", "cpu") != "gpu":
        found = {key: function for key, function in found.items() if key != "U_regularizer"}
        if "W_regularizer" in found:
            found["U_regularizer"] = found["W_regularizer"]
    return found


def _stored(kind: str, key: str, values: Mapping[str, Any], function: Any) -> Any:
    """Returns the function for the array as jrnn lays it out, not as the writer did."""
    if kind in _CUDNN and _depends_on_cudnn(kind, key, function):
        return Unknown(f"{key} is for the layout of cuDNN's arrays")
    axis = getattr(function, "axis", None)
    if axis is None or not _ordered_by_keras1(kind, values):
        return function
    axes = (axis,) if isinstance(axis, int) else axis
    if kind.endswith("1D") or not all(-4 <= one < 4 for one in axes):
        return Unknown(f"{key} is for the layout of Keras 1's arrays")
    # [U, C, rows, columns] became [rows, columns, C, U].
    moved = tuple((3, 2, 0, 1)[one % 4] for one in axes)
    return dataclasses.replace(function, axis=moved)


def _depends_on_cudnn(kind: str, key: str, function: Any) -> bool:
    if kind == "CuDNNLSTM" and key.startswith("bias"):
        return True  # it has two, of which jrnn keeps the sum
    return not isinstance(function, L1L2 | NonNegative)  # which treat each number by itself


def _ordered_by_keras1(kind: str, values: Mapping[str, Any]) -> bool:
    if kind in ("AtrousConvolution1D", "Convolution1D"):
        return True
    ordered = kind in ("AtrousConvolution2D", "Convolution2D")
    return ordered and values.get("dim_ordering") == "th"
