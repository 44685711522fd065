"""The calls between layers, as Keras 1 and 2 write them (lists) and as Keras 3 does (objects)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jrnn.keras_loader.calls import (
    ATTENDING_OPTIONS,
    attending_options,
    called_on,
    flat,
    histories,
    is_ref,
    later_arguments,
    with_inputs_first,
)
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.graph_order import Call
from jrnn.keras_loader.operations import operation
from jrnn.model.activation import Softmax
from jrnn.model.attention import Attention
from jrnn.model.basic import TimeDistributed
from jrnn.model.batch_normalization import BatchNormalization
from jrnn.model.custom import CustomLayer
from jrnn.model.graph import Node, Ref
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention
from jrnn.model.operation import OPERATIONS
from jrnn.model.recurrent import Bidirectional, Recurrent

ATTENTION = ("AdditiveAttention", "Attention")
NESTED = ("Functional", "Model", "Sequential")

# What MultiHeadAttention is called on: tensors in this order or by name, and masks.
_ATTENDING = ("query", "value", "key", "attention_mask")
_ATTENDING_MASKS = ("query_mask", "value_mask", "key_mask")

# Beside loops, what passes its inputs' own masks on where it is given others, but not by keyword.
_PASS_THEIR_OWN = (Attention, BatchNormalization, Softmax, TimeDistributed)


class NodeReader:
    """Reads the calls of one functional model."""

    def __init__(self, config: Config, entries: list) -> None:
        self.config = config
        self.keras3 = config.writer.major >= 3
        kinds = {}
        for entry in entries:
            inner = config.inner(entry)
            kinds[inner.name] = inner.kind
        # A nested model's own graph counts as its call 0. Keras 2 numbers what others refer to
        # accordingly; Keras 3 does so in output_layers alone, and there for functional ones alone.
        self.first_call = {
            name: int(kind in NESTED and not self.keras3) for name, kind in kinds.items()
        }
        self.first_output = {
            name: int(kind in ("Functional", "Model") or (kind == "Sequential" and not self.keras3))
            for name, kind in kinds.items()
        }
        self.own_number = self._own_numbers(entries) if config.writer.numbers_all_calls else {}

    def _own_numbers(self, entries: list) -> dict[tuple[str, int], int]:
        """Returns the numbers in this model of calls that are numbered over all models.

        The calls of one layer stand in order, and each is an output or used by another.
        """
        used: dict[str, set[int]] = {}
        for entry in entries:
            for item in histories(entry.get("inbound_nodes")):
                ref = self._ref(self.config, item)
                used.setdefault(ref.layer, set()).add(ref.node)
        ends = {(ref.layer, ref.node) for ref in self.ends("output_layers")[0]}
        own: dict[tuple[str, int], int] = {}
        for entry in entries:
            name, calls = Config(entry, self.config.writer).name, entry.get("inbound_nodes")
            numbers = list(range(len(calls) if isinstance(calls, list) else 0))
            inner = [number for number in numbers if (name, number) not in ends]
            found = sorted(used.get(name, ()))
            if not numbers or set(inner) <= set(found) <= set(numbers):
                continue
            numbers = numbers if len(numbers) == len(found) else inner
            if len(numbers) != len(found):
                raise self.config.error(f"which calls of {name!r:.80} it uses cannot be told")
            own |= {(name, number): k for number, k in zip(found, numbers, strict=True)}
        return own

    def nodes(self, config: Config, parse: Callable[[Config], Layer]) -> list[Node]:
        """Returns every call of one layer, at least one."""
        calls = config.entry.get("inbound_nodes")
        if not isinstance(calls, list) or not calls:
            raise config.error("nothing calls it")
        if self._is_operation(config):
            return [operation(config, calls, lambda value: self._tensor(config, value))]
        layer = parse(config)
        if isinstance(layer, MultiHeadAttention):
            return [self._attending(config, layer, k, call) for k, call in enumerate(calls)]
        if isinstance(layer, CustomLayer):
            layer = dataclasses.replace(layer, called_on=called_on(calls))
        read = self._call_of_keras3 if isinstance(calls[0], dict) else self._call_of_keras2
        nodes = [read(config, layer, index, call) for index, call in enumerate(calls)]
        if not isinstance(layer, Attention):
            return nodes
        called = [dataclasses.replace(layer, **attending_options(call)) for call in calls]
        return [node._replace(layer=one) for node, one in zip(nodes, called, strict=True)]

    def needs(self, entries: list, nodes: Mapping[Call, Node]) -> dict[Call, list[Call]]:
        """Returns the calls that made what each call is given, in the order of its arguments."""
        found: dict[Call, list[Ref | None]] = {
            call: [*node.inputs, *node.masks] for call, node in nodes.items()
        }
        for entry in entries if self.keras3 else ():
            name, calls = Config(entry, self.config.writer).name, entry.get("inbound_nodes")
            for number, call in enumerate(calls if isinstance(calls, list) else ()):
                if (name, number) in nodes:
                    refs = [self._source(self.config, item) for item in histories(call)]
                    found[name, number] = [*refs]
        return {
            call: [(ref.layer, ref.node) for ref in refs if ref is not None]
            for call, refs in found.items()
        }

    def _is_operation(self, config: Config) -> bool:
        """Tells ``Add`` of two arguments from the layer ``Add`` of one list."""
        module = config.entry.get("module")
        if module is None:  # .h5 files have none, but only layers have "trainable"
            return self.keras3 and config.kind in OPERATIONS and "trainable" not in config.values
        return str(module).startswith("keras.src.ops.")

    def ends(self, key: str) -> tuple[tuple[Ref, ...], tuple[str, ...] | None]:
        """Returns the model's inputs or outputs and, where they are a dict, their names."""
        found = self.config.get(key)
        if isinstance(found, dict):
            names = tuple(sorted(found))
            return tuple(self._end(found[name]) for name in names), names
        if isinstance(found, list) and found and isinstance(found[0], str):
            found = [found]
        items = flat(found) if isinstance(found, list) else []  # states in lists, for each cell
        if not items:
            raise self.config.error(f"{key} is {found!r:.80}, but a list of tensors is needed")
        return tuple(self._end(item) for item in items), None

    def _end(self, item: Any) -> Ref:
        ref = self._ref(self.config, item)
        return ref._replace(node=ref.node - self.first_output.get(ref.layer, 0))

    def _source(self, config: Config, item: Any) -> Ref:
        ref = self._ref(config, item)
        own = ref.node - self.first_call.get(ref.layer, 0)
        return ref._replace(node=self.own_number.get((ref.layer, ref.node), own))

    def _ref(self, config: Config, item: Any) -> Ref:
        if not (
            isinstance(item, list)
            and len(item) >= 3
            and isinstance(item[0], str)
            and type(item[1]) is int
            and type(item[2]) is int
            and item[2] >= 0
        ):
            raise config.error(f"{item!r:.80} stands where a tensor [layer, node, index] is needed")
        return Ref(item[0], item[1], item[2])

    def _call_of_keras2(self, config: Config, layer: Layer, number: int, call: Any) -> Node:
        if isinstance(call, list) and call and isinstance(call[0], str):
            call = [call]
        # The states of stacked cells are a list for each cell in tf.keras.
        items = flat(call) if isinstance(call, list) else []
        if not items:
            raise config.error(f"{call!r:.80} stands where a call is needed")
        inputs = [self._source(config, item) for item in items]
        masks: tuple[Ref | None, ...] = ()
        for item in items:
            kwargs = item[3] if len(item) > 3 else {}
            extra, own_masks = self._keywords(config, kwargs, lambda v: self._source(config, v))
            inputs += extra
            masks = own_masks or masks
        return Node(layer, number, tuple(inputs), masks)

    def _call_of_keras3(self, config: Config, layer: Layer, number: int, call: Any) -> Node:
        if not isinstance(call, dict):
            raise config.error(f"{call!r:.80} stands where a call is needed")
        loop = isinstance(layer, Recurrent | Bidirectional)
        args, kwargs = call.get("args"), call.get("kwargs") or {}
        custom = isinstance(layer, CustomLayer)
        by_keyword = isinstance(kwargs, dict) and "mask" in kwargs
        if isinstance(args, list) and isinstance(kwargs, dict) and not custom:
            args, kwargs = with_inputs_first(args, kwargs)
            args, kwargs = args[:1], later_arguments("loop" if loop else config.kind, args) | kwargs
        inputs = [self._tensor(config, value) for value in flat(args)]
        states, masks = self._keywords(config, kwargs, lambda value: self._tensor(config, value))
        # Keras 3 fills in masks for calls with one argument alone, thus none beside states. What a
        # nested model is given stands before the masks of its inputs, which it sees in any case.
        alone = isinstance(args, list) and len(args) == 1
        alone = alone and (config.kind in NESTED or not (states or masks))
        given = bool(masks) and by_keyword and config.writer.given_mask_leaves
        passing = loop or (bool(masks) and isinstance(layer, _PASS_THEIR_OWN))
        passes = passing and not alone and not given
        return Node(layer, number, tuple(inputs + states), masks, alone, passes)

    def _keywords(
        self, config: Config, kwargs: Any, read: Callable[[Any], Ref]
    ) -> tuple[list[Ref], tuple[Ref | None, ...]]:
        """Returns the initial state's tensors and the inputs' masks given by keyword."""
        if not isinstance(kwargs, dict):
            raise config.error(f"{kwargs!r:.80} stands where keyword arguments are needed")
        states: list[Ref] = []
        masks: list[Ref | None] = []
        for key, value in kwargs.items():
            if value is None or value is False or value == []:
                continue
            if key in ATTENDING_OPTIONS and value is True and config.kind in ATTENTION:
                continue
            if key not in ("initial_state", "mask"):
                raise config.error(f"it is called with {key!r:.80} = {value!r:.80}")
            items = flat(value)
            if key == "initial_state":
                states += [read(item) for item in items if item is not None]
            else:
                masks += [None if item is None else read(item) for item in items]
        return states, tuple(masks)

    def _attending(self, config: Config, layer: MultiHeadAttention, number: int, call: Any) -> Node:
        """A call of MultiHeadAttention, whose inputs have names and whose options are its own."""
        if isinstance(call, dict):
            args, kwargs = flat(call.get("args")), call.get("kwargs") or {}
        else:
            items = flat(call) if isinstance(call, list) else []
            args = [item[:3] if is_ref(item) else item for item in items]
            kwargs = items[0][3] if len(items) == 1 and args != items else {}
        if not isinstance(kwargs, dict) or len(args) > 3:
            raise config.error(f"{call!r:.80} stands where a call on query and value is needed")

        def read(value: Any) -> Ref:
            keras3 = isinstance(call, dict)
            return self._tensor(config, value) if keras3 else self._source(config, value)

        given = {name: read(value) for name, value in zip(_ATTENDING, args, strict=False)}
        masks, options = {}, {}
        for key, value in kwargs.items():
            if value is None or value is False:
                continue
            if key in _ATTENDING and key not in given:
                given[key] = read(value)
            elif key in _ATTENDING_MASKS:
                masks[key.removesuffix("_mask")] = read(value)
            elif key in ATTENDING_OPTIONS and value is True:
                options[ATTENDING_OPTIONS[key]] = True
            else:
                raise config.error(f"it is called with {key!r:.80} = {value!r:.80}")
        if not {"query", "value"} <= set(given):
            raise config.error("it is called without a query or a value")
        given = {name: given[name] for name in _ATTENDING if name in given}
        unread: tuple[Ref, ...] = ()
        if layer.removes_masks and "query" in masks:
            # It goes by the tensor's own mask, whatever it is given; kept as part of the graph.
            unread = (masks.pop("query"),)
        called = dataclasses.replace(layer, arguments=tuple(given), **options)
        own = tuple(masks.get(name) for name in given)
        # In Keras 3 the query's own mask passes, whatever it is given.
        passes = isinstance(call, dict) and "query" in masks
        inputs = tuple(given.values())
        return Node(called, number, inputs, own + unread, passes_masks=passes)

    def _tensor(self, config: Config, value: Any) -> Ref:
        if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
            raise config.error(f"it is called with {value!r:.80}, but a tensor is needed")
        inner = value.get("config")
        return self._source(config, inner.get("keras_history") if isinstance(inner, dict) else None)
