"""Dropout and noise: layers made of nothing else, and the options of recurrent layers."""

from collections.abc import Callable
from typing import Any

from jrnn.keras_loader.config import Config
from jrnn.keras_loader.options import LARGEST_AMOUNT, channels_first, listed
from jrnn.model.layer import Layer
from jrnn.model.noise import AlphaDropout, Dropout, GaussianNoise


def cell_dropout(config: Config) -> dict[str, Any]:
    """Returns the arguments of a cell's dropout in training.

    With ``implementation=1`` (and 0; all of ``consume_less`` but "gpu") each gate has masks of its
    own. From tf.keras 2 on, dropout of the state brings that about, but not in Keras 3.0 to 3.7.
    """
    of_input = rate(config, "dropout", "dropout_W")
    recurrent = rate(config, "recurrent_dropout", "dropout_U")
    writer, convolves = config.writer, config.kind.startswith("ConvLSTM")
    if convolves and not writer.conv_lstm_drops:
        of_input = recurrent = 0.0
    per_gate = convolves or (writer.has_masks_per_gate and _has_masks_per_gate(config, recurrent))
    drops_state = config.kind in ("GRU", "GRUCell") and writer.gru_drops_state
    return {
        "dropout": of_input,
        "recurrent_dropout": recurrent,
        "dropout_per_gate": per_gate and of_input + recurrent > 0,
        "drops_state": drops_state and not per_gate and recurrent > 0,
    }


def _has_masks_per_gate(config: Config, recurrent: float) -> bool:
    if "consume_less" in config.values:
        return config.get("consume_less") != "gpu"
    implementation = config.get("implementation", default=config.writer.implementation)
    return implementation != 2 or (recurrent > 0 and config.writer.recurrent_dropout_is_per_gate)


def rate(config: Config, *keys: str) -> float:
    """Returns a probability, brought to 0 to 1 as Keras does."""
    found = min(1.0, max(0.0, config.number(*keys, default=0.0)))
    if found != found:  # NaN
        raise config.error(f"{keys[0]} is NaN, but 0 to 1 is needed")
    return found


def _dropout(kind: type[Dropout] | type[AlphaDropout]) -> Callable[[Config], Layer]:
    def parse(config: Config) -> Layer:
        shape = config.get("noise_shape")
        sizes = None if shape is None else tuple(listed(shape))
        if sizes is not None and not all(
            size is None or (type(size) is int and 1 <= size <= LARGEST_AMOUNT) for size in sizes
        ):
            raise config.error(f"noise_shape is {shape!r:.80}, but a list of sizes is needed")
        return kind(**config.base(), rate=rate(config, "rate", "p"), noise_shape=sizes or None)

    return parse


def _spatial_dropout(rank: int) -> Callable[[Config], Layer]:
    def parse(config: Config) -> Dropout:
        first = rank > 1 and channels_first(config)
        shape = (None, None, *[1] * rank) if first else (None, *[1] * rank, None)
        return Dropout(**config.base(), rate=rate(config, "rate", "p"), noise_shape=shape)

    return parse


def _gaussian_noise(config: Config) -> GaussianNoise:
    stddev = config.number("stddev", "sigma", default=0.0)
    if not stddev >= 0:
        raise config.error(f"stddev is {stddev}, but 0 or more is needed")
    return GaussianNoise(**config.base(), stddev=stddev)


def _gaussian_dropout(config: Config) -> GaussianNoise:
    found = rate(config, "rate", "p")
    if found == 1:
        raise config.error("rate is 1, but less is needed")
    return GaussianNoise.of_rate(found, **config.base())


NOISE_LAYERS: dict[str, Callable[[Config], Layer]] = {
    "AlphaDropout": _dropout(AlphaDropout),
    "Dropout": _dropout(Dropout),
    "GaussianDropout": _gaussian_dropout,
    "GaussianNoise": _gaussian_noise,
    "SpatialDropout1D": _spatial_dropout(1),
    "SpatialDropout2D": _spatial_dropout(2),
    "SpatialDropout3D": _spatial_dropout(3),
}
