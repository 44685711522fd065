"""Enums with upstream's ids, and the choices of the ops as frozen dataclasses."""

import dataclasses
import enum
import math
import numbers
from typing import Any, TypeVar

import numpy as np

from jrnn import activations
from jrnn.activations import Activation
from jrnn.cells.lstm import LSTMCell


class RnnDataFormat(enum.Enum):
    """Axes of ``lstm_block``: T time, N batch, S size. Not the ids of ``LSTMDataFormat``."""

    TNS = 0
    NST = 1
    NTS = 2


class LSTMDataFormat(enum.Enum):
    """Axes of ``lstm_layer``: T time, N batch, S size.

    T2NS is the output [T, 2, N, S] of both directions; the input is [T, N, S] there, whatever the
    page says.
    """

    TNS = 0
    NTS = 1
    NST = 2
    T2NS = 3


class LSTMDirectionMode(enum.Enum):
    """Directions of ``lstm_layer``, and how the outputs of two are joined."""

    FWD = 0
    BWD = 1
    BIDIR_SUM = 2
    BIDIR_CONCAT = 3
    BIDIR_EXTRA_DIM = 4

    @property
    def is_bidirectional(self) -> bool:
        """Whether there are two directions."""
        return self.value >= 2


class LSTMActivations(enum.Enum):
    """Activations of ``lstm_layer``; upstream's own spelling of two names is accepted."""

    TANH = 0
    RELU = 1
    SIGMOID = 2
    AFFINE = 3  # alpha * x + beta
    LEAKY_RELU = 4  # x, or alpha * x below 0
    THRESHOLDED_RELU = 5  # x above alpha, else 0
    SCALED_TANH = 6  # alpha * tanh(beta * x)
    HARD_SIGMOID = 7  # clip(0.2 * x + 0.5, 0, 1)
    ELU = 8  # x, or alpha * (e^x - 1) below 0
    SOFTSIGN = 9
    SOFTPLUS = 10
    THRESHOLD_RELU = 5
    THRESHHOLD_RELU = 5
    SCALED_TAHN = 6


_TAKES = {
    LSTMActivations.AFFINE: ("alpha", "beta"),
    LSTMActivations.LEAKY_RELU: ("alpha",),
    LSTMActivations.THRESHOLDED_RELU: ("alpha",),
    LSTMActivations.SCALED_TANH: ("alpha", "beta"),
    LSTMActivations.ELU: ("alpha",),
}
_Member = TypeVar("_Member", bound=enum.Enum)


@dataclasses.dataclass(frozen=True)
class LSTMConfiguration:
    """The choices of ``lstm_cell`` and ``lstm_block``.

    Args:
        rnn_data_format: Axes of x and of the outputs of ``lstm_block``: an ``RnnDataFormat``, its
            name or its id. ``lstm_cell``, a single step, has no use for it.
        peep_hole: Whether the gates see the cell through the peephole weights.
        forget_bias: Added to the forget gate's pre-activation, with peepholes too. The default
            is Java's; TensorFlow's is 1.
        clipping_cell_value: Bound on the cell's absolute value; 0 or less for none. (The page
            repeats the text of the forget bias here, and says "if not zero".)

    Raises:
        ValueError: If a value is of another kind.

    Source: ND4J, RNN operations, LSTMConfiguration.
    """

    rnn_data_format: RnnDataFormat | str | int = RnnDataFormat.TNS
    peep_hole: bool = False
    forget_bias: float = 0.0
    clipping_cell_value: float = 0.0

    def __post_init__(self) -> None:
        _settle(self, {"rnn_data_format": RnnDataFormat})


