"""What the caller gives for what a file only names: custom layers, cells, Lambdas."""

import copy
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jrnn.keras_loader.config import NOTHING, Config
from jrnn.model.custom import CustomCell, CustomLayer, Lambda
from jrnn.model.layer import Layer

_CELL_METHODS = ("initial_state", "project", "step")


def checked(custom_objects: Mapping[str, Any] | None) -> Mapping[str, Callable[..., Any]]:
    """Returns custom objects by name; raises ``ValueError`` unless all can be called."""
    if custom_objects is None:
        return NOTHING
    if not isinstance(custom_objects, Mapping):
        raise ValueError(
            f"custom_objects is a {type(custom_objects).__name__}, but a dict of functions by name "
            "is needed"
        )
    for name, found in custom_objects.items():
        if not isinstance(name, str) or not callable(found):
            raise ValueError(
                f"custom_objects[{name!r}] is a {type(found).__name__}, but names of functions are "
                "needed: of arrays for an activation or a Lambda, of the config for a class"
            )
    return custom_objects


def base(config: Config) -> dict[str, Any]:
    """Returns the arguments that every layer takes, the kind without the class's package."""
    return {**config.base(), "kind": config.kind.rsplit(">")[-1]}


def custom_layer(config: Config, factory: Callable[..., Any]) -> CustomLayer:
    """Returns the layer that the caller's factory makes of its config."""
    made = factory(_options(config))
    if not callable(made) and not isinstance(made, Layer):
        raise ValueError(
            f"custom_objects: what stands for {config.kind!r} made a {type(made).__name__} of its "
            "config, but a function(params, *inputs) or a jrnn.model.layer.Layer is needed"
        )
    return CustomLayer(**base(config), function=made, source=_source(config))


def custom_cell(config: Config, factory: Callable[..., Any]) -> CustomCell:
    """Returns the cell that the caller's factory makes of its config."""
    made = factory(_options(config))
    if isinstance(made, type) or not all(
        callable(getattr(made, name, None)) for name in _CELL_METHODS
    ):
        raise ValueError(
            f"custom_objects: what stands for {config.kind!r} made a {type(made).__name__} of its "
            f"config, but a cell with {', '.join(_CELL_METHODS)} is needed (see jrnn.Cell)"
        )
    return CustomCell(made, source=_source(config))


def _options(config: Config) -> dict[str, Any]:
    """Returns a copy of a config that has a name in any case."""
    return {"name": config.name, **copy.deepcopy(config.values)}


def _source(config: Config) -> str:
    """Returns the JSON of what a file says of an object, without its calls."""
    keys = ("module", "class_name", "config", "registered_name", "build_config")
    return json.dumps({key: _unshared(config.entry[key]) for key in keys if key in config.entry})


def _unshared(value: Any) -> Any:
    """Returns a part of a config without the numbers that Keras gives objects as it goes on."""
    if isinstance(value, dict):
        return {key: _unshared(one) for key, one in value.items() if key != "shared_object_id"}
    return [_unshared(one) for one in value] if isinstance(value, list) else value


def _class_name(value: Any) -> Any:
    return value.get("class_name") if isinstance(value, dict) else None


def parse_lambda(config: Config) -> Lambda:
    """Returns the layer, if the caller gives a function for its name or its function's."""
    if config.values.get("mask") is not None:
        raise config.error("its mask is Python code, which jrnn never runs; put a layer there")
    names = [name for name in _names(config) if isinstance(name, str)]
    found = config.custom_named(*names)
    if found is None:
        ways = " or ".join(f"{{{name!r:.80}: function}}" for name in dict.fromkeys(names))
        raise config.error(
            "it holds Python code, which jrnn never runs; give jrnn.load_keras a function of its "
            f"inputs: custom_objects={ways}"
        )
    arguments = config.values.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise config.error(f"its arguments are {arguments!r:.80}, but an object is needed")
    bound = functools.partial(found, **copy.deepcopy(arguments)) if arguments else found
    by_name = _class_name(config.values.get("function")) == "function"
    return Lambda(**config.base(), function=bound, source=_source(config) if by_name else "")


def _names(config: Config) -> Iterator[Any]:
    """Yields what a Lambda may be known by: its own name, and that of its function."""
    yield config.name
    function: Any = config.values.get("function")
    if _class_name(function) == "function":
        yield from (function.get("registered_name"), function.get("config"))
    elif isinstance(function, str):  # Keras 1 and 2, of a function with a name
        yield function


def ask_for(kind: str, needed: str) -> str:
    """Returns what to do where neither jrnn nor the caller has a class."""
    name = kind.rsplit(">")[-1]
    return (
        f"give jrnn.load_keras what makes {needed} of its config: "
        f"custom_objects={{{name!r:.80}: factory}}"
    )
