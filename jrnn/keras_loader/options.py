"""Options that several layers share, read from a config as one of the forms Keras gave them."""

from typing import Any

from jrnn.keras_loader.config import Config

LARGEST_AMOUNT = 2**31 - 1


def sizes(
    config: Config, rank: int, *keys: str, default: int | None = None, smallest: int = 1
) -> tuple[int, ...]:
    """Returns ``rank`` sizes, which a config may give as one number; null stands for the default.

    Args:
        config: The layer's config.
        rank: How many sizes.
        *keys: The option's names; the first that the config has counts.
        default: What each size is where the option is missing; None if it may not be.
        smallest: The smallest size allowed.
    """
    value = config.get(*keys)
    if value is None and default is not None:
        value = default
    found: list[Any] = listed(value) if isinstance(value, list | dict) else [value] * rank
    if len(found) != rank or not all(is_amount(size, smallest) for size in found):
        raise config.error(f"{keys[0]} is {value!r:.80}, but {rank} sizes are needed")
    return tuple(int(size) for size in found)


def pairs(config: Config, rank: int, key: str, default: int) -> tuple[tuple[int, int], ...]:
    """Returns amounts before and after, for each of ``rank`` axes.

    A config may give one amount for all, a pair for a single axis, for several axes one amount or
    a pair for each, or (Keras 1) four amounts in a row for two axes.
    """
    value = config.get(key)
    value = default if value is None else value
    found: list[Any] = listed(value) if isinstance(value, list | dict) else [value] * rank
    if rank == 1 and len(found) == 2:
        found = [found]
    if rank == 2 and len(found) == 4:
        found = [found[:2], found[2:]]
    ends = [listed(one) if isinstance(one, list | dict) else [one, one] for one in found]
    if len(ends) != rank or not all(
        len(pair) == 2 and is_amount(pair[0], 0) and is_amount(pair[1], 0) for pair in ends
    ):
        raise config.error(f"{key} is {value!r:.80}, but two amounts for each axis are needed")
    return tuple((int(start), int(end)) for start, end in ends)


def axes(config: Config, key: str, default: int) -> tuple[int, ...]:
    """Returns an option that is one axis or a list of them."""
    value = config.get(key)
    value = default if value is None else value
    found = listed(value) if isinstance(value, list | dict) else [value]
    if not found or not all(type(axis) is int and -8 <= axis <= 8 for axis in found):
        raise config.error(f"{key} is {value!r:.80}, but an axis or a list of axes is needed")
    return tuple(found)


def channels_first(config: Config) -> bool:
    """Returns whether the channels stand before the axes of steps or pixels."""
    value = config.get("data_format", "dim_ordering")
    known = {"channels_first": True, "th": True, "channels_last": False, "tf": False, None: False}
    if not isinstance(value, str | None) or value not in known:
        raise config.error(
            f"data_format is {value!r:.80}, but 'channels_last' or 'channels_first' is needed"
        )
    return known[value]


def choice(config: Config, *keys: str, default: str, choices: tuple[str, ...]) -> Any:
    """Returns an option that is one of a few words."""
    value = config.get(*keys, default=default)
    word = value.lower() if isinstance(value, str) else value
    if word not in choices:
        raise config.error(f"{keys[0]} is {value!r:.80}, but one of {choices} is needed")
    return word


def listed(value: Any) -> list:
    """Returns a list, which tf.keras also writes {"class_name": "__tuple__", "items": [..]}."""
    items = value.get("items") if isinstance(value, dict) else value
    return items if isinstance(items, list) else []


def is_amount(value: Any, smallest: int) -> bool:
    """Returns whether a value is an integer from ``smallest`` on that a size may be."""
    return type(value) is int and smallest <= value <= LARGEST_AMOUNT
