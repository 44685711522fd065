"""JSON from a user's file, bounded before it is parsed."""

import json

import numpy as np

from jrnn.keras_loader.errors import KerasFileError, reading

# What is parsed may take 16 times the text (one wide letter makes all of it four bytes each), and
# every value 72 bytes: with these limits no text costs 64 MiB.
LARGEST_TEXT = 4 * 2**20
_MOST_VALUES = 500_000
_DEEPEST = 200
_PIECE = 2**16


def parse_json_object(text: bytes, where: str) -> dict:
    """Returns the JSON object in `text`; `NaN` and `Infinity` are accepted, as Keras writes them.

    Raises:
        KerasFileError: if it is not one JSON object in UTF-8, or passes the limits above. A small
            text can ask for a large memory (`[[],[],...`) or a deep stack (`[[[[...`), so both are
            counted first.
    """
    if len(text) > LARGEST_TEXT:
        raise KerasFileError(
            f"{where}: expected at most {LARGEST_TEXT} bytes of JSON, found {len(text)}; "
            f"jrnn does not read a configuration of that size"
        )
    values = sum(text.count(mark) for mark in (b",", b"[", b"{", b'"'))
    if values > _MOST_VALUES:
        raise KerasFileError(
            f"{where}: expected at most {_MOST_VALUES} JSON values, found about {values}; "
            f"jrnn does not read a configuration of that size"
        )
    depth = _depth(text)
    if depth > _DEEPEST:
        raise KerasFileError(
            f"{where}: expected JSON nested at most {_DEEPEST} deep, found {depth}; "
            f"no Keras model needs that"
        )
    with reading(where):
        parsed = json.loads(text.decode("utf-8-sig"))
    if not isinstance(parsed, dict):
        raise KerasFileError(
            f"{where}: expected a JSON object, found a {type(parsed).__name__}; "
            f"give the JSON that model.to_json() wrote"
        )
    return parsed


def _depth(text: bytes) -> int:
    """The deepest nesting of brackets outside strings."""
    plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(plain.split(b'"')[::2])
    deepest = now = 0
    for start in range(0, len(outside), _PIECE):
        marks = np.frombuffer(outside[start : start + _PIECE], np.uint8)
        opened = (marks == ord("[")) | (marks == ord("{"))
        closed = (marks == ord("]")) | (marks == ord("}"))
        depths = now + np.cumsum(opened.astype(np.int64) - closed)
        deepest, now = max(deepest, int(depths.max())), int(depths[-1])
    return deepest
