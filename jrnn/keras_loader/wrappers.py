"""Layers that hold layers: Bidirectional and TimeDistributed."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jrnn.cells.conv_lstm import ConvLSTMCell
from jrnn.keras_loader.config import Config
from jrnn.keras_loader.options import is_amount
from jrnn.keras_loader.serialized import Unknown
from jrnn.keras_loader.writer import Writer
from jrnn.model.basic import TimeDistributed
from jrnn.model.custom import CustomRecurrent
from jrnn.model.layer import Layer
from jrnn.model.quantized import QuantizedDense, QuantizedEmbedding
from jrnn.model.recurrent import Bidirectional, Recurrent
from jrnn.model.walk import walk

ParseInner = Callable[[Any], Layer]


def parse_bidirectional(config: Config, parse: ParseInner) -> Bidirectional:
    """Returns the typed layer; what the config leaves open is as its writer's Keras has it."""
    writer = config.writer
    forward = _direction(config, "layer", parse)
    if config.get("backward_layer") is not None:
        backward = _direction(config, "backward_layer", parse)
    else:
        backwards = not forward.go_backwards if writer.backward_is_negated else True
        mirrored = writer.zeroes_mirrored_steps(bool(forward.unroll), backwards)
        backward = dataclasses.replace(
            forward, go_backwards=backwards, zeroes_mirrored_steps=mirrored
        )
    for option in ("return_sequences", "return_state", "stateful", "time_major"):
        if getattr(forward, option) != getattr(backward, option):
            raise config.error(f"{option} differs between its two directions")
    if forward.go_backwards == backward.go_backwards:
        raise config.error("both its directions have the same go_backwards")
    if writer.bidirectional_zeroes_masked:
        forward, backward = _zeroing(forward, writer), _zeroing(backward, writer)
    merge = config.get("merge_mode", default="concat")
    if merge not in ("concat", "sum", "mul", "ave", None):
        raise config.error(f"merge_mode is {merge!r:.80}, which Keras does not know")
    constants = config.get("num_constants")
    if constants:
        forward, backward = (_with(config, one, constants) for one in (forward, backward))
    options = config.base()
    if writer.major == 2 and not writer.tf:  # there the wrapper alone is called, as a layer is
        options["activity_regularizer"] = forward.activity_regularizer
        forward, backward = _uncounted(forward), _uncounted(backward)
    return Bidirectional(
        **options,
        forward=forward,
        backward=backward,
        merge=merge,
        flips_batch=forward.time_major and writer.flips_axis_1,
    )


def _uncounted(layer: Any) -> Any:
    return dataclasses.replace(layer, activity_regularizer=None)


def _with(config: Config, layer: Recurrent, constants: Any) -> CustomRecurrent:
    if not isinstance(layer, CustomRecurrent):
        raise config.error("it takes constants, which only custom cells use")
    if not is_amount(constants, 1):
        raise config.error(f"num_constants is {constants!r:.80}, but a number is needed")
    return dataclasses.replace(layer, constants=constants)


def _direction(config: Config, key: str, parse: ParseInner) -> Recurrent:
    inner = parse(config.get(key))
    if not isinstance(inner, Recurrent):
        raise config.error(f"its {key} is a {inner.kind}, but a recurrent layer is needed")
    return inner


def _zeroing(layer: Recurrent, writer: Writer) -> Recurrent:
    if isinstance(layer.cell, ConvLSTMCell) and writer.major < 3:
        return layer  # tf.keras does not hand this option to its loop
    zeroes = layer.return_sequences and writer.honours_zero_output(bool(layer.unroll))
    return dataclasses.replace(layer, zero_output_for_mask=zeroes)


def parse_time_distributed(config: Config, parse: ParseInner) -> TimeDistributed:
    """Returns the typed layer."""
    inner = parse(config.get("layer"))
    one = inner.forward if isinstance(inner, Bidirectional) else inner
    if isinstance(one, Recurrent) and one.stateful:
        raise config.error("its inner layer is stateful, which has no meaning step by step")
    if isinstance(inner, QuantizedDense | QuantizedEmbedding):
        raise config.error(
            "its inner layer is quantised, and Keras leaves its scale out there: the numbers are "
            f"wrong in Keras, too; take the {inner.kind} without TimeDistributed"
        )
    options, writer = config.base(), config.writer
    if writer.major >= 3:  # the layer's penalty is left out, but not of those in it
        inner = _uncounted(inner)
        if any(one.activity_regularizer is not None for one in walk(inner)):
            options["activity_regularizer"] = Unknown("layer holds some with penalties on outputs")
    return TimeDistributed(
        **options,
        layer=inner,
        mask_to_inner=writer.mask_enters_time_distributed,
        mask_from_inner=writer.mask_leaves_time_distributed,
    )
