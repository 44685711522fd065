"""What of a model's training Keras 3 does otherwise than the model, told in a warning."""

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

from jrnn.keras_loader.arrays import has_arrays
from jrnn.keras_loader.serialized import Unknown
from jrnn.model.graph import Model
from jrnn.model.layer import Layer
from jrnn.model.operation import Operation
from jrnn.model.walk import inner_layers

_OF_LAYERS = (
    *("regularizers", "constraints", "activity_regularizer", "trainable"),
    *("dropout", "recurrent_dropout", "dropout_per_gate", "dropout_each_step"),
    *("rate", "noise_shape", "stddev", "momentum"),
)
_OF_CELLS = (
    *("kernel_initializer", "recurrent_initializer", "bias_initializer", "unit_forget_bias"),
)
_MOST = 3  # named in a warning


def warn_of_training(model: Model, read: Model) -> None:
    """Warns if a model is trained otherwise than what Keras 3 makes of its file.

    Args:
        model: The model.
        read: What its file holds, as Keras 3 understands it.
    """
    found = list(dict.fromkeys(_differences(model, read)))
    if not found:
        return
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    warnings.warn(
        f"save_keras: Keras 3 computes what model {model.name!r} does, but does not train it as "
        f"it was: {'; '.join(found[:_MOST])}{more}",
        UserWarning,
        stacklevel=4,
    )


def _differences(ours: Layer, theirs: Layer) -> Iterator[str]:
    """Yields what differs in two layers and in those they hold."""
    pairs = [(ours, theirs, name) for name in _OF_LAYERS]
    cells = getattr(ours, "cell", None), getattr(theirs, "cell", None)
    pairs += [(*cells, name) for name in _OF_CELLS]
    for one, other, name in pairs:
        own, found = getattr(one, name, None), getattr(other, name, None)
        if not _same(own, found) and not (name == "trainable" and not has_arrays(ours)):
            yield f"layer {ours.name!r} ({ours.kind}): {name} is {own!r}, and there {found!r}"
    for one, other in _inside(ours, theirs):
        yield from _differences(one, other)


def _inside(ours: Layer, theirs: Layer) -> Iterator[tuple[Layer, Layer]]:
    """Yields the layers inside two layers, a model's by their names."""
    if isinstance(ours, Model) and isinstance(theirs, Model):
        named = {layer.name: layer for layer in theirs.layers}
        for layer in ours.layers:
            if layer.name in named and not isinstance(layer, Operation):
                yield layer, named[layer.name]
    elif not isinstance(ours, Model):
        yield from zip(inner_layers(ours), inner_layers(theirs), strict=False)


def _same(ours: Any, theirs: Any) -> bool:
    """Returns whether two choices are the same; of functions unknown to jrnn, what they say."""
    if isinstance(ours, Unknown) and isinstance(theirs, Unknown):
        return ours.source == theirs.source
    if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        return all(_same(a, b) for a, b in zip(ours, theirs, strict=True))
    if dataclasses.is_dataclass(ours) and type(ours) is type(theirs):
        fields = [field.name for field in dataclasses.fields(ours)]
        return all(_same(getattr(ours, name), getattr(theirs, name)) for name in fields)
    return bool(ours == theirs)
