"""MultiHeadAttention and its kin: config -> typed layer, and where a file has its arrays."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from jrnn.keras_loader.config import Config
from jrnn.keras_loader.dropout import rate
from jrnn.keras_loader.options import axes, listed
from jrnn.model.multi_head import MultiHeadAttention, MultiHeadAttentionParams, ProjectionParams

Shape = tuple[int | None, ...]
Shapes = dict[str, Shape | None]

PROJECTIONS = ("query", "key", "gate", "value", "output")  # as files have them, gate where there


def parse_multi_head_attention(config: Config) -> MultiHeadAttention:
    """Returns the typed layer."""
    config.get("query_shape", "key_shape", "value_shape")  # tf.keras builds from them
    key_dim = config.size("key_dim")
    given, window = config.get("value_dim"), config.get("sliding_window")
    return MultiHeadAttention(
        **config.base(),
        heads=config.size("num_heads"),
        key_dim=key_dim,
        value_dim=key_dim if given is None else config.size("value_dim"),
        use_bias=config.flag("use_bias", default=True),
        output_shape=_output_shape(config),
        axes=None if config.get("attention_axes") is None else axes(config, "attention_axes", 1),
        gated=config.flag("use_gate", default=False),
        window=None if window is None else config.size("sliding_window"),
        dropout=rate(config, "dropout"),
        uses_masks=config.writer.mask_enters_multi_head,
        removes_masks=config.writer.mask_ends_at_multi_head,
        zeroes_masked=config.writer.softmax_mask_rule == "zero",
    )


def parse_grouped_query_attention(config: Config) -> MultiHeadAttention:
    """Returns the typed layer; it leaves its inputs their masks."""
    heads, key_heads = config.size("num_query_heads"), config.size("num_key_value_heads")
    if heads % key_heads:
        raise config.error(f"{heads} heads cannot share the keys of {key_heads}")
    window = config.get("sliding_window")
    config.get("flash_attention")
    base: dict[str, Any] = {**config.base(), "kind": "GroupQueryAttention"}  # not so in .h5 files
    return MultiHeadAttention(
        **base,
        heads=heads,
        key_heads=key_heads,
        key_dim=config.size("head_dim"),
        value_dim=config.size("head_dim"),
        use_bias=config.flag("use_bias", default=True),
        gated=config.flag("use_gate", default=False),
        window=None if window is None else config.size("sliding_window"),
        dropout=rate(config, "dropout"),
        zeroes_masked=config.writer.softmax_mask_rule == "zero",
    )


def _output_shape(config: Config) -> tuple[int, ...] | None:
    """Returns the sizes that a config gives as one number or several; None for the query's."""
    value = config.get("output_shape")
    if isinstance(value, list | dict):
        return config.sizes("output_shape", smallest=1) if listed(value) else None
    return None if value is None else (config.size("output_shape"),)


def multi_head_arrays(
    layer: MultiHeadAttention, shape: Sequence[int] | None, stored: Sequence[Any]
) -> Shapes:
    """Returns the name and shape of each array, by projection.

    Args:
        layer: The layer.
        shape: The query's shape, where that is known.
        stored: A file's arrays. They tell which projections were quantised, as no config does.
    """
    features = None if shape is None else shape[-1]
    queries, values = (layer.heads, layer.key_dim), (layer.heads, layer.value_dim)
    shared = layer.key_heads or layer.heads
    ends: Mapping[str, tuple[Shape, Shape]] = {
        "query": ((features,), queries),
        "key": ((None,), (shared, layer.key_dim)),
        "gate": ((features,), values),
        "value": ((None,), (shared, layer.value_dim)),
        "output": (values, layer.output_shape or (features,)),
    }
    found: Shapes = {}
    for name in PROJECTIONS if layer.gated else (p for p in PROJECTIONS if p != "gate"):
        inside, outside = ends[name]
        quantized = len(found) < len(stored) and stored[len(found)].dtype == "int8"
        found[f"{name}/kernel"] = inside + outside
        if layer.use_bias:
            found[f"{name}/bias"] = outside
        if quantized:
            found[f"{name}/kernel_scale"] = None
    return found


def multi_head_params(**arrays: Any) -> MultiHeadAttentionParams:
    """Returns the parameters made of arrays by the names that ``multi_head_arrays`` gives."""
    parts = {
        projection: ProjectionParams(**{path.split("/")[1]: arrays[path] for path in paths})
        for projection, paths in itertools.groupby(arrays, lambda path: path.split("/")[0])
    }
    return MultiHeadAttentionParams(**parts)


def projection_arrays(params: MultiHeadAttentionParams) -> dict[str, Any]:
    """Returns parameters by the names and in the order of ``multi_head_arrays``."""
    return {
        f"{projection}/{name}": array
        for projection in PROJECTIONS
        for name, array in _held(getattr(params, projection, None)).items()
    }


def _held(params: Any) -> dict[str, Any]:
    names = ("kernel", "bias", "kernel_scale")
    found = {name: getattr(params, name, None) for name in names}
    return {name: array for name, array in found.items() if array is not None}
