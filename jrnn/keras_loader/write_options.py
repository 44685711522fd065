"""Parts of a Keras 3 config that many layers share."""

import re
from collections.abc import Mapping
from typing import Any

import jax

from jrnn.activations import ACTIVATIONS, BoundActivation, elu, hard_sigmoid_keras2, leaky_relu
from jrnn.keras_loader.config import KERAS_ACTIVATIONS
from jrnn.model.layer import Layer
from jrnn.model.multi_head import MultiHeadAttention, MultiHeadAttentionParams
from jrnn.model.quantized import QuantizedDense, QuantizedEmbedding


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
    if isinstance(layer, QuantizedDense | QuantizedEmbedding):
        dtype = _quantized(policy(layer, params))
    elif isinstance(layer, MultiHeadAttention) and params is not None:
        dtype = _of_projections(layer, dtype, params)
    return {"name": layer.name, "trainable": layer.trainable, "dtype": dtype}


def _quantized(source: str) -> dict[str, Any]:
    """Returns the dtype policy of layers whose kernels are 8-bit integers."""
    config = {"mode": "int8", "source_name": source}
    return keras_object("keras.dtype_policies", "QuantizedDTypePolicy", config)


def _of_projections(
    layer: MultiHeadAttention, dtype: dict[str, Any], params: MultiHeadAttentionParams
) -> dict[str, Any]:
    """Returns the dtype policy of an attention layer some of whose projections are quantised."""
    parts = params._asdict().items()
    whole = [name for name, one in parts if one is not None and one.kernel_scale is not None]
    if not whole:
        return dtype
    source = dtype["config"]["name"]
    paths = [f"{layer.name}/{'attention_output' if one == 'output' else one}" for one in whole]
    # Keys are patterns: where the layer lies in other ones, their names stand before its own.
    inside = {f"(.*/)?{re.escape(path)}": _quantized(source) for path in paths}
    config = {"default_policy": source, "policy_map": inside}
    return keras_object("keras.dtype_policies", "DTypePolicyMap", config)


def policy(layer: Layer, params: Any) -> str:
    """Returns the name of a dtype policy: a mixed one where parameters are wider than numbers."""
    if layer.dtype in (None, "float64"):
        return layer.dtype or "float32"
    own = {str(leaf.dtype) for leaf in jax.tree.leaves(params)} - {"int8"}
    return layer.dtype if own <= {layer.dtype} else f"mixed_{layer.dtype}"


def activation(layer: Layer, value: Any) -> Any:
    """Returns an activation's name, or the layer of Keras that stands in its place."""
    if isinstance(value, BoundActivation) and value.function in (elu, leaky_relu):
        class_name, key = {elu: ("ELU", "alpha"), leaky_relu: ("LeakyReLU", "negative_slope")}[
            value.function
        ]
        return keras_object("keras.layers", class_name, {key: dict(value.options)["alpha"]})
    if isinstance(value, BoundActivation) and value.function is hard_sigmoid_keras2:
        return clipped_line(layer, **dict(value.options))
    names = [name for name, function in ACTIVATIONS.items() if value in (name, function)]
    name = "linear" if value is None else names[0] if names else getattr(value, "__name__", value)
    if name == "hard_sigmoid_keras2":
        return clipped_line(layer)
    if name not in KERAS_ACTIVATIONS:
        raise unsupported(layer, f"activation {name!r} that jrnn knows")
    return name


def clipped_line(layer: Layer, alpha: float = 0.2, beta: float = 0.5) -> dict[str, Any]:
    """Returns ``clip(alpha x + beta, 0, 1)``, of which Keras 3 has no function.

    Its own ``hard_sigmoid`` is ``clip(x / 6 + 0.5, 0, 1)``. Two layers in a row compute the other
    one to the bit, and a layer may stand where an activation does.
    """
    dtype = keras_object("keras", "DTypePolicy", {"name": layer.dtype or "float32"})
    line = {"name": "line", "dtype": dtype, "scale": alpha, "offset": beta}
    clip = {"name": "clip", "dtype": dtype, "max_value": 1.0}
    both = [
        keras_object("keras.layers", "Rescaling", line),
        keras_object("keras.layers", "ReLU", clip),
    ]
    return keras_object("keras.layers", "Pipeline", {"name": "hard_sigmoid", "layers": both})


def data_format(layer: Any) -> str:
    """Returns where the channels are."""
    return "channels_first" if layer.channels_first else "channels_last"


def listed(value: Any) -> Any:
    """Returns tuples of tuples as lists of lists, as JSON has them."""
    return [listed(item) for item in value] if isinstance(value, tuple) else value
