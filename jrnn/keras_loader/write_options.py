"""Parts of a Keras 3 config that many layers share."""

from collections.abc import Mapping
from typing import Any

import jax

from jrnn.activations import ACTIVATIONS, BoundActivation, elu, leaky_relu
from jrnn.keras_loader.config import KERAS_ACTIVATIONS
from jrnn.model.layer import Layer


def unsupported(layer: Layer, what: str) -> ValueError:
    """Returns the error to raise for what Keras 3 does not have."""
    return ValueError(f"layer {layer.name!r} ({layer.kind}): Keras 3 has no {what}")


def keras_object(
    module: str, class_name: str, config: Mapping[str, Any], registered: str | None = None
) -> dict[str, Any]:
    """Returns an object of Keras as its files hold one."""
    return {
        "module": module,
        "class_name": class_name,
        "config": dict(config),
        "registered_name": registered,
    }


def base(layer: Layer, params: Any) -> dict[str, Any]:
    """Returns the keys that all layers have."""
    dtype = keras_object("keras", "DTypePolicy", {"name": policy(layer, params)})
    return {"name": layer.name, "trainable": layer.trainable, "dtype": dtype}


def policy(layer: Layer, params: Any) -> str:
    """Returns the name of a dtype policy: a mixed one where parameters are wider than numbers."""
    if layer.dtype in (None, "float64"):
        return layer.dtype or "float32"
    own = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
    return layer.dtype if own <= {layer.dtype} else f"mixed_{layer.dtype}"


def activation(layer: Layer, value: Any) -> Any:
    """Returns an activation's name, or the layer of Keras that stands in its place."""
    if isinstance(value, BoundActivation) and value.function in (elu, leaky_relu):
        class_name, key = {elu: ("ELU", "alpha"), leaky_relu: ("LeakyReLU", "negative_slope")}[
            value.function
        ]
        return keras_object("keras.layers", class_name, {key: dict(value.options)["alpha"]})
    names = [name for name, function in ACTIVATIONS.items() if value in (name, function)]
    name = "linear" if value is None else names[0] if names else getattr(value, "__name__", value)
    if name == "hard_sigmoid_keras2":
        raise unsupported(
            layer,
            f"activation {name!r}, clip(0.2 x + 0.5, 0, 1): its own is clip(x / 6 + 0.5, 0, 1)",
        )
    if name not in KERAS_ACTIVATIONS:
        raise unsupported(layer, f"activation {name!r} that jrnn knows")
    return name


def data_format(layer: Any) -> str:
    """Returns where the channels are."""
    return "channels_first" if layer.channels_first else "channels_last"


def listed(value: Any) -> Any:
    """Returns tuples of tuples as lists of lists, as JSON has them."""
    return [listed(item) for item in value] if isinstance(value, tuple) else value
