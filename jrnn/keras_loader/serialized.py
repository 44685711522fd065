"""Regularizers, constraints and initializers inside a config, in the forms of all writers."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

OURS = ("keras", "tf_keras")


@dataclasses.dataclass(frozen=True)
class Unknown:
    """Stands for a function that jrnn cannot tell: loading goes on, and calling it raises.

    Attributes:
        what: what there is in its place: "kernel_regularizer is 'Mine'".
        source: the JSON of what the file has there, if it can be written back as it is.
    """

    what: str
    source: str = dataclasses.field(default="", compare=False)

    def __call__(self, *args: Any) -> Any:
        """Raises ``ValueError``."""
        raise ValueError(
            f"its {self.what}, which jrnn cannot compute; give the typed layer another with "
            "dataclasses.replace, or do without"
        )


def is_foreign(entry: Mapping[str, Any], kind: str) -> bool:
    """Returns whether the class of a serialised object comes from elsewhere than Keras."""
    module, registered = entry.get("module"), entry.get("registered_name")
    package = OURS[0] if module is None else str(module).split(".")[0]
    return package not in OURS or registered not in (None, "", kind)


def read(
    key: str, value: Any, functions: Mapping[str, Callable[..., Any]], names: Mapping[str, str]
) -> Any:
    """Returns the function that a config's value stands for; ``Unknown`` if there is none.

    Args:
        key: The value's key, for messages.
        value: A name; ``{"class_name": ..., "config": {...}}`` (Keras 2 and 3); or
            ``{"name": ..., option: ...}`` (Keras 1).
        functions: What makes a function of options, by name.
        names: The options that Keras 1 called differently.
    """
    try:
        name, given = _parts(value)
        options = {names.get(option, option): _plain(item) for option, item in given.items()}
        return functions[name](**options)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return Unknown(f"{key} is {value!r:.80}", _source(value))


def _source(value: Any) -> str:
    """Returns the JSON of what later versions of Keras take in the same place."""
    later = isinstance(value, str) or (isinstance(value, dict) and "class_name" in value)
    return json.dumps(value) if later else ""


def _parts(value: Any) -> Any:
    """Returns name and options, or None."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, dict):
        return None
    kind = value.get("class_name")
    if kind is None:
        return value.get("name"), {key: item for key, item in value.items() if key != "name"}
    return None if is_foreign(value, kind) else (kind, value.get("config") or {})


def _plain(value: Any) -> Any:
    """Returns an option; lists, also those that are written as objects, as tuples."""
    if isinstance(value, dict):
        value = value.get("items")
    return tuple(value) if isinstance(value, list) else value
