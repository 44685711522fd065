"""The Keras 3 class of every typed layer, whatever class of an older Keras it was read from."""

import re
from collections.abc import Mapping

from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.merging import Concatenate, Dot, Merge

_RENAMED: Mapping[str, str] = {
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "GroupQueryAttention": "GroupedQueryAttention",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
    "TimeDistributedDense": "Dense",
}


def class_of(layer: Layer) -> str:
    """Returns the name of the class that Keras 3 has for a layer."""
    if isinstance(layer, Model):
        return "Sequential" if is_chain(layer) else "Functional"
    if layer.kind == "Merge" and isinstance(layer, Merge):
        return layer.mode.capitalize()
    if layer.kind == "Merge" and isinstance(layer, Concatenate | Dot):
        return type(layer).__name__
    return _RENAMED.get(layer.kind, layer.kind)


def is_chain(model: Model) -> bool:
    """Returns whether Keras 3 can hold a model as Sequential: Keras 1 merged several in one."""
    one_by_one = all(
        node.layer is layer for node, layer in zip(model.nodes, model.layers, strict=False)
    )
    return (
        model.kind == "Sequential"
        and len(model.inputs) == len(model.outputs) == 1
        and len(model.nodes) == len(model.layers)
        and one_by_one
        and all(len(node.inputs) == 1 for node in model.nodes)
    )


def snake_case(name: str) -> str:
    """Returns a class's name as Keras writes it in paths and names."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
