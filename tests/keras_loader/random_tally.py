"""How many random models had which layer with which option, in which format."""

import collections
import json
from collections.abc import Iterator
from typing import Any

import keras

SHOWN = (
    *("activation", "recurrent_activation", "use_bias", "unit_forget_bias", "reset_after"),
    *("return_sequences", "return_state", "go_backwards", "stateful", "unroll"),
    *("zero_output_for_mask", "dropout", "recurrent_dropout", "merge_mode", "mask_zero"),
    *("mask_value", "padding", "data_format", "strides", "dilation_rate", "groups"),
    *("depth_multiplier", "axis", "scale", "center", "rms_scaling", "use_scale", "score_mode"),
    *("normalize", "interpolation", "keepdims", "invert", "max_value", "negative_slope"),
    *("threshold", "shared_axes", "axes", "dims"),
)
AMOUNTS = ("strides", "dilation_rate", "groups", "depth_multiplier", "dropout", "recurrent_dropout")


def options_of(config: dict) -> set[tuple[str, str]]:
    """Every layer of a config with each of its options: ("LSTM", "unroll=True")."""
    return set(_options(config, ""))


def _options(entry: dict, inside: str) -> Iterator[tuple[str, str]]:
    kind, values = entry["class_name"], entry["config"]
    if inside:
        yield kind, f"inside {inside}"
    for key in SHOWN:
        if key in values:
            yield kind, f"{key}={_shown(key, values[key])}"
    policy = values.get("dtype")
    if isinstance(policy, dict):
        yield kind, f"dtype={policy['config'].get('name')}"
    calls = entry.get("inbound_nodes", [])
    if len(calls) > 1:
        yield kind, "called more than once"
    for call in calls:
        for key, value in call.get("kwargs", {}).items():
            if value is not None and key in ("initial_state", "mask"):
                yield kind, key
    yield from _inner(kind, values)


def _inner(kind: str, values: dict) -> Iterator[tuple[str, str]]:
    held = [values.get(key) for key in ("layer", "backward_layer", "cell")]
    held += values.get("layers", []) + values.get("cells", [])
    for one in held:
        if isinstance(one, dict) and "class_name" in one:
            yield from _options(one, kind)


def _shown(key: str, value: Any) -> str:
    if key in AMOUNTS and value is not None:
        largest = max(value) if isinstance(value, (list, tuple)) else value
        ordinary = 0 if "dropout" in key else 1
        return str(ordinary) if largest <= ordinary else f"more than {ordinary}"
    return json.dumps(value) if not isinstance(value, str) else value


class Tally:
    """Counts of compared models, and their worst errors."""

    def __init__(self) -> None:
        self.formats: collections.Counter[str] = collections.Counter()
        self.policies: collections.Counter[str] = collections.Counter()
        self.counts: dict[tuple[str, str], collections.Counter[str]] = {}
        self.worst: dict[str, list[float]] = {}
        self.in_float64 = 0
        self.unsuited = 0
        self.different: set[str] = set()

    def add(self, drawn: Any, compared: Any) -> None:
        """Counts one model; ``compared`` is None where its numbers did not suit."""
        if compared is None:
            self.unsuited += 1
            return
        text = drawn.model.to_json()
        config = json.loads(text)
        self.different.add(text + drawn.format)
        self.formats[drawn.format] += 1
        self.policies[drawn.policy] += 1
        self.in_float64 += compared.in_float64 and drawn.policy != "float64"
        found = options_of(config)
        for layer, option in {(layer, "") for layer, _ in found} | found:
            count = self.counts.setdefault((layer, option), collections.Counter())
            count[drawn.format] += 1
        name = "float64" if compared.in_float64 else drawn.policy
        errors = (compared.outputs, compared.gradients)
        before = self.worst.get(name, [0.0, 0.0])
        self.worst[name] = [max(pair) for pair in zip(before, errors, strict=True)]

    def as_json(self) -> str:
        """Counts by layer, option and format; the option "" stands for the layer itself."""
        layers: dict[str, dict[str, dict[str, int]]] = {}
        for (layer, option), count in sorted(self.counts.items()):
            layers.setdefault(layer, {})[option] = dict(sorted(count.items()))
        found = {
            "writer": f"Keras {keras.__version__} on {keras.config.backend()}",
            "models": sum(self.formats.values()),
            "different": len(self.different),
            "formats": dict(self.formats),
            "policies": dict(self.policies),
            "compared in float64 in place of their own dtype": self.in_float64,
            "too large numbers, or Keras itself fails": self.unsuited,
            "worst errors of outputs and gradients": self.worst,
            "layers": layers,
        }
        return json.dumps(found, indent=1)
