"""How each layer of Keras 3 with a loop over time is drawn, and what wraps one."""

from typing import Any

from keras import layers

from tests.keras_loader.random_choices import Choices, Spot
from tests.keras_loader.random_layers import ACTIVATIONS, draw_plain
from tests.keras_loader.random_spatial import data_format, spatial, window

KINDS = (layers.SimpleRNN, layers.GRU, layers.LSTM)
CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
CONVOLUTIONAL = {4: layers.ConvLSTM1D, 5: layers.ConvLSTM2D, 6: layers.ConvLSTM3D}
GATES = ("sigmoid", "hard_sigmoid", "tanh", "softsign", "relu", "linear", "softmax")
STATES = {"SimpleRNN": 1, "GRU": 1, "LSTM": 2}
MERGES = ("concat", "sum", "mul", "ave", None)


def fits_loop(spot: Spot) -> bool:
    """Whether a recurrent layer can be called there; a wrapper's steps may have half a mask."""
    if spot.axes == 3:
        return spot.mask_axes != 1
    # Keras on JAX spreads a mask over an image's last axes, unless the loop is unrolled.
    steps = spot.mask_axes == 0 or (spot.mask_axes == 2 and spot.shape[1] is not None)
    return spot.axes in CONVOLUTIONAL and spot.known and steps


def _math(draw: Choices, kind: type) -> dict[str, Any]:
    """Options of the equations of one step."""
    options = {
        "activation": draw.one_of((*ACTIVATIONS, "tanh", None)),
        "use_bias": draw.coin(),
        "dropout": 0.3 * draw.one_in(3),
        "recurrent_dropout": 0.2 * draw.one_in(3),
    }
    if "SimpleRNN" not in kind.__name__:
        options["recurrent_activation"] = draw.one_of((*GATES, "sigmoid"))
    if "GRU" in kind.__name__:
        options["reset_after"] = draw.coin()
    if "LSTM" in kind.__name__:
        options["unit_forget_bias"] = draw.coin()
    return options


def _loop(draw: Choices, spot: Spot, fixed: dict[str, Any]) -> dict[str, Any]:
    """Options of the loop; ``fixed`` are those that have to be so."""
    drawn = {
        "return_sequences": draw.coin(),
        "return_state": draw.one_in(4),
        "go_backwards": draw.one_in(3),
        "unroll": draw.one_in(3) and spot.shape[1] is not None,
        "stateful": spot.shape[0] is not None and not draw.one_in(4),
        "zero_output_for_mask": draw.one_in(3),
    }
    if spot.axes > 3 and spot.mask_axes:
        drawn["unroll"] = True
    return {**drawn, **fixed}


def draw_recurrent(draw: Choices, spot: Spot, kind: Any = None, units: Any = None, **fixed):
    """A SimpleRNN, GRU or LSTM."""
    kind = draw.one_of(KINDS) if kind is None else kind
    units = draw.size(1, 5) if units is None else units
    return kind(units, **_math(draw, kind), **_loop(draw, spot, fixed))


def draw_rnn(draw: Choices, spot: Spot, units: int | None = None, **fixed) -> layers.Layer:
    """A loop over one cell or over two or three; Keras 3.15 fails for a list of one."""
    sizes = [draw.size(1, 4) for _ in range(draw.size(1, 3))]
    sizes[-1] = units or sizes[-1]
    kinds = [draw.one_of(CELLS) for _ in sizes]
    cells = [kind(size, **_math(draw, kind)) for kind, size in zip(kinds, sizes, strict=True)]
    return layers.RNN(cells if len(cells) > 1 else cells[0], **_loop(draw, spot, fixed))


def draw_conv_lstm(draw: Choices, spot: Spot, **fixed) -> layers.Layer:
    """A ConvLSTM whose window is inside the image."""
    kind = CONVOLUTIONAL[spot.axes]
    where = data_format(draw)
    sizes, _ = spatial(Spot((None, *spot.shape[2:])), where)
    options = _math(draw, kind)
    return kind(
        draw.size(1, 3),
        padding=draw.one_of(("valid", "same")),
        data_format=where,
        **window(draw, sizes),
        **options,
        **_loop(draw, spot, fixed),
    )


def draw_one_direction(draw: Choices, spot: Spot, **fixed) -> layers.Layer:
    """A loop that is no wrapper."""
    if spot.axes > 3:
        return draw_conv_lstm(draw, spot, **fixed)
    return draw_rnn(draw, spot, **fixed) if draw.one_in(4) else draw_recurrent(draw, spot, **fixed)


def draw_bidirectional(draw: Choices, spot: Spot, **fixed) -> layers.Layer:
    """Two directions, the backward one a copy or a layer of its own.

    Keras 3.15 works out shapes from the forward layer alone, so that one of its own has the same
    size and, with states, as many of them; it copies no forward layer that goes backwards.
    """
    own = draw.coin()
    turned = own and draw.one_in(4)
    if spot.shape[0] is not None:  # if stateful, Bidirectional.compute_mask multiplies a generator
        fixed = {"return_state": False, **fixed}
    forward = draw_one_direction(draw, spot, go_backwards=turned, **fixed)
    backward = None
    if own:
        backward = _backward(draw, spot, forward, not turned)
    return layers.Bidirectional(forward, merge_mode=draw.one_of(MERGES), backward_layer=backward)


def _backward(draw: Choices, spot: Spot, forward: Any, go_backwards: bool) -> layers.Layer:
    same = {
        name: getattr(forward, name) for name in ("return_sequences", "return_state", "stateful")
    }
    same["go_backwards"] = go_backwards
    if spot.axes > 3:
        config = forward.get_config()
        kept = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")
        kind = CONVOLUTIONAL[spot.axes]
        sizes = {name: config[name] for name in kept}
        return kind(**sizes, **_math(draw, kind), **_loop(draw, spot, same))
    if isinstance(forward, layers.RNN) and type(forward) is layers.RNN:
        if not same["return_state"]:
            return draw_rnn(draw, spot, forward.cell.output_size, **same)
        return layers.RNN(
            type(forward.cell).from_config(forward.cell.get_config()), **_loop(draw, spot, same)
        )
    kinds = KINDS
    if same["return_state"]:
        count = STATES[type(forward).__name__]
        kinds = [kind for kind in KINDS if STATES[kind.__name__] == count]
    return draw_recurrent(draw, spot, draw.one_of(kinds), forward.units, **same)


def draw_loop(draw: Choices, spot: Spot, **fixed) -> layers.Layer:
    """A layer with a loop, in one direction or in two."""
    if draw.one_in(3):
        return draw_bidirectional(draw, spot, **fixed)
    return draw_one_direction(draw, spot, **fixed)


def draw_time_distributed(draw: Choices, spot: Spot) -> layers.Layer:
    """Any layer at every step; none with several outputs, which Keras cannot stack."""
    inner = Spot((None, *spot.shape[2:]), max(spot.mask_axes - 1, 0))
    if fits_loop(inner) and draw.coin():
        merge_mode = ("concat", "sum", "mul", "ave")
        layer = draw_one_direction(draw, inner, return_state=False, go_backwards=False)
        if draw.one_in(3):
            layer = layers.Bidirectional(layer, merge_mode=draw.one_of(merge_mode))
    else:
        layer = draw_plain(draw, inner)
    return layers.TimeDistributed(layer)
