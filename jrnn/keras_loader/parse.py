"""A model's config -> ``jrnn.model.Model``: Sequential and functional, of every writer."""

import graphlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jrnn.keras_loader.cells import parse_rnn
from jrnn.keras_loader.config import NOTHING, Config
from jrnn.keras_loader.custom import ask_for, custom_layer, parse_lambda
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.graph_order import Call, Needs, calls_in_keras_order
from jrnn.keras_loader.layers import LAYERS
from jrnn.keras_loader.nodes import NodeReader
from jrnn.keras_loader.spectral import parse_spectral_normalization
from jrnn.keras_loader.wrappers import parse_bidirectional, parse_time_distributed
from jrnn.keras_loader.writer import Writer
from jrnn.model.graph import Input, Model, Node, Ref
from jrnn.model.layer import Layer
from jrnn.model.walk import walk


def parse_model(entry: Any, writer: Writer, custom: Mapping[str, Any] = NOTHING) -> Model:
    """Returns the model for ``{"class_name": ..., "config": ...}`` as files hold it.

    Args:
        entry: The config.
        writer: The Keras that wrote it.
        custom: What the caller gives by name for what Keras does not have itself.
    """
    return _model(Config(entry, writer, custom))


def _model(config: Config) -> Model:
    if config.kind not in MODELS or config.is_foreign():
        raise KerasFileError(
            f"the model is a {config.kind!r:.80}, but a Sequential or functional model of Keras is "
            "needed; subclassed models hold their forward pass as Python code"
        )
    layers = config.get("layers")
    if not isinstance(layers, list) or not layers:
        raise config.error("it has no list of layers")
    return MODELS[config.kind](config, layers)


def parse_layer(entry: Any, writer: Writer, custom: Mapping[str, Any] = NOTHING) -> Layer:
    """Returns the typed layer, wrapper or nested model for an entry of a config."""
    return _layer(Config(entry, writer, custom))


def _layer(config: Config) -> Layer:
    custom = config.custom_class()
    if custom is not None:
        return custom_layer(config, custom)
    if config.kind in MODELS:
        return _model(config)
    if config.kind == "Lambda" and not config.is_foreign():
        return parse_lambda(config)
    if config.is_foreign() or not (config.kind in LAYERS or config.kind in WRAPPERS):
        raise config.error(
            "jrnn cannot load this layer; docs/keras.md lists those it can; "
            + ask_for(config.kind, "a function(params, *inputs)")
        )
    if config.kind in WRAPPERS:
        layer = WRAPPERS[config.kind](config, lambda entry: _layer(config.inner(entry)))
    else:
        layer = LAYERS[config.kind](config)
    config.finish()
    return layer


WRAPPERS = {
    "Bidirectional": parse_bidirectional,
    "RNN": parse_rnn,
    "SpectralNormalization": parse_spectral_normalization,
    "TimeDistributed": parse_time_distributed,
}


def _sequential(config: Config, entries: list) -> Model:
    first = config.inner(entries[0])
    before: list[Model] = []
    if first.kind == "InputLayer":
        inputs, entries = (_input(first),), entries[1:]
    elif first.kind == "Merge" and first.values.get("layers"):
        before, merge = _branches(first)
        inputs = tuple(spec for branch in before for spec in branch.inputs)
        entries = [merge, *entries[1:]]
    else:
        inputs = (_first_input(first),)
    layers = [layer for branch in before for layer in branch.layers]
    nodes = [node for branch in before for node in branch.nodes]
    previous = tuple(branch.outputs[0] for branch in before) or (Ref(inputs[0].name),)
    for k, entry in enumerate(entries, 1):
        layers.append(_layer(config.inner(_named(entry, k))))
        nodes.append(Node(layers[-1], 0, previous))
        previous = (Ref(layers[-1].name),)
    _check_names(config, [one.name for one in (*inputs, *layers)])
    return Model(
        name=config.name,
        kind=config.kind,
        trainable=config.values.get("trainable") is not False,
        inputs=inputs,
        nodes=tuple(nodes),
        outputs=previous,
        layers=tuple(layers),
    )


def _branches(merge: Config) -> tuple[list[Model], dict]:
    """Keras 1: the models that a Sequential starts by merging, and the merge itself.

    Keras saves their layers as if they were the Sequential's own.
    """
    found = merge.values["layers"]
    if not isinstance(found, list):
        raise merge.error(f"its layers are {found!r:.80}, but a list of models is needed")
    branches = [_model(merge.inner(_named(entry, k))) for k, entry in enumerate(found, 1)]
    values = {key: value for key, value in merge.values.items() if key != "layers"}
    return branches, {**merge.entry, "config": values}


