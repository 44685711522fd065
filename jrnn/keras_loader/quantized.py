"""What a config says of 8-bit integers: which layers have them, and what inputs become."""

from typing import Any

from jrnn.keras_loader.config import Config
from jrnn.model.quantized import InputRange


def input_range(config: Config) -> InputRange | None:
    """Returns the integers that a quantised layer's inputs become; None if they stay as they are.

    Without a ``quantization_config`` (Keras before 3.13) they are what Keras takes by default.
    """
    found = config.get("quantization_config")
    if found is None:
        return InputRange()
    quantizer = _inner(found).get("activation_quantizer")
    if quantizer is None:
        return None
    options, quantizer = _inner(quantizer), quantizer if isinstance(quantizer, dict) else {}
    ends = options.get("value_range", [-127, 127])
    ends = ends.get("items") if isinstance(ends, dict) else ends  # of a "__tuple__"
    epsilon = options.get("epsilon", 1e-7)
    if (
        quantizer.get("class_name") != "AbsMaxQuantizer"
        or options.get("output_dtype", "int8") != "int8"
        or type(epsilon) not in (int, float)
        or not isinstance(ends, list)
        or len(ends) != 2
        or not all(type(end) is int and -128 <= end <= 127 for end in ends)
    ):
        raise config.error(f"its inputs are quantised by {quantizer!r:.80}, unknown to jrnn")
    return InputRange(ends[0], ends[1], float(epsilon))


def _inner(entry: Any) -> dict:
    found = entry.get("config") if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}
