"""Masks of a functional model handed over by keyword, as Keras 3 writes them.

Keras 3 fills in masks for calls on one argument alone, thus none beside initial states, where
older versions do. As tensors of their own they count in both; and only what is in the graph tells
in which order Keras 3 will hold the layers.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from jrnn.keras_loader.build import blank, blank_inputs
from jrnn.model.activation import Softmax
from jrnn.model.basic import Embedding, Masking, TimeDistributed
from jrnn.model.batch_normalization import BatchNormalization
from jrnn.model.graph import Model, Node, Ref
from jrnn.model.operation import TENSOR, Operation
from jrnn.model.pooling import GlobalPooling
from jrnn.model.recurrent import Bidirectional, Recurrent

Call = tuple[str, int]

# The layers whose call takes a mask by keyword, for which Keras 3 puts it into the graph: those
# called on one tensor. The pooling one, if it is the mean over steps.
_TAKERS = (
    BatchNormalization,
    Bidirectional,
    GlobalPooling,
    Model,
    Recurrent,
    Softmax,
    TimeDistributed,
)


def with_masks_by_keyword(model: Model, params: Mapping[str, Any]) -> Model:
    """Returns a model in which masks of Embedding and Masking layers reach others by keyword.

    Masks made in other ways stay as they are, as does a model that cannot be run on shapes.
    """
    found = _sources(model, params)
    if not found:
        return model
    makers = {call for masks in found.values() for call in masks if call is not None}
    nodes: list[Node] = []
    tensors: dict[Call, Ref] = {}
    taken = {layer.name for layer in model.layers} | {spec.name for spec in model.inputs}
    for node in model.nodes:
        call = (node.layer.name, node.number)
        if call in found:
            masks = tuple(None if source is None else tensors[source] for source in found[call])
            node = node._replace(masks=masks, takes_masks=False)
        nodes.append(node)
        if call in makers:
            made = list(_operations(node, taken))
            nodes += made
            tensors[call] = Ref(made[-1].layer.name)
    operations = [node.layer for node in nodes if node.layer.name not in taken]
    return dataclasses.replace(model, nodes=tuple(nodes), layers=(*model.layers, *operations))


def _operations(node: Node, taken: set[str]) -> Iterator[Node]:
    """Yields the calls that make the mask which a call of Embedding or Masking puts out."""
    value = node.layer.mask_value if isinstance(node.layer, Masking) else 0
    different = _named(node, "NotEqual", taken, (TENSOR, value), ())
    yield Node(different, 0, node.inputs[:1])
    if isinstance(node.layer, Masking):
        options = (("axis", -1), ("keepdims", False))
        any_feature = _named(node, "Any", taken, (TENSOR,), options)
        yield Node(any_feature, 0, (Ref(different.name),))


def _named(node: Node, kind: str, taken: set[str], args: tuple, options: tuple) -> Operation:
    name = f"{node.layer.name}_{kind.lower()}_{node.number}"
    while name in taken:
        name += "_"
    return Operation(name=name, kind=kind, args=args, options=options)


def _sources(model: Model, params: Mapping[str, Any]) -> dict[Call, tuple[Call | None, ...]]:
    """Returns, for every call that masks reach, whose call made each input's mask.

    Layers that hand a mask on hand on the same array: it is known again while JAX traces.
    """
    found: dict[Call, tuple[Call | None, ...]] = {}

    def run(params, inputs):
        results, _ = model.trace(params, inputs, [None] * len(inputs))
        makers = {
            id(result.masks[0]): call
            for call, result in results.items()
            if _makes(model, call) and result.masks[0] is not None  # which attention took off
        }
        for node in model.nodes:
            if node.masks or not node.takes_masks or not _takes(node):
                continue
            masks = [results[ref.layer, ref.node].masks[ref.tensor] for ref in node.inputs]
            sources = tuple(makers.get(id(mask)) for mask in masks)
            known = all(mask is None or one for mask, one in zip(masks, sources, strict=True))
            if known and any(sources):
                found[node.layer.name, node.number] = sources

    try:
        jax.eval_shape(run, blank(params), blank_inputs(model))
    except Exception:  # sizes that the file leaves open: masks stay as they are
        return {}
    return found


def _makes(model: Model, call: Call) -> bool:
    layer = next((one for one in model.layers if one.name == call[0]), None)
    if isinstance(layer, Masking):
        return layer.dtype is None  # in another dtype it compares rounded numbers
    return isinstance(layer, Embedding) and layer.mask_zero


def _takes(node: Node) -> bool:
    layer = node.layer
    if isinstance(layer, Model) and len(node.inputs) > 1:
        return False
    if isinstance(layer, GlobalPooling):
        return layer.mode == "average" and layer.rank == 1
    return isinstance(layer, _TAKERS)
