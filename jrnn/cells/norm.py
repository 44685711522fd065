"""Layer normalization, and a cell with one before or after it."""

import dataclasses
import numbers
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jrnn.cells.base import State, check_floating, check_shape, check_type, is_narrow, to_rank
from jrnn.cells.noise import float_type
from jrnn.cells.wrapper import OwnParams, init_cell, output_features


class Norm(NamedTuple):
    """Parameters of a layer normalization of ``N`` numbers."""

    gain: jax.Array  # [N]
    offset: jax.Array | None = None  # [N]


class NormParams(NamedTuple):
    """Parameters of a cell and of the normalization of its input or output."""

    params: Any  # the inner cell's
    norm: Norm


def fresh_norm(size: int, dtype: DTypeLike, *, offset: bool) -> Norm:
    """Returns a gain of ones and, if there is one, an offset of zeros."""
    return Norm(jnp.ones(size, dtype), jnp.zeros(size, dtype) if offset else None)


def check_epsilon(who: str, epsilon: float) -> None:
    """Raises ``ValueError`` unless it is a number above 0."""
    if not (isinstance(epsilon, numbers.Real) and epsilon > 0):
        raise ValueError(f"{who}: epsilon is {epsilon!r}, but a number above 0 is needed")


def check_norm(who: str, name: str, norm: Norm | None, size: int, *, offset: bool) -> None:
    """Raises ``ValueError`` unless the parameters are there, of the right size."""
    if norm is None:
        raise ValueError(f"{who}: params have no {name}, but this variant needs one")
    check_type(who, norm, Norm, name)
    check_shape(who, f"{name}.gain", norm.gain, (size,))
    if offset:
        check_shape(who, f"{name}.offset", norm.offset, (size,))
    elif norm.offset is not None:
        raise ValueError(f"{who}: {name}.offset has shape {norm.offset.shape}, but None is needed")


def normalized(
    x: jax.Array, norm: Norm, epsilon: float, *, rms: bool = False, blocks: tuple[int, ...] = (1,)
) -> jax.Array:
    """Returns ``(x - mean) / sqrt(variance + epsilon) * gain + offset`` over the last axis.

    With ``rms``, ``x / sqrt(mean(x**2) + epsilon) * gain``. Statistics are of each block for
    itself, whose sizes are as ``blocks``, and computed in 32 bits at least.
    """
    dtype = x.dtype if is_narrow(norm.gain.dtype) else jnp.result_type(x, norm.gain)
    width = jnp.float32 if dtype.itemsize < 4 else dtype
    wide, norm = x.astype(width), jax.tree.map(lambda leaf: leaf.astype(width), norm)
    unit = x.shape[-1] // sum(blocks)
    ends = [unit * sum(blocks[: k + 1]) for k in range(len(blocks) - 1)]
    parts = []
    for part in jnp.split(wide, ends, axis=-1):
        far = part if rms else part - part.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.square(far).mean(-1, keepdims=True) + epsilon)
        parts.append(far * scale)
    y = parts[0] if len(parts) == 1 else jnp.concatenate(parts, -1)
    y = y * to_rank(norm.gain, y)
    y = y if norm.offset is None else y + to_rank(norm.offset, y)
    return y.astype(dtype)


@dataclasses.dataclass(frozen=True)
class NormCell(OwnParams):
    """A cell whose input or output is normalized, each step for itself.

    With ``LN(v) = (v - mean(v)) / sqrt(variance(v) + epsilon) * gain + offset`` over the features,
    of images over each pixel's channels::

        y = cell(LN(x))          # where="input"
        y = LN(cell(x))          # where="output"

    The state is the inner cell's, which is not normalized: ``LayerNormCell`` does that.

    Args:
        cell: The cell.
        where: "input" or "output".
        epsilon: What is added to the variance.
        rms: Whether it is ``v / sqrt(mean(v**2) + epsilon) * gain``, without an offset.

    Raises:
        ValueError: If ``where`` is unknown or ``epsilon`` is not above 0.

    Source: Ba et al., 2016 (arXiv:1607.06450); Zhang and Sennrich, 2019 (arXiv:1910.07467), rms;
    before the layer as Xiong et al., 2020 (arXiv:2002.04745).
    """

    params_type: ClassVar[type] = NormParams

    where: Literal["input", "output"] = "input"
    epsilon: float = 1e-3
    rms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_epsilon("NormCell", self.epsilon)
        if self.where not in ("input", "output"):
            raise ValueError(
                f"NormCell: where is {self.where!r}, but 'input' or 'output' is needed"
            )

    def init(
        self, key: jax.Array, features: Any, units: Any, dtype: DTypeLike | None = None
    ) -> NormParams:
        """Returns the inner cell's fresh parameters, a gain of ones and an offset of zeros."""
        params = init_cell(self.cell, key, features, units, dtype)
        size = features if self.where == "input" else output_features(self.cell, params, features)
        return NormParams(params, fresh_norm(size, float_type(params), offset=not self.rms))

    def project(self, params: NormParams, xs: Any) -> Any:
        """Returns the inner cell's projection, of the normalized input if that is asked for."""
        inner = self.inner(params)
        if self.where == "input":
            xs = self._normalized(params, check_floating("NormCell", xs))
        return self.cell.project(inner, xs)

    def step(self, params: NormParams, state: State, z: Any) -> tuple[State, jax.Array]:
        """Returns the inner cell's next state, and its output, normalized if that is asked for."""
        state, y = self.cell.step(params.params, state, z)
        return state, self._normalized(params, y) if self.where == "output" else y

    def _normalized(self, params: NormParams, x: jax.Array) -> jax.Array:
        last = jnp.moveaxis(x, self.channel_axis, -1)
        check_norm("NormCell", "norm", params.norm, last.shape[-1], offset=not self.rms)
        last = normalized(last, params.norm, self.epsilon, rms=self.rms)
        return jnp.moveaxis(last, -1, self.channel_axis)
