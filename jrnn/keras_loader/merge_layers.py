"""Layers that merge several tensors: config -> typed layer."""

from collections.abc import Callable, Mapping
from typing import Any

from jrnn.keras_loader.config import Config
from jrnn.keras_loader.options import axes, choice
from jrnn.model.layer import Layer
from jrnn.model.merging import Concatenate, Cosine, Dot, Merge

_MODES = {"sum": "add", "ave": "average", "mul": "multiply", "max": "maximum"}  # of Keras 1


def _merge(mode: Any) -> Callable[[Config], Merge]:
    def parse(config: Config) -> Merge:
        return Merge(**config.base(), mode=mode, mask_rule=config.writer.mask_rule)

    return parse


def _concatenate(config: Config, key: str = "axis") -> Concatenate:
    axis = axes(config, key, -1)
    if len(axis) != 1:
        raise config.error(f"{key} is {axis}, but one axis is needed")
    return Concatenate(**config.base(), axis=axis[0], mask_rule=config.writer.mask_rule)


def _dot(config: Config, key: str = "axes") -> Dot:
    found = axes(config, key, -1)
    pair = found * 2 if len(found) == 1 else found
    if len(pair) != 2 or 0 in pair:
        raise config.error(f"{key} is {found}, but one or two axes after the batch's are needed")
    return Dot(
        **config.base(),
        axes=(pair[0], pair[1]),
        normalize=config.flag("normalize", default=False),
        smallest=config.writer.smallest_length(1e-7),
    )


def _merge_of_keras1(config: Config) -> Layer:
    """The class ``Merge``, which held every kind."""
    kinds = [config.get(key, default="raw") for key in ("mode_type", "output_shape_type")]
    kinds.append(config.get("output_mask_type", default="raw"))
    if kinds != ["raw"] * 3:
        raise config.error("it holds Python code, which jrnn never runs; replace it in the model")
    mode = choice(config, "mode", default="sum", choices=(*_MODES, "concat", "cos", "dot"))
    for key, reads in (("concat_axis", "concat"), ("dot_axes", "dot")):
        if mode != reads:
            config.get(key)
    if mode == "concat":
        return _concatenate(config, "concat_axis")
    if mode == "dot":
        return _dot(config, "dot_axes")
    return Cosine(**config.base()) if mode == "cos" else _merge(_MODES[mode])(config)


MERGE_LAYERS: Mapping[str, Callable[[Config], Layer]] = {
    "Add": _merge("add"),
    "Average": _merge("average"),
    "Concatenate": _concatenate,
    "Dot": _dot,
    "Maximum": _merge("maximum"),
    "Merge": _merge_of_keras1,
    "Minimum": _merge("minimum"),
    "Multiply": _merge("multiply"),
    "Subtract": _merge("subtract"),
}
