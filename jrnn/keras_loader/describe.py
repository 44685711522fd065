"""Output shapes and sizes of a model's layers, with None where the file leaves an axis open.

What DL4J's importer tells of an imported layer, and where it is told here; ``layer`` is one of
``model.layers`` (or what lies in it: ``forward``, ``backward``, ``layer``, ``cells``):

=============================  ==============================================================
``getNumParams``               ``count_params(params[layer.name])``: the numbers; DL4J tells the
                               arrays, ``len(jax.tree.leaves(params[layer.name]))``
``getOutputType``              ``output_shapes(model, params)[layer.name, 0]``
``getUnroll``                  ``layer.unroll``
``getGateActivation...``       ``layer.cell.recurrent_activation``
``getForgetBiasInit...``       ``layer.cell.unit_forget_bias``
``getRecurrentDropout``        ``layer.recurrent_dropout``
``getWeightRegularizer...``    ``dict(layer.regularizers)["kernel"]``
``getConstraints...``          ``dict(layer.constraints)["kernel"]``
=============================  ==============================================================
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from jrnn.keras_loader.arrays import expected_arrays
from jrnn.keras_loader.build import abstract_run, blank, blank_inputs, canonical
from jrnn.layers.bidirectional import BidirectionalParams
from jrnn.model import Model
from jrnn.model.basic import TimeDistributed
from jrnn.model.layer import Layer
from jrnn.model.recurrent import Bidirectional
from jrnn.model.stacked import StackedRecurrent

Shape = tuple[int | None, ...]
Call = tuple[str, int]  # a layer's name and the number of its call
_STAND_INS = (5, 7)  # for an open axis; what comes out differently depends on it


@dataclasses.dataclass(frozen=True)
class Shapes:
    """What running a model on shapes alone tells.

    Attributes:
        outputs: For every call the shapes of its outputs; empty where they cannot be told.
        params: Shapes in place of the parameters; None where they cannot be told.
    """

    outputs: dict[Call, tuple[Shape, ...]]
    params: dict[str, Any] | None


def output_shapes(
    model: Model,
    params: dict[str, Any] | None = None,
    input_shapes: Sequence[Shape] | None = None,
) -> dict[Call, tuple[Shape, ...]]:
    """Returns the shapes of every call's outputs, by layer name and number of the call.

    None stands for the size of an axis that the inputs leave open.

    Args:
        model: The model.
        params: Its parameters, if there are any yet.
        input_shapes: Those of the model's inputs, with the batch; None for what its file says.

    Raises:
        ValueError: If the shapes are more or fewer than the inputs, or cannot be told: an
            input's is not known, or they do not fit.
    """
    if input_shapes is not None:
        if len(input_shapes) != len(model.inputs):
            raise ValueError(
                f"model {model.name!r}: got {len(input_shapes)} input_shapes, but it has "
                f"{len(model.inputs)} inputs"
            )
        pairs = zip(model.inputs, input_shapes, strict=True)
        inputs = tuple(spec._replace(shape=tuple(shape)) for spec, shape in pairs)
        model = dataclasses.replace(model, inputs=inputs)
    found = work_out(model, params).outputs
    if not found:
        shapes = [spec.shape for spec in model.inputs]
        raise ValueError(
            f"model {model.name!r}: its layers' shapes cannot be told from inputs {shapes}; give "
            "input_shapes that fit, with a number for each axis but the batch"
        )
    return found


def work_out(model: Model, params: dict[str, Any] | None) -> Shapes:
    """Returns the shapes; without parameters, those of the parameters as well."""
    if any(spec.shape is None for spec in model.inputs):
        return Shapes({}, params)
    try:
        runs = [_run(model, params, stand_in) for stand_in in _STAND_INS]
    except Exception:  # the stand-ins may not fit together although the model is sound
        return Shapes({}, params)
    (first, first_params), (second, second_params) = runs
    outputs = {
        call: tuple(_common(*pair) for pair in zip(shapes, second[call], strict=True))
        for call, shapes in first.items()
    }
    return Shapes(outputs, first_params if _same(first_params, second_params) else None)


def count_params(params: Any) -> int:
    """Returns the number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _common(one: Sequence[int], other: Sequence[int]) -> Shape:
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def _same(one: Any, other: Any) -> bool:
    return [leaf.shape for leaf in jax.tree.leaves(one)] == [
        leaf.shape for leaf in jax.tree.leaves(other)
    ]


def _run(model: Model, params: Any, stand_in: int) -> tuple[dict[Call, Any], Any]:
    inputs = blank_inputs(model, stand_in)
    params = _blank_params(model, inputs) if params is None else blank(params)
    results = abstract_run(model, params, inputs)
    return {call: tuple(y.shape for y in r.outputs) for call, r in results.items()}, params


def _blank_params(model: Model, inputs: Sequence[Any]) -> dict[str, Any]:
    """Returns shapes for the parameters of a model without weights, from its inputs onwards."""
    params: dict[str, Any] = {}
    for index, node in enumerate(model.nodes):
        if node.layer.name in params:
            continue
        before = dataclasses.replace(model, nodes=model.nodes[:index], outputs=())
        results = abstract_run(before, params, inputs)
        xs = [results[ref.layer, ref.node].outputs[ref.tensor] for ref in node.inputs]
        made = _blank_layer(node.layer, xs)
        if made is not None:
            params[node.layer.name] = made
    return params


def _blank_layer(layer: Layer, xs: Sequence[Any]) -> Any:
    if isinstance(layer, Model):
        return _blank_params(layer, xs)
    if isinstance(layer, Bidirectional):
        return BidirectionalParams(
            _blank_layer(layer.forward, xs), _blank_layer(layer.backward, xs)
        )
    if isinstance(layer, TimeDistributed):
        x = xs[0]
        return _blank_layer(
            layer.layer, [jax.ShapeDtypeStruct((x.shape[0], *x.shape[2:]), x.dtype)]
        )
    if isinstance(layer, StackedRecurrent):
        return _blank_cells(layer, xs[0])
    params_type, shapes = expected_arrays(layer, xs[0].shape)
    if params_type is None:
        return None
    cell = getattr(layer, "cell", None)
    features = xs[0].shape[getattr(cell, "channel_axis", -1)]
    filled = [tuple(features if n is None else n for n in shape or ()) for shape in shapes.values()]
    return params_type(*(jax.ShapeDtypeStruct(shape, canonical("float32")) for shape in filled))


def _blank_cells(layer: StackedRecurrent, x: Any) -> tuple[Any, ...]:
    """Returns shapes for each cell's parameters: it takes what the cell below puts out."""
    sizes = [x.shape[-1], *(cell.units for cell in layer.cells[:-1])]
    inputs = [jax.ShapeDtypeStruct((size,), x.dtype) for size in sizes]
    return tuple(_blank_layer(cell, [x]) for cell, x in zip(layer.cells, inputs, strict=True))
