"""Configs and arrays spelled by hand, as the Keras versions write them."""

from typing import Any

import numpy as np
import pytest

from jrnn.keras_loader import KerasFileError
from jrnn.keras_loader.build import build_params
from jrnn.keras_loader.parse import parse_model
from jrnn.keras_loader.read import LegacyWeights, ObjectWeights, StoredArray
from jrnn.keras_loader.writer import writer_of
from jrnn.model import Model

KERAS1 = writer_of("1.2.2", "tensorflow")
KERAS2 = writer_of("2.2.4", "tensorflow")
KERAS23 = writer_of("2.3.1", "tensorflow")
TF1 = writer_of("2.2.4-tf", "tensorflow")
TF2 = writer_of("2.12.0", "tensorflow")
KERAS3 = writer_of("3.15.1", "jax")
WRITERS = (KERAS1, KERAS2, KERAS23, TF1, TF2, KERAS3)


def entry(kind: str, *calls: Any, **config: Any) -> dict:
    """One layer of a config, with what calls it if it stands in a graph."""
    found: dict[str, Any] = {"class_name": kind, "config": config}
    if "name" in config:
        found["name"] = config["name"]
    if calls:
        found["inbound_nodes"] = list(calls)
    return found


def sequential(*layers: dict, name: str = "sequential", shape: Any = (None, 4, 3)) -> dict:
    """A Sequential model; the first layer of ``layers`` takes inputs of ``shape``."""
    first = entry("InputLayer", name="x", batch_shape=list(shape), dtype="float32")
    return entry("Sequential", name=name, layers=[first, *layers])


def source(name: str = "x", shape: Any = (None, 4, 3), dtype: str = "float32") -> dict:
    """An InputLayer of a graph."""
    found = entry("InputLayer", name=name, batch_input_shape=list(shape), dtype=dtype)
    return {**found, "inbound_nodes": []}


def graph(layers: list, inputs: Any, outputs: Any, name: str = "model") -> dict:
    """A functional model; a bare name stands for that layer's first tensor."""
    return entry(
        "Functional",
        name=name,
        layers=layers,
        input_layers=_ends(inputs),
        output_layers=_ends(outputs),
    )


def _ends(ends: Any) -> Any:
    if isinstance(ends, list) and not (len(ends) == 3 and isinstance(ends[1], int)):
        return [[end, 0, 0] if isinstance(end, str) else end for end in ends]
    return ends


def call2(*tensors: Any, **kwargs: Any) -> list:
    """A call as Keras 2 writes it; a bare name stands for that layer's first tensor."""
    refs = [[tensor, 0, 0] if isinstance(tensor, str) else list(tensor) for tensor in tensors]
    refs[0] = [*refs[0], kwargs]
    return [refs[0], *[[*ref, {}] for ref in refs[1:]]]


def call3(*tensors: Any, **kwargs: Any) -> dict:
    """A call as Keras 3 writes it."""
    return {"args": [tensor3(tensor) for tensor in tensors], "kwargs": kwargs}


def tensor3(ref: Any) -> dict:
    """A tensor as Keras 3 writes it."""
    history = [ref, 0, 0] if isinstance(ref, str) else list(ref)
    return {"class_name": "__keras_tensor__", "config": {"keras_history": history}}


def stored(path: str, values: Any) -> StoredArray:
    """An array of a file."""
    values = np.asarray(values)
    return StoredArray(path, values.shape, str(values.dtype), lambda: values)


def stored_shape(path: str, *shape: int, dtype: str = "float32") -> StoredArray:
    """An array of a file that cannot be read: a test that reads it fails."""

    def load():
        raise AssertionError(f"{path} was read")

    return StoredArray(path, shape, dtype, load)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Random values that tell transposed and exchanged arrays apart."""
    rng = np.random.default_rng([seed, *shape])
    return (0.5 * rng.standard_normal(shape)).astype(np.float32)


def arrays_of(kind: str, features: int, units: int, *, prefix: str = "", seed: int = 0) -> list:
    """kernel, recurrent_kernel and bias of a layer with the options of Keras 2."""
    width = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}[kind] * units
    return [
        stored(f"{prefix}kernel:0", numbers(features, width, seed=seed)),
        stored(f"{prefix}recurrent_kernel:0", numbers(units, width, seed=seed + 1)),
        stored(f"{prefix}bias:0", numbers(width, seed=seed + 2)),
    ]


def dense_arrays(features: int, units: int, *, prefix: str = "", seed: int = 0) -> list:
    """kernel and bias of a dense layer."""
    return [
        stored(f"{prefix}kernel:0", numbers(features, units, seed=seed)),
        stored(f"{prefix}bias:0", numbers(units, seed=seed + 1)),
    ]


def legacy(**layers: list) -> LegacyWeights:
    """Weights of the legacy layout."""
    return LegacyWeights({name: tuple(arrays) for name, arrays in layers.items()}, "2.2.4", None)


def objects(container: str = "layers", **paths: list) -> ObjectWeights:
    """Weights of the layout of Keras 3; "__" in a name stands for a slash."""
    found = {f"{container}/{key.replace('__', '/')}": tuple(v) for key, v in paths.items()}
    return ObjectWeights(found, container)


def model_of(*layers: dict, writer=KERAS2, **options) -> Model:
    """A Sequential model, parsed."""
    return parse_model(sequential(*layers, **options), writer)


def lstm(name="l", units=5, **options) -> dict:
    """An LSTM over sequences."""
    return entry("LSTM", name=name, units=units, return_sequences=True, **options)


def gru(name="g", units=5, **options) -> dict:
    return entry("GRU", name=name, units=units, return_sequences=True, **options)


def bidirectional(name="b", inner=None, **options) -> dict:
    return entry("Bidirectional", name=name, layer=inner or lstm("i"), **options)


def refused_arrays(model, weights) -> str:
    """The message with which arrays are refused."""
    with pytest.raises(KerasFileError) as caught:
        build_params(model, weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def holds(params, arrays) -> bool:
    """Whether a layer's parameters are these stored arrays, in order."""
    values = [value for value in params if value is not None]
    assert len(values) == len(arrays)
    return all(
        np.array_equal(value, array.read()) for value, array in zip(values, arrays, strict=True)
    )


def unread(arrays) -> list[StoredArray]:
    """The same arrays without values: reading one fails the test."""
    return [stored_shape(array.path, *array.shape) for array in arrays]