@dataclasses.dataclass(frozen=True)
class LSTMLayerConfig:
    """The choices of ``lstm_layer``.

    Args:
        lstm_data_format: Axes of x and h: an ``LSTMDataFormat``, its name or its id. T2NS goes
            with BIDIR_EXTRA_DIM alone, and that with T2NS or TNS alone.
        lstm_direction_mode: An ``LSTMDirectionMode``, its name or its id.
        gate_act: Of the gates i, f and o: one of ``LSTMActivations``, its name or its id.
        cell_act: Of the candidate.
        out_act: Of the cell on its way to the output.
        ret_full_sequence: Whether h, the outputs of all steps, is returned.
        ret_last_h: Whether the last output is.
        ret_last_c: Whether the last cell is.
        cell_clip: Bound on the cell's absolute value; 0 for none.
        gate_alpha: First parameter of ``gate_act``. As the page says, this and the others
            default to 0: an AFFINE or SCALED_TANH is then 0 everywhere.
        gate_beta: Second parameter of ``gate_act``.
        cell_alpha: Of ``cell_act``.
        cell_beta: Of ``cell_act``.
        out_alpha: Of ``out_act``.
        out_beta: Of ``out_act``.

    Raises:
        ValueError: If a value is of another kind, format and mode do not go together, nothing is
            to be returned, the clip is negative, or an alpha or beta that is not 0 is given for
            an activation that has none.

    Source: ND4J, RNN operations, LSTMLayerConfig. Upstream's Java class lacks alpha and beta and
    exchanges ``cell_act`` and ``out_act`` on their way to the op; it also runs BIDIR_EXTRA_DIM in
    the formats NTS and NST, with results that are garbage.
    """

    lstm_data_format: LSTMDataFormat | str | int = LSTMDataFormat.TNS
    lstm_direction_mode: LSTMDirectionMode | str | int = LSTMDirectionMode.FWD
    gate_act: LSTMActivations | str | int = LSTMActivations.SIGMOID
    cell_act: LSTMActivations | str | int = LSTMActivations.TANH
    out_act: LSTMActivations | str | int = LSTMActivations.TANH
    ret_full_sequence: bool = True
    ret_last_h: bool = False
    ret_last_c: bool = False
    cell_clip: float = 0.0
    gate_alpha: float = 0.0
    gate_beta: float = 0.0
    cell_alpha: float = 0.0
    cell_beta: float = 0.0
    out_alpha: float = 0.0
    out_beta: float = 0.0

    def __post_init__(self) -> None:
        _settle(
            self,
            {
                "lstm_data_format": LSTMDataFormat,
                "lstm_direction_mode": LSTMDirectionMode,
                "gate_act": LSTMActivations,
                "cell_act": LSTMActivations,
                "out_act": LSTMActivations,
            },
        )
        extra_dim = self.lstm_direction_mode is LSTMDirectionMode.BIDIR_EXTRA_DIM
        formats = ("TNS", "T2NS") if extra_dim else ("TNS", "NTS", "NST")
        if _name(self.lstm_data_format) not in formats:
            raise ValueError(
                f"LSTMLayerConfig: lstm_data_format is {_name(self.lstm_data_format)}, but "
                f"{_name(self.lstm_direction_mode)} needs one of {formats}"
            )
        if not (self.ret_full_sequence or self.ret_last_h or self.ret_last_c):
            raise ValueError(
                "LSTMLayerConfig: nothing is to be returned; set ret_full_sequence, ret_last_h or "
                "ret_last_c"
            )
        if self.cell_clip < 0:
            raise ValueError(
                f"LSTMLayerConfig: cell_clip is {self.cell_clip}, but 0 or more is needed"
            )
        for role in ("gate", "cell", "out"):
            self._activation(role)

    def cell(self, **options: Any) -> LSTMCell:
        """Returns the cell that the activations and the clip describe."""
        return LSTMCell(
            recurrent_activation=self._activation("gate"),
            activation=self._activation("cell"),
            output_activation=self._activation("out"),
            cell_clip=self.cell_clip or None,
            **options,
        )

    def _activation(self, role: str) -> Activation:
        kind = getattr(self, f"{role}_act")
        given = {key: getattr(self, f"{role}_{key}") for key in ("alpha", "beta")}
        takes = _TAKES.get(kind, ())
        for key, value in given.items():
            if value != 0 and key not in takes:
                raise ValueError(
                    f"LSTMLayerConfig: {role}_{key} is {value}, but {_name(kind)} has no {key}; "
                    "leave it at 0"
                )
        hard = kind is LSTMActivations.HARD_SIGMOID
        name = "hard_sigmoid_keras2" if hard else kind.name.lower()
        return activations.get(name, **{key: given[key] for key in takes})


@dataclasses.dataclass(frozen=True)
class ProjectionLSTMConfig:
    """The choices of ``projection_lstm_cell`` and ``projection_lstm``.

    Args:
        peephole: Whether the gates see the cell through the peephole weights.
        projection: Whether the output is projected.
        clipping_cell_value: Bound on the cell's absolute value; 0 or less for none.
        clipping_proj_value: Bound on the projected output's; 0 for none. Without projection
            nothing is bounded, as upstream.
        forget_bias: Added to the forget gate's pre-activation.

    Raises:
        ValueError: If a value is of another kind, or ``clipping_proj_value`` is negative.

    Source: libnd4j, ``lstmCell``, whose float arguments come in this order.
    """

    peephole: bool = False
    projection: bool = False
    clipping_cell_value: float = 0.0
    clipping_proj_value: float = 0.0
    forget_bias: float = 0.0

    def __post_init__(self) -> None:
        _settle(self, {})
        if self.clipping_proj_value < 0:
            raise ValueError(
                f"ProjectionLSTMConfig: clipping_proj_value is {self.clipping_proj_value}, but 0 "
                "or more is needed"
            )


def _name(member: Any) -> str:
    return member.name


def _settle(config: Any, enums: dict[str, type[enum.Enum]]) -> None:
    """Checks every field of a config, and puts members in the place of names and ids."""
    who = type(config).__name__
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in enums:
            value = _member(f"{who}: {field.name}", enums[field.name], value)
        elif isinstance(field.default, bool):
            if not isinstance(value, bool):
                raise ValueError(f"{who}: {field.name} is {value!r}, but True or False is needed")
        else:
            value = _number(f"{who}: {field.name}", value)
        object.__setattr__(config, field.name, value)


def _member(what: str, members: type[_Member], value: Any) -> _Member:
    if isinstance(value, members):
        return value
    known = members.__members__
    if isinstance(value, str) and value in known:
        return known[value]
    ids = {member.value: member for member in members}
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value in ids:
        return ids[int(value)]
    raise ValueError(
        f"{what} is {value!r}, but a {members.__name__}, its name or its id is needed: "
        + ", ".join(f"{name} ({member.value})" for name, member in known.items())
    )


def _number(what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is {value!r}, but a number is needed") from error
    if isinstance(value, bool | np.bool_ | str) or not math.isfinite(number):
        raise ValueError(f"{what} is {value!r}, but a finite number is needed")
    return number
