"""Activations, normalizations and attention: config -> typed layer."""

from collections.abc import Callable, Mapping
from typing import Any

from jrnn import activations
from jrnn.activations import BoundActivation
from jrnn.keras_loader.config import LARGEST_NUMBER, Config
from jrnn.keras_loader.dropout import rate
from jrnn.keras_loader.multi_head import (
    parse_grouped_query_attention,
    parse_multi_head_attention,
)
from jrnn.keras_loader.options import axes, choice
from jrnn.model.activation import PReLU, Softmax
from jrnn.model.attention import Attention
from jrnn.model.basic import ActivationLayer
from jrnn.model.batch_normalization import BatchNormalization
from jrnn.model.layer import Layer
from jrnn.model.normalization import (
    GroupNormalization,
    LayerNormalization,
    Normalization,
    Numbers,
    Rescaling,
    RMSNormalization,
    UnitNormalization,
)


def _relu(config: Config) -> ActivationLayer:
    options = {
        "negative_slope": config.number("negative_slope", default=0.0),
        "threshold": config.number("threshold", default=0.0),
    }
    if config.get("max_value") is not None:
        options["max_value"] = config.number("max_value", default=0.0)
    bound = BoundActivation(activations.relu, tuple(options.items()))
    passes = config.writer.mask_leaves_relu
    return ActivationLayer(**config.base(), activation=bound, passes_mask=passes)


def _one_parameter(name: str, default: float, *keys: str) -> Callable[[Config], ActivationLayer]:
    def parse(config: Config) -> ActivationLayer:
        bound = activations.get(name, alpha=config.number(*keys, default=default))
        return ActivationLayer(**config.base(), activation=bound)

    return parse


def _prelu(config: Config) -> PReLU:
    shared = () if config.get("shared_axes") is None else axes(config, "shared_axes", 1)
    return PReLU(**config.base(), shared_axes=shared)


def _softmax(config: Config) -> Softmax:
    return Softmax(
        **config.base(),
        axis=axes(config, "axis", -1),
        mask_rule=config.writer.softmax_mask_rule,
    )


def _batch_normalization(config: Config) -> BatchNormalization:
    axis = axes(config, "axis", -1)
    if len(axis) != 1:
        raise config.error(f"axis is {axis}, but one axis is needed")
    if config.get("mode") not in (None, 0):
        raise config.error("its mode needs the batch's own statistics; jrnn knows mode 0 alone")
    return BatchNormalization(
        **config.base(),
        axis=axis[0],
        epsilon=config.number("epsilon", default=1e-3),
        scale=config.flag("scale", default=True),
        center=config.flag("center", default=True),
        momentum=config.number("momentum", default=0.99),
    )


def _layer_normalization(config: Config) -> LayerNormalization:
    rms_scaling = config.flag("rms_scaling", default=False)
    scale = config.flag("scale", default=True) or rms_scaling
    center = config.flag("center", default=True) and not rms_scaling
    return LayerNormalization(
        **config.base(),
        axis=tuple(sorted(axes(config, "axis", -1))),
        epsilon=config.number("epsilon", default=1e-3),
        scale=scale,
        center=center,
        rms_scaling=rms_scaling,
    )


def _group_normalization(config: Config) -> GroupNormalization:
    axis = axes(config, "axis", -1)
    if len(axis) != 1 or not axis[0]:
        raise config.error(f"axis is {axis}, but one axis after the batch's is needed")
    return GroupNormalization(
        **config.base(),
        groups=config.size("groups"),
        axis=axis[0],
        epsilon=config.number("epsilon", default=1e-3),
        scale=config.flag("scale", default=True),
        center=config.flag("center", default=True),
    )


def _rms_normalization(config: Config) -> RMSNormalization:
    epsilon = config.number("epsilon", default=1e-6)
    return RMSNormalization(**config.base(), axis=tuple(axes(config, "axis", -1)), epsilon=epsilon)


def _unit_normalization(config: Config) -> UnitNormalization:
    return UnitNormalization(
        **config.base(),
        axis=axes(config, "axis", -1),
        smallest=config.writer.smallest_length(1e-12),
    )


def _normalization(config: Config) -> Normalization:
    mean, variance = (_numbers(config, key, None) for key in ("mean", "variance"))
    if (mean is None) != (variance is None):
        raise config.error("it has one of mean and variance, but both or neither are needed")
    none = "axis" in config.values and config.get("axis") in (None, [])
    return Normalization(
        **config.base(),
        axis=() if none else axes(config, "axis", -1),
        mean=mean,
        variance=variance,
        invert=config.flag("invert", default=False),
        passes_mask=config.writer.major >= 3,
    )


def _rescaling(config: Config) -> Rescaling:
    return Rescaling(
        **config.base(),
        scale=_numbers(config, "scale", 1.0),
        offset=_numbers(config, "offset", 0.0),
        passes_mask=config.writer.major >= 3,
    )


def _numbers(config: Config, key: str, default: float | None) -> Any:
    """Returns a number, or numbers in tuples of tuples."""
    value = config.get(key)
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, dict) else None
    if value is None:
        return default
    found = _frozen(value)
    if found is None:
        raise config.error(f"{key} is {value!r:.80}, but a number or a list of them is needed")
    return found


def _frozen(value: Any, depth: int = 6) -> Numbers | None:
    """Returns numbers with tuples in place of lists; None if there is anything else."""
    if type(value) in (int, float):
        return float(value) if abs(value) <= LARGEST_NUMBER else None
    if not isinstance(value, list) or not depth:
        return None
    found = tuple(_frozen(item, depth - 1) for item in value)
    return None if None in found else found


def _attention(config: Config) -> Attention:
    score = choice(config, "score_mode", default="dot", choices=("dot", "concat"))
    return _any_attention(config, score, use_scale=False)


def _additive_attention(config: Config) -> Attention:
    return _any_attention(config, "additive", use_scale=True)


def _any_attention(config: Config, score: Any, *, use_scale: bool) -> Attention:
    return Attention(
        **config.base(),
        score=score,
        use_scale=config.flag("use_scale", default=use_scale),
        dropout=rate(config, "dropout"),
        causal=config.flag("causal", default=False),
        passes_mask=config.writer.mask_leaves_list,
    )


VALUE_LAYERS: Mapping[str, Callable[[Config], Layer]] = {
    "AdditiveAttention": _additive_attention,
    "Attention": _attention,
    **dict.fromkeys(("BatchNormalization", "SyncBatchNormalization"), _batch_normalization),
    "ELU": _one_parameter("elu", 1.0, "alpha"),
    "GroupNormalization": _group_normalization,
    "GroupQueryAttention": parse_grouped_query_attention,  # as a class GroupedQueryAttention
    "GroupedQueryAttention": parse_grouped_query_attention,
    "LayerNormalization": _layer_normalization,
    "LeakyReLU": _one_parameter("leaky_relu", 0.3, "negative_slope", "alpha"),
    "MultiHeadAttention": parse_multi_head_attention,
    "Normalization": _normalization,
    "PReLU": _prelu,
    "RMSNormalization": _rms_normalization,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Softmax": _softmax,
    "ThresholdedReLU": _one_parameter("thresholded_relu", 1.0, "theta"),
    "UnitNormalization": _unit_normalization,
}
