"""NamedTuples in programs that ``jax.export`` writes."""

from collections.abc import Iterable
from typing import Any

from jax import export


def register(package: str, values: Iterable[Any]) -> None:
    """Lets ``jax.export`` write programs that take or return the NamedTuples among the values.

    Raises:
        ValueError: If another type has the name ``package.Type``.
    """
    for value in values:
        if isinstance(value, type) and issubclass(value, tuple):
            try:
                export.register_namedtuple_serialization(
                    value, serialized_name=f"{package}.{value.__name__}"
                )
            except ValueError as error:
                # JAX says which type is there already: this one, if the package is loaded again,
                # as notebooks do.
                if str(value) not in str(error):
                    raise
