"""MODULES. jrnn's functions as modules of Flax: ``nnx`` and ``linen``."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jrnn.flax_wrappers import linen, nnx

__all__ = ["linen", "nnx"]


def __getattr__(name: str) -> Any:
    """Imports one of the two when it is first asked for."""
    if name in __all__:
        return importlib.import_module(f"jrnn.flax_wrappers.{name}")
    raise AttributeError(f"module 'jrnn.flax_wrappers' has no attribute {name!r}")