def _named(entry: Any, position: int) -> Any:
    """Keras 1 to 2.2.2 gave a Sequential inside a Sequential no name, and a list for a config."""
    nameless = isinstance(entry, dict) and isinstance(entry.get("config"), list)
    return {"name": f"sequential_{position}", **entry} if nameless else entry


def _first_input(first: Config) -> Input:
    """The input of a Sequential model that has no InputLayer: its first layer tells."""
    spec, build = _input(first), first.entry.get("build_config")
    shape = spec.shape
    if shape is None and isinstance(build, dict):
        shape = _shape(first, build.get("input_shape"))
    # Keras 1 and 2.0 wrote the dtype of an Embedding's input, others that of its output.
    dtype = None if first.kind == "Embedding" else spec.dtype
    return Input(f"{first.name}_input", shape, dtype)


def _input(config: Config) -> Input:
    shape = config.values.get("batch_shape") or config.values.get("batch_input_shape")
    dtype = config.values.get("input_dtype") or config.values.get("dtype")
    known = isinstance(dtype, str) and dtype in INPUT_DTYPES
    return Input(config.name, _shape(config, shape), dtype if known else None)


INPUT_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "bool")


def _shape(config: Config, shape: Any) -> tuple[int | None, ...] | None:
    if isinstance(shape, dict):  # tf.keras writes {"class_name": "TensorShape", "items": [..]}
        shape = shape.get("items")
    if shape is None:
        return None
    if not isinstance(shape, list) or not all(
        size is None or (type(size) is int and 0 <= size < 2**31) for size in shape
    ):
        raise config.error(f"its input shape is {shape!r:.80}")
    return tuple(shape)


def _functional(config: Config, entries: list) -> Model:
    reader = NodeReader(config, entries)
    inputs: dict[str, Input] = {}
    layers: dict[str, Layer] = {}
    nodes: dict[Call, Node] = {}
    for entry in entries:
        inner = config.inner(entry)
        if inner.name in inputs or inner.name in layers:
            raise config.error(f"two of its layers have the name {inner.name!r:.80}")
        if inner.kind == "InputLayer":
            inputs[inner.name] = _input(inner)
            continue
        found = reader.nodes(inner, _layer)
        layers[inner.name] = found[0].layer
        nodes |= {(inner.name, node.number): node for node in found}
    input_refs, input_names = reader.ends("input_layers")
    outputs, output_names = reader.ends("output_layers")
    for ref in input_refs:
        if ref.layer not in inputs:
            raise config.error(f"its input {ref.layer!r:.80} is no InputLayer")
    needs = reader.needs(entries, nodes)
    order = _in_order(config, needs, {ref.layer for ref in input_refs}, outputs)
    if _order_matters(nodes.values()):
        made = calls_in_keras_order(needs, outputs)
        places = {call: place for place, call in enumerate(made)}
        order.sort(key=lambda call: places.get(call, len(places)))
    return Model(
        name=config.name,
        kind=config.kind,
        trainable=config.values.get("trainable") is not False,
        inputs=tuple(inputs[ref.layer] for ref in input_refs),
        nodes=tuple(nodes[call] for call in order),
        outputs=outputs,
        layers=tuple(layers.values()),
        input_names=input_names,
        output_names=output_names,
    )


def _in_order(
    config: Config, needs: Needs, inputs: set[str], outputs: tuple[Ref, ...]
) -> list[Call]:
    """Returns the calls so that each follows those it needs."""
    wanted = [key for sources in needs.values() for key in sources]
    for name, call in [*wanted, *((ref.layer, ref.node) for ref in outputs)]:
        if (name, call) not in needs and not (name in inputs and call == 0):
            raise config.error(f"its graph uses call {call} of {name!r:.80}, which is not there")
    try:
        order = list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError:
        raise config.error("its graph runs in a circle") from None
    return [call for call in order if call in needs]


def _order_matters(nodes: Iterable[Node]) -> bool:
    """Whether a call changes what others see: masks, or a state that another one starts from."""
    for node in nodes:
        for layer in walk(node.layer):
            if getattr(layer, "removes_masks", False):
                return True
            if node.number > 0 and getattr(layer, "stateful", False):
                return True
    return False


def _check_names(config: Config, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise config.error(f"two of its layers have the name {names[-1]!r:.80}")


MODELS: dict[str, Callable[[Config, list], Model]] = {
    "Functional": _functional,
    "Model": _functional,
    "Sequential": _sequential,
}
