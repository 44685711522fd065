"""Functions by name."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def look_up(kind: str, functions: Mapping[str, Callable[..., Any]], name: Any) -> Callable:
    """Returns `functions[name]`; raises `ValueError` with the names there are if it is none."""
    if isinstance(name, str) and name in functions:
        return functions[name]
    close = difflib.get_close_matches(str(name), functions, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"unknown {kind} {name!r}; {hint}names: {', '.join(functions)}")


def made(
    kind: str, functions: Mapping[str, Callable[..., Any]], given: Any, options: Mapping[str, Any]
) -> Any:
    """Returns `functions[given](**options)`, or what is given if that is a function.

    Raises:
        ValueError: unknown name; an option its function has not; options beside a function.
    """
    if callable(given):
        if options:
            raise ValueError(f"{kind} {given!r} is a function: no options, got {dict(options)}")
        return given
    function = look_up(kind, functions, given)
    signature = inspect.signature(function)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(f"{kind} {given!r} takes {signature}, got {dict(options)}") from error
    return function(**options)
