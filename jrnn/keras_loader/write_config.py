"""``jrnn.model.Model`` -> the config that Keras 3 writes for it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jrnn.keras_loader.calls import ATTENDING_OPTIONS
from jrnn.keras_loader.classes import class_of, is_chain
from jrnn.keras_loader.graph_order import attending
from jrnn.keras_loader.write_custom import as_read
from jrnn.keras_loader.write_layers import OPTIONS
from jrnn.keras_loader.write_options import base, keras_object, unsupported
from jrnn.keras_loader.write_recurrent import grouped_states, recurrent_options
from jrnn.keras_loader.write_training import penalty_options
from jrnn.model.attention import Attention
from jrnn.model.basic import Embedding, TimeDistributed
from jrnn.model.batch_normalization import BatchNormalization
from jrnn.model.custom import CustomLayer, Lambda
from jrnn.model.graph import Input, Model, Node, Ref
from jrnn.model.layer import Layer
from jrnn.model.merging import Concatenate, Cosine, Dot, Merge
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.operation import TENSOR, Operation, Slice
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.spectral import SpectralNormalization

Entry = dict[str, Any]

_TAKE_LISTS = (Attention, Concatenate, Cosine, Dot, Merge)
_UNTRAINED = ("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")  # take no trainable
_EXPORTED = {"GroupedQueryAttention": "GroupQueryAttention"}  # what keras.layers calls a class
_MODULES = {  # of the operations that are not keras.src.ops.numpy's
    "Cast": "keras.src.ops.core",
    "ConvertToTensor": "keras.src.ops.core",
    "Relu": "keras.src.ops.nn",
    "Sigmoid": "keras.src.ops.nn",
}


def model_entry(model: Model, params: Mapping[str, Any], *, is_inside: bool = False) -> Entry:
    """Returns ``{"module", "class_name", "config", "registered_name"}`` for a model.

    One inside another may learn the shape of its input when it is called.

    Raises:
        ValueError: If a layer has what no config of Keras 3 says.
    """
    for layer in model.layers:
        if "/" in layer.name:
            raise unsupported(layer, "names with '/'")
    if is_chain(model):
        return keras_object("keras", "Sequential", _sequential(model, params, is_inside))
    module = "keras.src.models.functional"
    return keras_object(module, "Functional", _functional(model, params), "Functional")


def _sequential(model: Model, params: Mapping[str, Any], is_inside: bool) -> Entry:
    entries = [layer_entry(layer, params.get(layer.name)) for layer in model.layers]
    [spec] = model.inputs
    if spec.shape is not None or not is_inside:
        entries = [_input(model, spec), *entries]
    return {"name": model.name, "trainable": model.trainable, "layers": entries}


def _functional(model: Model, params: Mapping[str, Any]) -> Entry:
    calls: dict[str, list[Node]] = {layer.name: [] for layer in model.layers}
    for node in sorted(model.nodes, key=lambda node: node.number):
        calls[node.layer.name].append(node)
    entries = [
        {**_input(model, spec), "name": spec.name, "inbound_nodes": []} for spec in model.inputs
    ]
    for layer in model.layers:
        entry = layer_entry(layer, params.get(layer.name))
        inbound = [_call(node) for node in calls[layer.name]]
        entries.append({**entry, "name": layer.name, "inbound_nodes": inbound})
    # A nested functional model's own graph counts as its call 0, though here alone.
    first = {layer.name: int(class_of(layer) == "Functional") for layer in model.layers}
    inputs = [[spec.name, 0, 0] for spec in model.inputs]
    outputs = [[ref.layer, ref.node + first.get(ref.layer, 0), ref.tensor] for ref in model.outputs]
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": entries,
        "input_layers": _ends(inputs, model.input_names),
        "output_layers": _ends(outputs, model.output_names),
    }


def _ends(tensors: list, names: Sequence[str] | None) -> Any:
    if names is not None:
        return dict(zip(names, tensors, strict=True))
    return tensors[0] if len(tensors) == 1 else tensors


def _input(model: Model, spec: Input) -> Entry:
    if spec.shape is None:
        raise ValueError(
            f"model {model.name!r}: the shape of its input {spec.name!r} is not known, but Keras 3 "
            "needs one; build the model before it is saved, or give Input a shape"
        )
    takers = [node.layer for node in model.nodes if Ref(spec.name) in node.inputs]
    ids = bool(takers) and all(isinstance(layer, Embedding) for layer in takers)
    config = {
        "batch_shape": list(spec.shape),
        "dtype": spec.dtype or ("int32" if ids else "float32"),
        "sparse": False,
        "name": spec.name,
    }
    return keras_object("keras.layers", "InputLayer", config)


def layer_entry(layer: Layer, params: Any) -> Entry:
    """Returns the entry of a layer, an operation or a nested model, with all that it holds."""
    if isinstance(layer, Model):
        return model_entry(layer, params or {}, is_inside=True)
    if isinstance(layer, Operation):
        module = _MODULES.get(layer.kind, "keras.src.ops.numpy")
        options = {key: list(v) if type(v) is tuple else v for key, v in layer.options}
        return keras_object(module, layer.kind, {"name": layer.name, **options}, layer.kind)
    if isinstance(layer, CustomLayer | Lambda):
        return as_read(layer)
    config = base(layer, params)
    if layer.kind in _UNTRAINED:
        del config["trainable"]
    options = penalty_options(layer) | _options(layer, params)
    name = _EXPORTED.get(class_of(layer), class_of(layer))
    return keras_object("keras.layers", name, config | options)


def _options(layer: Layer, params: Any) -> Entry:
    if isinstance(layer, Recurrent):
        return recurrent_options(layer, params)
    if isinstance(layer, Bidirectional):
        forward, backward = layer.forward, layer.backward
        if backward.name == forward.name:  # before Keras 3 it was a copy
            backward = dataclasses.replace(backward, name=f"backward_{backward.name}")
        return {
            "merge_mode": layer.merge,
            "layer": layer_entry(forward, params[0]),
            "backward_layer": layer_entry(backward, params[1]),
        }
    if isinstance(layer, TimeDistributed):
        return {"layer": layer_entry(layer.layer, params)}
    if isinstance(layer, SpectralNormalization):
        inner = layer_entry(layer.layer, params.layer)
        return {"layer": inner, "power_iterations": layer.power_iterations}
    if type(layer) not in OPTIONS:
        raise unsupported(layer, "such layer")
    return OPTIONS[type(layer)](layer)


def _call(node: Node) -> Entry:
    layer, tensors = node.layer, [_tensor(ref) for ref in node.inputs]
    if isinstance(layer, MultiHeadAttention):
        others = {name: _tensor(ref) for name, ref in attending(node).items()}
        return {"args": tensors[:1], "kwargs": others | _options_of_call(layer)}
    masks = [None if ref is None else _tensor(ref) for ref in node.masks[: len(tensors)]]
    if isinstance(layer, Operation):
        rest = iter(tensors)
        return {"args": [_argument(value, rest) for value in layer.args], "kwargs": {}}
    kwargs: Entry = {}
    if isinstance(layer, Recurrent | Bidirectional) and len(tensors) > 1:
        kwargs["initial_state"] = _states(layer, tensors[1:])
        tensors, masks = tensors[:1], masks[:1]
    args = _arguments(node, tensors)
    if any(mask is not None for mask in masks):
        given = masks if args[0] is tensors else masks[0]
        if node.passes_masks:  # Keras passes a mask on if it is given by keyword, and only then
            before = isinstance(
                layer, Recurrent | Bidirectional | BatchNormalization | TimeDistributed
            )
            args = [*args, *([kwargs.pop("initial_state", None)] if before else []), given]
        else:
            kwargs["mask"] = given
    if isinstance(layer, Attention):
        kwargs |= _options_of_call(layer)
    return {"args": args, "kwargs": kwargs}


def _arguments(node: Node, tensors: list) -> list:
    """Returns the positional arguments of a call: a tensor, a list of them or several."""
    layer = node.layer
    if not isinstance(layer, CustomLayer):
        in_a_list = isinstance(layer, _TAKE_LISTS) or len(tensors) > 1
        return [tensors] if in_a_list else tensors
    if not layer.called_on:
        raise unsupported(layer, "way to call it that jrnn keeps")
    return [tensors] if layer.called_on == "list" else tensors


def _options_of_call(layer: Attention | MultiHeadAttention) -> dict[str, bool]:
    """Returns what is chosen where attention is called and not where it is made."""
    return {key: True for key, field in ATTENDING_OPTIONS.items() if getattr(layer, field)}


def _states(layer: Recurrent | Bidirectional, states: list) -> list:
    if isinstance(layer, Recurrent):
        return grouped_states(layer, states)
    middle = len(states) // 2
    return grouped_states(layer.forward, states[:middle]) + grouped_states(
        layer.backward, states[middle:]
    )


def _tensor(ref: Ref) -> Entry:
    """Returns what stands for a tensor; a reader works out its shape and dtype again."""
    config = {"shape": [], "dtype": "float32", "keras_history": list(ref)}
    return {"class_name": "__keras_tensor__", "config": config}


def _argument(value: Any, tensors: Any) -> Any:
    """Returns one argument of an operation, with the next tensor for each ``TENSOR``."""
    if value is TENSOR:
        return next(tensors)
    if isinstance(value, Slice):
        return {"class_name": "__slice__", "config": value._asdict()}
    if value is ...:
        return {"class_name": "__ellipsis__", "config": {}}
    return [_argument(item, tensors) for item in value] if type(value) is tuple else value
