"""NamedTuples in programs that ``jax.export`` writes."""

import contextlib
from collections.abc import Mapping
from typing import Any

from jax import export


def register(package: str, names: Mapping[str, Any]) -> None:
    """Lets ``jax.export`` write programs that take or return a package's NamedTuples."""
    for value in names.values():
        if isinstance(value, type) and issubclass(value, tuple):
            # It is there already if the package is loaded again, as notebooks do.
            with contextlib.suppress(ValueError):
                export.register_namedtuple_serialization(
                    value, serialized_name=f"{package}.{value.__name__}"
                )
