"""Which layers of a model go forward alone, and how each runs on a part of the time."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jrnn import activations
from jrnn.model import basic, merging, noise, normalization
from jrnn.model.activation import PReLU, Softmax
from jrnn.model.batch_normalization import BatchNormalization
from jrnn.model.convolution import ConvolutionLayer, TransposedConvolution
from jrnn.model.custom import CustomLayer, CustomRecurrent, Lambda
from jrnn.model.einsum import EinsumDense
from jrnn.model.layer import Layer
from jrnn.model.older import Highway
from jrnn.model.operation import TENSOR, Operation, Slice
from jrnn.model.pooling import GlobalPooling
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.spectral import SpectralNormalization
from jrnn.model.stream_layers import (
    ReshapedSteps,
    StreamedConvolution,
    StreamedPooling,
    StreamedRecurrent,
)


class Steps(NamedTuple):
    """A tensor [B, T, ...] with something at every step; None stands for what is not known."""

    ndim: int | None
    number: int | None = None  # T of the whole model

    def of(self, ndim: int | None) -> "Steps":
        """Returns one with another number of axes."""
        return self._replace(ndim=ndim)


Kind = Steps | None  # None for a tensor that the whole model has once, not at every step
Found = tuple[Layer, tuple[Kind, ...]]  # how a layer runs, and what its outputs are


class RefusedError(Exception):
    """Why a layer does not stream."""


def streamed_layer(layer: Layer, given: Sequence[Steps]) -> Found:
    """Returns how a layer runs on some steps of its inputs at a time.

    Raises:
        RefusedError: If it cannot.
    """
    for kind, rule in _RULES:
        if isinstance(layer, kind):
            return rule(layer, given)
    raise RefusedError("sees the whole sequence at once, or is unknown to a stream")


def _as_it_is(layer: Layer, given: Sequence[Steps]) -> Found:
    return layer, (given[0],)


def _per_step(layer: Layer, given: Sequence[Steps]) -> Found:
    if given[0].ndim == 2:
        raise RefusedError("works on the last axis, which is that of the steps")
    return layer, (given[0],)


_ALONG_LAST_AXIS = ("softmax", "log_softmax", "glu", "sparsemax")
_ELEMENTWISE = {f for name, f in activations.ACTIVATIONS.items() if name not in _ALONG_LAST_AXIS}


def _is_elementwise(activation: Any) -> bool:
    """Returns whether an activation is known to look at each number alone."""
    function = activations.get(activation)
    return getattr(function, "func", function) in _ELEMENTWISE


def _activation(layer: Any, given: Sequence[Steps]) -> Found:
    return (_as_it_is if _is_elementwise(layer.activation) else _per_step)(layer, given)


def _embedding(layer: Layer, given: Sequence[Steps]) -> Found:
    ndim = given[0].ndim
    return layer, (given[0].of(None if ndim is None else ndim + 1),)


def _along_axes(layer: Any, given: Sequence[Steps]) -> Found:
    """Only axes after that of the steps may be mixed."""
    axes = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
    if not all(_beyond(axis, given[0].ndim) for axis in axes):
        raise RefusedError(f"works along the axis of the steps (axis {layer.axis})")
    return layer, (given[0],)


def _beyond(axis: int, ndim: int | None) -> bool:
    """Returns whether an axis lies after that of the steps, as far as is known."""
    if ndim is None:  # taken for [B, T, F] or more, until RuledWhenRun asks again
        return axis >= 2 or axis == -1
    return axis % ndim >= 2


def _prelu(layer: Any, given: Sequence[Steps]) -> Found:
    if 1 not in layer.shared_axes:
        raise RefusedError("has parameters for each step")
    return layer, (given[0],)


def _rescaling(layer: Any, given: Sequence[Steps]) -> Found:
    ndim = 3 if given[0].ndim is None else given[0].ndim
    deepest = max(_depth(layer.scale), _depth(layer.offset))
    if deepest > ndim - 2:
        raise RefusedError("has constants for each step")
    return layer, (given[0],)


def _depth(numbers: Any) -> int:
    return 1 + _depth(numbers[0]) if isinstance(numbers, tuple) else 0


def _same_axes(layer: Layer, given: Sequence[Steps]) -> Found:
    if len({one.ndim for one in given} - {None}) > 1:
        raise RefusedError("joins tensors of which not all have the same axes")
    return layer, (given[0],)


def _concatenate(layer: Any, given: Sequence[Steps]) -> Found:
    _same_axes(layer, given)
    return _along_axes(layer, given)


def _spectral(layer: Any, given: Sequence[Steps]) -> Found:
    running, found = streamed_layer(layer.layer, given)
    if running is not layer.layer:
        raise RefusedError("holds a layer that sees several steps")
    return layer, found


def _distributed(layer: Any, given: Sequence[Steps]) -> Found:
    keeps = isinstance(layer.layer, basic.Dense | basic.ActivationLayer | basic.Identity)
    return layer, (given[0] if keeps else given[0].of(None),)


def _reshape(layer: Any, given: Sequence[Steps]) -> Found:
    first, *others = layer.target_shape or (0,)
    number = given[0].number
    if first not in (-1, number) and (number is not None or -1 in others):
        raise RefusedError(f"makes {layer.target_shape} of {number or 'any number of'} steps")
    return ReshapedSteps.of(layer), (given[0].of(2 + len(others)),)


def _permute(layer: Any, given: Sequence[Steps]) -> Found:
    if layer.dims[:1] != (1,):
        raise RefusedError("moves the axis of the steps")
    return layer, (given[0],)


def _einsum(layer: Any, given: Sequence[Steps]) -> Found:
    terms, out = layer.equation.replace(" ", "").split("->")
    x, kernel = terms.split(",")
    ellipsis = x.startswith("...") and out.startswith("...") and given[0].ndim != 2
    letters = x[:2] == out[:2] and x.count(x[1]) == 1 and x[1] not in kernel and "." not in x[:2]
    if not (ellipsis or letters) or x[1] in (layer.bias_axes or "").replace(".", ""):
        raise RefusedError(f"may mix steps by {layer.equation!r}")
    ndim = given[0].ndim if "." in out else len(x)
    if ndim is not None:
        ndim += len(out) - len(x)
    if ndim == 2 and not _is_elementwise(layer.activation):
        raise RefusedError("works on the last axis, which is that of the steps")
    return layer, (given[0].of(ndim),)


def _recurrent(layer: Any, given: Sequence[Steps]) -> Found:
    if layer.go_backwards:
        raise RefusedError("goes backwards, from a last step that a stream does not know")
    if layer.time_major:
        raise RefusedError("has time as its first axis")
    if len(given) > 1:
        raise RefusedError("takes states or constants from other layers")
    out = given[0].of(None) if isinstance(layer, CustomRecurrent) else given[0]
    return StreamedRecurrent.of(layer), (out if layer.return_sequences else None, None)


def _bidirectional(layer: Layer, given: Sequence[Steps]) -> Found:
    raise RefusedError("is bidirectional: one direction starts at the last step")


def _convolution(layer: Any, given: Sequence[Steps]) -> Found:
    if len(layer.kernel_size) != 1 or layer.channels_first:
        raise RefusedError("takes the axis of the steps for one of an image")
    if layer.strides != (1,) or isinstance(layer, TransposedConvolution):
        raise RefusedError("does not put out one step for each that comes in")
    if layer.kernel_size == (1,):
        return layer, (given[0],)
    if layer.padding != "causal":
        raise RefusedError(f"sees later steps; its padding is {layer.padding!r}, not 'causal'")
    return StreamedConvolution.of(layer), (given[0],)


def _pooling(layer: Any, given: Sequence[Steps]) -> Found:
    if layer.rank != 1 or layer.channels_first:
        raise RefusedError("takes the axis of the steps for one of an image")
    return StreamedPooling.of(layer), (None,)


def _callers(layer: Layer, given: Sequence[Steps]) -> Found:
    raise RefusedError(
        "is code of the caller's, which may look at all steps; a TimeDistributed layer around it "
        "would stream"
    )


_ELEMENT_BY_ELEMENT = (
    *("Abs", "Absolute", "Add", "Cast", "ConvertToTensor", "Divide", "Equal", "Exp", "Greater"),
    *("GreaterEqual", "Less", "LessEqual", "Log", "LogicalAnd", "LogicalNot", "LogicalOr"),
    *("Maximum", "Minimum", "Multiply", "Negative", "NotEqual", "OnesLike", "Power", "Relu"),
    *("Sigmoid", "Sqrt", "Square", "Subtract", "Tanh", "TrueDivide", "ZerosLike"),
)
_ALL = Slice(None, None, None)


def _operation(layer: Any, given: Sequence[Steps]) -> Found:
    if layer.kind == "GetItem":
        return _get_item(layer, given[0])
    arguments = [*layer.args, *(value for _, value in layer.options)]
    plain = not any(isinstance(argument, tuple) for argument in arguments)
    if layer.kind in _ELEMENT_BY_ELEMENT and plain:
        return _same_axes(layer, given)
    if layer.kind in ("Any", "Concatenate"):
        options = dict(layer.options)
        axes = options["axis"] if isinstance(options["axis"], tuple) else (options["axis"],)
        _same_axes(layer, given)
        if all(isinstance(axis, int) and _beyond(axis, given[0].ndim) for axis in axes):
            gone = 0 if layer.kind != "Any" or options["keepdims"] else len(axes)
            return layer, (_with_fewer(given[0], gone),)
    if layer.kind == "ExpandDims" and _beyond_new(dict(layer.options)["axis"], given[0].ndim):
        return layer, (given[0].of(None if given[0].ndim is None else given[0].ndim + 1),)
    raise RefusedError("is an operation that may look at several steps")


def _beyond_new(axis: Any, ndim: int | None) -> bool:
    """Returns whether a new axis lies after that of the steps."""
    if ndim is None:  # [B, T] at least
        return axis == -1
    return isinstance(axis, int) and axis % (ndim + 1) >= 2


def _with_fewer(x: Steps, axes: int) -> Steps:
    return x.of(None if x.ndim is None else x.ndim - axes)


def _get_item(layer: Any, x: Steps) -> Found:
    """What picks parts of every step, or the last step."""
    key = layer.args[1] if type(layer.args[1]) is tuple else (layer.args[1],)
    rest = key[2:]
    simple = layer.args[0] is TENSOR and all(type(one) in (int, Slice) for one in key)
    step = key[1] if len(key) > 1 else _ALL
    if not simple or key[0] != _ALL or step not in (_ALL, -1):
        raise RefusedError("picks steps, of which those still to come are not known")
    running = dataclasses.replace(layer, args=(TENSOR, (_ALL, _ALL, *rest)))
    if step == -1:  # after each step that is the last one
        return running, (None,)
    return layer, (_with_fewer(x, sum(type(one) is int for one in rest)),)


_RULES: tuple[tuple[Any, Callable[[Any, Sequence[Steps]], Found]], ...] = (
    (basic.Embedding, _embedding),
    ((basic.Identity, noise._Noise), _as_it_is),
    ((basic.Dense, basic.Masking, Highway), _per_step),
    (basic.ActivationLayer, _activation),
    ((BatchNormalization, normalization.LayerNormalization, Softmax), _along_axes),
    (
        (
            normalization.RMSNormalization,
            normalization.UnitNormalization,
            normalization.Normalization,
        ),
        _along_axes,
    ),
    (PReLU, _prelu),
    (normalization.Rescaling, _rescaling),
    (merging.Merge, _same_axes),
    (merging.Concatenate, _concatenate),
    (SpectralNormalization, _spectral),
    (basic.TimeDistributed, _distributed),
    (basic.Reshape, _reshape),
    (basic.Permute, _permute),
    (EinsumDense, _einsum),
    (Recurrent, _recurrent),
    (Bidirectional, _bidirectional),
    (ConvolutionLayer, _convolution),
    (GlobalPooling, _pooling),
    ((CustomLayer, Lambda), _callers),
    (Operation, _operation),
)
