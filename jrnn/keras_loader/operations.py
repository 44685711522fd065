"""Operations of Keras 3 on tensors and constants, each as a layer of its own."""

from collections.abc import Callable
from typing import Any

from jrnn.keras_loader.config import Config
from jrnn.model.graph import Node, Ref
from jrnn.model.operation import OPERATIONS, TENSOR, Operation, Slice

CAST_DTYPES = ("bfloat16", "bool", "float16", "float32", "float64", "int32", "int64")


def operation(config: Config, calls: list, tensor: Callable[[Any], Ref]) -> Node:
    """Returns the call of an operation; ``tensor`` reads an argument that is one."""
    call = calls[0] if isinstance(calls[0], dict) else {}
    args, kwargs = call.get("args"), call.get("kwargs") or {}
    if config.kind not in OPERATIONS or not isinstance(args, list) or len(calls) != 1:
        raise config.error("jrnn cannot load this operation; docs/keras.md lists those it can")
    if not isinstance(kwargs, dict) or any(value is not None for value in kwargs.values()):
        raise config.error(f"it is called with {kwargs!r:.80}")
    inputs: list[Ref] = []

    def argument(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(map(argument, value))
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            inputs.append(tensor(value))
            return TENSOR
        return _constant(config, value)

    template = tuple(map(argument, args))
    options = _options(config)
    config.finish()
    made = Operation(
        name=config.name, kind=config.kind, args=template, options=tuple(options.items())
    )
    return Node(made, 0, tuple(inputs))


def _options(config: Config) -> dict[str, Any]:
    """The keyword arguments of an operation."""
    options: dict[str, Any] = {}
    if config.kind in ("Any", "Concatenate", "ExpandDims"):
        axis = config.get("axis")
        options["axis"] = tuple(axis) if isinstance(axis, list) else axis
    if config.kind == "Any":
        options["keepdims"] = config.flag("keepdims", default=False)
    if config.kind in ("Cast", "ConvertToTensor", "OnesLike", "ZerosLike"):
        options["dtype"] = config.get("dtype")
        free = config.kind != "Cast" and options["dtype"] is None
        if not free and options["dtype"] not in CAST_DTYPES:
            raise config.error(f"it casts to {options['dtype']!r:.80}")
    return options


def _constant(config: Config, value: Any) -> Any:
    """A number, or what indexes a tensor."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, list):
        return tuple(_constant(config, item) for item in value)
    if isinstance(value, dict) and value.get("class_name") == "__ellipsis__":
        return ...
    if isinstance(value, dict) and value.get("class_name") == "__slice__":
        inner = value["config"] if isinstance(value.get("config"), dict) else {}
        ends = tuple(inner.get(key) for key in ("start", "stop", "step"))
        if all(end is None or type(end) is int for end in ends):
            return Slice(*ends)
    raise config.error(f"it is called with {value!r:.80}, which jrnn does not know")
