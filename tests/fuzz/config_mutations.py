"""Changes to a model's config: values, keys, names and calls, then the JSON text itself."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any


def _nested(depth: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = make(value)
    return value


REPLACEMENTS = (
    *(None, True, False, -1, 0, 1, 2, 7, 2**31, 2**63, 10**400, 0.5, -0.0, 1e30, 1e308),
    *(float("nan"), float("inf"), "", "x", "linear", "softmax", "../../etc/passwd", "é\0"),
    *([], {}, [[]], [None], [[None]], ["x", 0, 0], ["x", 0, -1], [["x", 0, 9]], [1e30], [True]),
    {"class_name": "x"},
    {"class_name": []},
    {"class_name": "LSTM", "config": {}},
    {"class_name": "Lambda", "config": {"function": ["4wA=", None, None]}},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 10**30, 0]}},
    {"class_name": "__slice__", "config": {"start": 10**30}},
    _nested(90, lambda inner: [inner]),
    _nested(90, lambda inner: {"a": inner}),
    _nested(40, lambda inner: {"class_name": "TimeDistributed", "config": {"layer": inner}}),
    _nested(40, lambda inner: {"class_name": "Sequential", "config": {"layers": [inner]}}),
)
CLASSES = (
    *("Activation", "Add", "Bidirectional", "Conv1D", "ConvLSTM2D", "CuDNNLSTM", "Dense", "Dot"),
    *("Embedding", "Flatten", "Functional", "GRU", "InputLayer", "LSTM", "LSTMCell", "Lambda"),
    *("Merge", "Model", "RNN", "Reshape", "Sequential", "SimpleRNN", "StackedRNNCells"),
    *("TFSMLayer", "TimeDistributed", "TorchModuleWrapper", "__import__", "os.system"),
)
HOWS = ("delete", "replace", "replace", "replace", "double", "swap", "copy", "rename", "class")


def places(value: object, path: tuple = ()) -> Iterator[tuple]:
    """Yields the path of every value inside."""
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def _at(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value


def mutate(config: dict, rng: random.Random, paths: list) -> tuple[dict, str]:
    """Returns the config with one to three changes, and what they are."""
    changed, said = copy.deepcopy(config), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path, how = rng.choice(paths), rng.choice(HOWS)
        try:
            parent = _at(changed, path[:-1])
            _change(changed, parent, path, how, rng, paths)
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
        said.append(f"{how} {'/'.join(map(str, path))}")
    return changed, "; ".join(said)


def _change(
    config: dict, parent: Any, path: tuple, how: str, rng: random.Random, paths: list
) -> None:
    key = path[-1]
    if how == "delete":
        del parent[key]
    elif how == "replace":
        parent[key] = copy.deepcopy(rng.choice(REPLACEMENTS))
    elif how == "copy":  # a value from elsewhere in the same file: a name makes a cycle of calls
        other = rng.choice([one for one in paths if one[-1] == key] + [rng.choice(paths)] * 2)
        parent[key] = copy.deepcopy(_at(config, other))
    elif how == "class" and "class_name" in parent:
        parent["class_name"] = rng.choice(CLASSES)
    elif how == "rename" and isinstance(parent, dict):
        parent[rng.choice(("", "x", "name", "units", "layers", "é", "n" * 70_000))] = parent.pop(
            key
        )
    elif how == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif how == "swap" and isinstance(parent, list) and parent:
        other = rng.randrange(len(parent))
        parent[key], parent[other] = parent[other], parent[key]


def mutate_text(text: bytes, rng: random.Random) -> bytes:
    """Returns JSON text changed as text: doubled keys, huge numbers, deep nesting, bad UTF-8."""
    at = rng.randrange(len(text))
    value = text.find(b":", at) + 1 or len(text)
    deep = rng.choice((150, 199, 201, 5_000, 100_000))
    found = rng.randrange(9)
    if found == 0:
        return text[:at] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5))) + text[at:]
    if found == 1:
        return text[:at]
    if found == 2:
        return text[:value] + b"[" * deep + b"]" * deep + b"," + text[value:]
    if found == 3:
        return text[:value] + b'{"a":' * deep + b"1" + b"}" * deep + b',"b":' + text[value:]
    if found == 4:
        return text[:value] + b"1" * rng.choice((30, 400, 4_299, 4_301, 100_000)) + text[value:]
    if found == 5:
        return (
            text[:value] + b"NaN" + text[value:].lstrip(b' "0123456789abcdefghijklmnopqrstuvwxyz')
        )
    if found == 6:  # twice the same key: the last one counts
        return text.rstrip()[:-1] + b"," + text.lstrip()[1:]
    if found == 7:
        return text[:at] + b"\\ud800" + text[at:]
    return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"   ", b"\0")) + text


def mutated_text(config: dict, rng: random.Random, paths: list) -> bytes:
    """Returns a changed config as JSON text, sometimes changed once more as text."""
    text = json.dumps(mutate(config, rng, paths)[0]).encode()
    return mutate_text(text, rng) if rng.random() < 0.2 else text
